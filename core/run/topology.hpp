// Topology: which cores the workers of a pool get, and why. Everything decides from the hwloc topology
// handed in, so tests use synthetic ones.
//
// Vocabulary: a CPU is a hardware thread (hwloc's PU); a core has one or several, which share its FMA
// units, so a second worker on the same core adds next to nothing. Core kinds are those of hybrid
// processors, 0 the most capable.
#pragma once

#include <hwloc.h>

#include <memory>
#include <string>
#include <vector>

#include "tandem/result.hpp"

namespace tandem {

struct HwlocDeleter {
    void operator()(hwloc_bitmap_t set) const noexcept { hwloc_bitmap_free(set); }
    void operator()(hwloc_topology_t topology) const noexcept { hwloc_topology_destroy(topology); }
};
using Cpuset = std::unique_ptr<hwloc_bitmap_s, HwlocDeleter>;
/// Empty, and a copy. Throw std::bad_alloc.
Cpuset new_cpuset();
Cpuset copy_of(hwloc_const_bitmap_t cpus);
using Topology = std::unique_ptr<hwloc_topology, HwlocDeleter>;

/// Where one worker is at home: pinned to it or not, see WorkerAffinity.
struct Worker {
    int core_index = -1;  // hwloc's logical index of the core; -1: no core of its own
    Cpuset cpuset;        // one CPU; null: none of its own
    int numa_node = -1;   // hwloc's OS index; -1: unknown or none
    int core_kind = 0;    // 0: most capable
};

struct Placement {
    std::vector<Worker> workers;  // at least one
    std::vector<Cpuset> cores;  // allowed CPUs of every core of the kinds that the workers are on, one a core
    bool oversubscribed =
        false;  // more workers than allowed CPUs or than the quota's: whoever waits should not spin
    std::string explanation;  // every decision, in sentences
};

/// Places workers on the CPUs that are both in `topology` and in `allowed`.
///
/// requested = 0: one worker a core, package by package and NUMA node by NUMA node, at most `quota` (in
/// CPUs, 0: no limit) rounded down, at least one. Rounded down because a group that exhausts its quota is
/// stopped for the rest of the period, tens of milliseconds, together with whatever waits for it. On hybrid
/// processors slower kinds of cores are used only where equal parts finish clearly sooner with them: the
/// slowest worker sets the pace.
///
/// requested > 0: that many workers whatever the quota; most capable cores first, then slower cores, then
/// second CPUs of cores, and workers without a CPU of their own beyond that.
Placement place_workers(hwloc_topology_t topology, hwloc_const_bitmap_t allowed, double quota, int requested);

/// This machine's topology (without I/O devices), limited to the cgroup's cpuset. Takes milliseconds.
Result<Topology> load_topology();

/// The calling thread's affinity mask (what taskset and most launchers set); every CPU of `topology` if it
/// cannot be read.
Cpuset thread_cpuset(hwloc_topology_t topology);

/// place_workers() for the calling thread on this machine: its affinity mask and its cgroup's quota.
Placement place_on_host(hwloc_topology_t topology, int requested);

}  // namespace tandem
