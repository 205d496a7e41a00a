// Machine profiles.
#include "core/c_api/guard.hpp"
#include "core/c_api/handles.hpp"

using namespace tandem;
using namespace tandem::c_api;

tandem_error* tandem_profile_of_this_machine(tandem_profile** profile) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"profile", profile}}); !status) return status;
        *profile = nullptr;
        return give(profile, MachineProfile::of_this_machine());
    });
}

tandem_error* tandem_profile_measure(tandem_profile** profile) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"profile", profile}}); !status) return status;
        *profile = nullptr;
        return give(profile, MachineProfile::measure());
    });
}

tandem_error* tandem_profile_load(const char* path, tandem_profile** profile) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"profile", profile}}); !status) return status;
        *profile = nullptr;
        if (Status status = check_given({{"path", path}}); !status) return status;
        return give(profile, MachineProfile::load(path));
    });
}

tandem_error* tandem_profile_save(const tandem_profile* profile, const char* path) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"profile", profile}, {"path", path}}); !status) return status;
        return profile->profile.save(path);
    });
}

tandem_error* tandem_profile_source(const tandem_profile* profile, char** source) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"source", source}}); !status) return status;
        *source = nullptr;
        if (Status status = check_given({{"profile", profile}}); !status) return status;
        return give_text(profile->profile.source(), source);
    });
}

void tandem_profile_free(tandem_profile* profile) noexcept { delete profile; }
