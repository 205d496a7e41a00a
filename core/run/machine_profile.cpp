#include "tandem/machine_profile.hpp"

#include "core/plan/as_result.hpp"
#include "core/plan/float_state.hpp"
#include "core/run/host_profile.hpp"
#include "core/run/machine_json.hpp"
#include "core/run/profile_measurement.hpp"

namespace tandem {
namespace {

std::shared_ptr<const Machine> shared(Machine machine) {
    return std::make_shared<const Machine>(std::move(machine));
}

}  // namespace

Result<MachineProfile> MachineProfile::of_this_machine() noexcept try {
    const DefaultFloatState float_state;
    Result<Machine> machine = profiled_machine();
    if (!machine) return machine.error();
    return MachineProfile(shared(std::move(*machine)));
} catch (...) {
    return caught_error();
}

Result<MachineProfile> MachineProfile::measure() noexcept try {
    const DefaultFloatState float_state;
    Result<Machine> machine = host_machine();
    if (!machine) return machine.error();
    machine->measured = std::make_shared<const MeasuredRates>(measure_machine(*machine, 1));
    return MachineProfile(shared(std::move(*machine)));
} catch (...) {
    return caught_error();
}

Result<MachineProfile> MachineProfile::load(const std::string& path) noexcept try {
    const DefaultFloatState float_state;
    Result<Machine> machine = read_machine(path);
    if (!machine) return machine.error();
    return MachineProfile(shared(std::move(*machine)));
} catch (...) {
    return caught_error();
}

Status MachineProfile::save(const std::string& path) const noexcept {
    const DefaultFloatState float_state;
    return as_result([&] { return save_machine(path, *machine_); });
}

std::string MachineProfile::source() const { return rates_source(*machine_); }

}  // namespace tandem
