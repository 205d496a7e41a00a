// WorkerTeam: the threads of a pool and the fork-join between them. Schedule of one run:
//
//   caller: publish the job -> advance `start_` -> part 0 -> wait for `done_`
//   worker: wait for `start_` -> its part -> count down `pending_`; the last one advances `done_`
//
// Nothing is allocated in a run, unless a part's scratch grows or a part fails.
#pragma once

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <span>

#include "core/run/parking_counter.hpp"
#include "core/run/topology.hpp"
#include "tandem/result.hpp"

namespace tandem {

/// A 64-byte aligned buffer that grows. Written to where it is allocated, so that its pages are local to
/// that thread's node.
class Scratch {
public:
    /// At least `bytes` bytes, contents undefined. Errors: out of memory.
    Result<std::span<std::byte>> reserve(std::size_t bytes) noexcept;

private:
    struct Free {
        void operator()(std::byte* memory) const noexcept;
    };
    std::unique_ptr<std::byte, Free> memory_;
    std::size_t bytes_ = 0;
};

/// What every part of one run executes; `context` is the caller's.
struct Job {
    Status (*call)(void* context, int part, Scratch& scratch) = nullptr;
    void* context = nullptr;
};

/// Not safe for concurrent runs: ThreadPool serialises them.
class WorkerTeam {
public:
    /// Starts one thread per worker of `placement` but the first, whose part the caller of run() executes.
    /// Threads are named tandem-<part>, and pinned if `pin`; where the system refuses that they run
    /// unpinned. Both arguments must outlive the team. Errors: the system gave no thread or no memory.
    static Result<std::unique_ptr<WorkerTeam>> start(hwloc_topology_t topology, const Placement& placement,
                                                     bool pin);

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
        Status status;  // left alone by parts that succeed
    };

    WorkerTeam(hwloc_topology_t topology, const Placement& placement, bool pin);
    Status start_threads();
    static void* thread_main(void* slot) noexcept;
    void settle(int part) const noexcept;
    void work(Slot& slot) noexcept;
    void execute(Slot& slot) noexcept;
    Status take_error() noexcept;
    std::chrono::nanoseconds spin_or_none(std::chrono::nanoseconds spin) const noexcept;

    hwloc_topology_t topology_;
    const Placement& placement_;
    bool pin_;
    int parts_;
    int started_ = 0;  // threads that exist
    std::unique_ptr<Slot[]> slots_;

    Job job_;
    std::atomic<bool> stop_{false}, failed_{false};
    alignas(64) std::atomic<int> pending_{0};  // workers that have not finished their part
    ParkingCounter start_, done_;
};

}  // namespace tandem
