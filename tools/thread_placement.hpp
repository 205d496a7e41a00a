// Both sides of a comparison on the same cores: oneDNN's threads are put where Tandem's pool has its workers.
//
// Left alone, the kernel's scheduler sometimes keeps two OpenMP threads on one core for seconds, which
// costs oneDNN a factor of 2 to 10 on layers of 0.1 ms; and OpenMP's own binding (OMP_PROC_BIND) would also
// bind the thread that calls both.
#pragma once

#include <sys/types.h>

#include <memory>
#include <set>
#include <vector>

#include "core/run/worker_affinity.hpp"

namespace tandem::tool {

class ThreadPlacement {
public:
    /// To be called after a pool of `threads` has started its workers and before oneDNN starts its own.
    static Result<ThreadPlacement> create(int threads);

    /// Takes in hand the threads that have appeared since create(): the first of them, by id, goes where the
    /// pool's first worker is, and so on.
    void find_threads();

    /// To be called by the thread that calls oneDNN, before it does: moves the threads if it is no longer on
    /// the core that it was on, as the pool does with its workers. Cheap.
    void follow_caller();

private:
    struct Pool {
        Pool(Topology host, int threads);
        const Topology topology;
        const Placement placement;
        const WorkerAffinity affinity;
    };

    explicit ThreadPlacement(std::unique_ptr<Pool> pool);
    int caller_zone() const noexcept;
    void place_threads(int caller_zone);

    std::unique_ptr<Pool> pool_;  // what a pool decides on this machine
    std::set<pid_t> known_;
    std::vector<pid_t> threads_;  // those that are not Tandem's
    int caller_zone_ = -1;
};

}  // namespace tandem::tool
