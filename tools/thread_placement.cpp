#include "tools/thread_placement.hpp"

#include <sched.h>

#include <filesystem>
#include <string>

#include "core/run/topology.hpp"

namespace tandem::tool {

namespace {

std::set<pid_t> threads_of_process() {
    std::set<pid_t> threads;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task", error))
        threads.insert(static_cast<pid_t>(std::stol(entry.path().filename().string())));
    return threads;
}

// 0: the calling thread. A thread that ended meanwhile, or a CPU that was taken away, leaves things as they
// were.
void bind(pid_t thread, int cpu) {
    if (cpu < 0) return;
    cpu_set_t* const set = CPU_ALLOC(static_cast<std::size_t>(cpu) + 1);
    if (!set) return;
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(cpu) + 1);
    CPU_ZERO_S(bytes, set);
    CPU_SET_S(static_cast<std::size_t>(cpu), bytes, set);
    static_cast<void>(sched_setaffinity(thread, bytes, set));
    CPU_FREE(set);
}

}  // namespace

Result<ThreadPlacement> ThreadPlacement::create(int threads) {
    const Result<Topology> topology = load_topology();
    if (!topology) return topology.error();
    ThreadPlacement placement;
    const Placement cores = place_on_host(topology->get(), threads);
    for (const Worker& worker : cores.workers)
        placement.cpus_.push_back(worker.cpuset ? hwloc_bitmap_first(worker.cpuset.get()) : -1);
    placement.known_ = threads_of_process();
    bind(0, placement.cpus_.front());
    return placement;
}

void ThreadPlacement::bind_new_threads() {
    for (const pid_t thread : threads_of_process()) {
        if (!known_.insert(thread).second) continue;
        if (next_ < cpus_.size()) bind(thread, cpus_[next_]);
        ++next_;
    }
}

}  // namespace tandem::tool
