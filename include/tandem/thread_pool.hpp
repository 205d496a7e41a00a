// ThreadPool: one pinned worker per physical core, for programs that have no threads of their own.
#pragma once

#include <functional>
#include <memory>

#include "tandem/kernel.hpp"

namespace tandem {

struct PoolOptions {
    int threads = 0;  // 0: one per physical core in the process's cpuset, within the cgroup's CPU quota
    bool pin = true;  // bind each worker to its core
};

/// Worker 0 is the calling thread, whose affinity is never changed; the others are pinned, spin briefly
/// after work and then sleep. One run() at a time: a second caller waits. Survives fork(): the child starts
/// its workers anew at its first run(). It does not: balance dynamically, nest (a run() from inside a part
/// is an error), or own scratch beyond one buffer a worker.
class ThreadPool {
public:
    static Result<ThreadPool> create(const PoolOptions& options = {});
    ThreadPool(ThreadPool&&) noexcept;
    ThreadPool& operator=(ThreadPool&&) noexcept;
    ~ThreadPool();

    int threads() const noexcept;

    /// Splits the kernel's output tiles into threads() balanced contiguous parts and computes them all.
    Status run(const Kernel& kernel, const Args& args);

    /// Calls fn(part) for part = 0 .. threads()-1, each on its own worker, and returns when all have
    /// returned. fn must not throw.
    Status parallel(const std::function<void(int part)>& fn);

private:
    struct Impl;
    explicit ThreadPool(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace tandem
