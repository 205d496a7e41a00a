// What Linux says of CPUs in sysfs. Directories are arguments, so that any machine's can be tested.
#pragma once

#include <filesystem>
#include <string>

#include "core/plan/machine.hpp"

namespace tandem {

/// The first CPU that this thread may run on.
int first_cpu();

/// The data caches described by a CPU's directory, e.g. /sys/devices/system/cpu/cpu0. Whatever it does not
/// state (virtual machines often hide the L3) keeps its default in CacheSizes.
CacheSizes read_caches(const std::filesystem::path& cpu_directory);

/// The cores described by the directory of all CPUs, /sys/devices/system/cpu.
CoreCounts read_cores(const std::filesystem::path& cpus_directory);

/// As Machine::core_kind has it.
std::string read_core_kind(int cpu);

}  // namespace tandem
