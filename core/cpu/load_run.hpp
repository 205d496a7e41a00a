// Load runs: the same work on several CPUs at once, each by a thread pinned there, with the clock looked at
// between slices of it.
#pragma once

#include <span>

#include "core/cpu/cycle_clock.hpp"

namespace tandem {

/// The CPUs that a pool of `threads` (0: its default) puts its workers on.
Result<std::vector<int>> worker_cpus(int threads);
/// The CPUs that the calling thread may run on.
std::vector<int> allowed_cpus();
/// Binds the calling thread; the system may refuse.
bool bind_thread(int cpu);

/// Binds the calling thread for as long as it lives.
class ThreadBinding {
public:
    explicit ThreadBinding(int cpu);
    ~ThreadBinding();
    ThreadBinding(const ThreadBinding&) = delete;
    ThreadBinding& operator=(const ThreadBinding&) = delete;

private:
    std::vector<int> before_;
};

/// Runs `work(part)` at once on a thread for each CPU, and returns when all have returned.
Status run_pinned(std::span<const int> cpus, const std::function<void(int part)>& work);

struct LoadFigures {
    Figure rate;  // units a second, all threads together
    Figure ghz;   // mean over the threads
};
/// Makes each thread's probe on that thread, so that its memory is near.
using MakeProbe = std::function<Result<CpuProbe>(int part)>;
Result<LoadFigures> run_load(std::span<const int> cpus, const MakeProbe& make, const CycleClock& clock,
                             double seconds);

}  // namespace tandem
