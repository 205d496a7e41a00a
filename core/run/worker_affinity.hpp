// WorkerAffinity: on which CPUs the workers of a pool may run, given where the caller of the run is.
//
// Vocabulary: a worker's home is the CPU that its placement gives it. A zone is what the workers leave to the
// caller: the core that it is on; its CPU alone, where there are more workers than cores; nothing, where
// there are more than CPUs. So there is always a CPU for each. A worker whose home is in the caller's zone
// takes the home of worker 0, which is the caller.
#pragma once

#include <hwloc.h>

#include <vector>

#include "core/run/topology.hpp"
#include "tandem/thread_pool.hpp"

namespace tandem {

/// Decided once a pool; asking is a look-up. Keeps a reference to the placement.
class WorkerAffinity {
public:
    WorkerAffinity(const Placement& placement, Pinning pinning);

    /// The zone of a caller on that CPU; -1: none, it is in no worker's way.
    int zone_of(int cpu) const noexcept;

    /// The CPUs that a worker may use while the caller is in `zone`; null: its affinity is left alone.
    hwloc_const_bitmap_t cpus(int worker, int zone) const noexcept;

    /// One CPU: where a worker that has to leave its own goes first. Left to itself, the kernel takes any
    /// that is allowed, one with another worker too. Null as in cpus(), and where the worker has no home.
    hwloc_const_bitmap_t home(int worker, int zone) const noexcept;

private:
    void add_zone(hwloc_const_bitmap_t cpus);

    const Placement& placement_;
    Pinning pinning_;
    Cpuset range_;                 // every CPU of the placement's cores
    std::vector<int> zones_;       // by CPU
    std::vector<Cpuset> outside_;  // by zone: the range without it
};

}  // namespace tandem
