// ThreadPool: one worker per physical core, for programs that have no threads of their own.
#pragma once

#include <functional>
#include <memory>

#include "tandem/export.h"
#include "tandem/kernel.hpp"

namespace tandem {

/// Where the kernel may run the workers. Whatever the choice, the caller's affinity is never changed, and the
/// CPUs are among those of the thread that created the pool.
enum class Pinning {
    /// As threads of the program's own would: each where the thread that created the pool may run.
    none,
    /// Each on any core but the one that the caller of run() is on. The kernel evens out what several pools
    /// and processes ask of the machine.
    avoid_caller,
    /// Each on a core of its own; the one whose core the caller is on, on worker 0's. For machines that one
    /// pool has for itself: nothing moves, but every such pool, in every process, takes the same cores.
    one_core,
};

struct PoolOptions {
    int threads =
        0;  // up to 4096; 0: one per physical core in the process's cpuset, within the cgroup's CPU quota
    Pinning pinning = Pinning::avoid_caller;
};

/// Worker 0 is the calling thread, which may be another one, or elsewhere, at every run; the others make way
/// for it (see Pinning), spin briefly after work and then sleep. One run() at a time: a second caller waits.
/// Survives fork(): the child starts its workers anew at its first run(). It does not: balance dynamically,
/// nest (a run() from inside a part is an error), or own scratch beyond one buffer a worker.
class TANDEM_API ThreadPool {
public:
    static Result<ThreadPool> create(const PoolOptions& options = {}) noexcept;
    ThreadPool(ThreadPool&&) noexcept;
    ThreadPool& operator=(ThreadPool&&) noexcept;
    ~ThreadPool();

    int threads() const noexcept;

    /// Splits the kernel's output tiles into threads() balanced contiguous parts and computes them all.
    Status run(const Kernel& kernel, const Args& args) noexcept;

    /// Calls fn(part) for part = 0 .. threads()-1, each on its own worker, and returns when all have
    /// returned. fn must not throw.
    Status parallel(const std::function<void(int part)>& fn) noexcept;

private:
    struct TANDEM_HIDDEN Impl;
    explicit ThreadPool(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace tandem
