#include "tools/thread_placement.hpp"

#include <hwloc/linux.h>
#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <string>

namespace tandem::tool {

namespace {

std::set<pid_t> threads_of_process() {
    std::set<pid_t> threads;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task", error))
        threads.insert(static_cast<pid_t>(std::stol(entry.path().filename().string())));
    return threads;
}

}  // namespace

ThreadPlacement::Pool::Pool(Topology host, int threads)
    : topology(std::move(host)), placement(place_on_host(topology.get(), threads)),
      affinity(placement, PoolOptions().pinning) {}

Result<ThreadPlacement> ThreadPlacement::create(int threads) {
    Result<Topology> topology = load_topology();
    if (!topology) return topology.error();
    return ThreadPlacement(std::make_unique<Pool>(std::move(*topology), threads));
}

ThreadPlacement::ThreadPlacement(std::unique_ptr<Pool> pool)
    : pool_(std::move(pool)), known_(threads_of_process()) {}

int ThreadPlacement::caller_zone() const noexcept { return pool_->affinity.zone_of(sched_getcpu()); }

void ThreadPlacement::find_threads() {
    for (const pid_t thread : threads_of_process())
        if (known_.insert(thread).second) threads_.push_back(thread);
    place_threads(caller_zone());
}

void ThreadPlacement::follow_caller() {
    if (const int zone = caller_zone(); zone != caller_zone_) place_threads(zone);
}

// By way of their homes, as the pool moves its workers. A thread that has ended stays ended.
void ThreadPlacement::place_threads(int caller_zone) {
    caller_zone_ = caller_zone;
    const std::size_t others = std::min(threads_.size(), pool_->placement.workers.size() - 1);
    for (std::size_t i = 0; i < others; ++i) {
        const int worker = static_cast<int>(i) + 1;
        for (const hwloc_const_bitmap_t cpus :
             {pool_->affinity.home(worker, caller_zone), pool_->affinity.cpus(worker, caller_zone)})
            if (cpus) hwloc_linux_set_tid_cpubind(pool_->topology.get(), threads_[i], cpus);
    }
}

}  // namespace tandem::tool
