// The parts of host detection that can be tested without the host's CPU, and the ready-made default for the
// dispatch path.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string_view>

#include "core/plan/machine.hpp"

namespace tandem {

/// Which ISA to generate for: `asked` if given, else the one named by `environment` (the value of
/// TANDEM_ISA; nullopt or empty: unset), else the last of `available` (weakest first). An unknown name, one
/// that is not available, or nothing available at all is an error that lists what would be accepted. Pure.
Result<Isa> choose_isa(std::optional<Isa> asked, std::optional<std::string_view> environment,
                       std::span<const Isa> available);

/// The data caches described by a CPU's sysfs directory, e.g. /sys/devices/system/cpu/cpu0. Whatever it
/// does not state (virtual machines often hide the L3) keeps its default in CacheSizes.
CacheSizes read_caches(const std::filesystem::path& cpu_directory);

/// The CPU has AMX, but the operating system does not save its tiles (XCR0): host_isas() is without it.
bool os_withholds_amx();

/// What host_machine() returns, without the copy. Detected at the first call of the process, TANDEM_ISA
/// included; afterwards a load and a branch. Thread-safe.
const Result<Machine>& default_machine();

}  // namespace tandem
