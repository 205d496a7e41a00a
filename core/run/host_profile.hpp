// What was measured of this machine, for plans: found once a process.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/plan/machine_rates.hpp"

namespace tandem {

/// Where to look. Values, so that any process's environment can be tested.
struct ProfileSearch {
    std::optional<std::string> named{};  // TANDEM_MACHINE; empty: no file is read
    std::string saved{};                 // the file that save_profile() writes for this CPU; empty: none
};

/// The rates of the named file, or an error; else those of the saved file if it can be read and describes
/// this machine; else those built in for its kind (known_machines.hpp); null: nothing is known. Widths of
/// registers that the file lacks are filled in with what is built in.
Result<std::shared_ptr<const MeasuredRates>> find_rates(const ProfileSearch& search, const Machine& machine);

/// host_machine() with find_rates() of this process's environment. Thread-safe.
Result<Machine> profiled_machine(std::optional<Isa> isa = std::nullopt);

/// $XDG_CACHE_HOME/tandem/machine-<vendor>-<family>-<model>-<stepping>[-<core kind>].json, else below
/// ~/.cache. Empty where TANDEM_MACHINE is empty or there is no home directory.
std::string saved_profile_path(const Machine& machine);

/// The two describe the same kind of machine: identity, features and caches are equal. Names are not: two
/// generations of guests may both be "AMD EPYC".
bool same_kind(const Machine& a, const Machine& b);

}  // namespace tandem
