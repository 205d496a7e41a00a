// cgroup: how much CPU time the control groups that this process is in let it use. Containers limit CPUs
// this way, which neither the affinity mask nor the topology shows.
#pragma once

#include <filesystem>

namespace tandem {

/// The CPU quota in CPUs (2.5: two and a half CPUs' time in every period), or 0 where there is none or it
/// cannot be read. Understands cgroup v2 (cpu.max), v1 (cpu.cfs_quota_us / cpu.cfs_period_us) and both
/// mounted side by side, looks at the process's group and every ancestor that is mounted here, and returns
/// the smallest. `root` stands before /proc/self/cgroup, /proc/self/mountinfo and the mount points named
/// there; tests pass a fake tree. Thread-safe. Reads files: for set-up, not for hot paths.
double cpu_quota(const std::filesystem::path& root = "/");

}  // namespace tandem
