// WorkerTeam: the threads of a pool and the fork-join between them. Schedule of one run:
//
//   caller: make way -> publish the job -> advance `start_` -> part 0 -> wait for `done_`
//   worker: wait for `start_` -> its part -> count down `pending_`; the last one advances `done_`
//
// Make way: where the caller is not in the zone (core/run/worker_affinity.hpp) that it was in at the last
// run, it moves the workers that are in its new one, as a worker that queues behind it could not do that
// itself. The others see to their affinity at the start of their parts, all at once. While callers stay where
// they are, a run costs one look at the current CPU.
//
// Nothing is allocated in a run, unless affinities change, a part's scratch grows or a part fails.
#pragma once

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <span>

#include "core/run/aligned_buffer.hpp"
#include "core/run/parking_counter.hpp"
#include "core/run/topology.hpp"
#include "core/run/worker_affinity.hpp"
#include "tandem/result.hpp"

namespace tandem {

/// What every part of one run executes; `context` is the caller's.
struct Job {
    Status (*call)(void* context, int part, Scratch& scratch) = nullptr;
    void* context = nullptr;
};

/// Not safe for concurrent runs: ThreadPool serialises them.
class WorkerTeam {
public:
    /// Starts one thread per worker of `placement` but the first, whose part the caller of run() executes.
    /// Threads are named tandem-<part>, and run where `affinity` says; where the system refuses that they
    /// keep the affinity they have. All arguments must outlive the team. Errors: the system gave no
    /// thread. Throws std::bad_alloc.
    static Result<std::unique_ptr<WorkerTeam>> start(hwloc_topology_t topology, const Placement& placement,
                                                     const WorkerAffinity& affinity);

    /// Ends and joins the threads.
    ~WorkerTeam();
    WorkerTeam(const WorkerTeam&) = delete;
    WorkerTeam& operator=(const WorkerTeam&) = delete;

    /// Executes every part and returns when all have returned: the error of the first part that failed, by
    /// number. A part that throws has failed.
    Status run(const Job& job) noexcept;

    /// Is the calling thread inside a part of any team?
    static bool inside_part() noexcept;

private:
    struct alignas(64) Slot {
        WorkerTeam* team = nullptr;
        int part = 0;
        pthread_t thread{};
        Scratch scratch;
        Status status;                        // left alone by parts that succeed
        hwloc_const_bitmap_t cpus = nullptr;  // what its affinity was set to last; null: never
        int cpu = -1;                         // where its last part ended
    };

    WorkerTeam(hwloc_topology_t topology, const Placement& placement, const WorkerAffinity& affinity);
    Status start_threads();
    static void* thread_main(void* slot) noexcept;
    void make_way() noexcept;
    void settle(Slot& slot) const noexcept;
    void work(Slot& slot) noexcept;
    void execute(Slot& slot) noexcept;
    Status take_error() noexcept;
    std::chrono::nanoseconds spin_or_none(std::chrono::nanoseconds spin) const noexcept;

    hwloc_topology_t topology_;
    const Placement& placement_;
    const WorkerAffinity& affinity_;
    int caller_zone_;
    int parts_;
    int started_ = 0;  // threads that exist
    std::unique_ptr<Slot[]> slots_;

    Job job_;
    std::atomic<bool> stop_{false}, failed_{false};
    alignas(64) std::atomic<int> pending_{0};  // workers that have not finished their part
    ParkingCounter start_, done_;
};

}  // namespace tandem
