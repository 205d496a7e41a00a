#include "core/run/worker_affinity.hpp"

#include <cstddef>

namespace tandem {
namespace {

Cpuset all_cpus(const Placement& placement) {
    Cpuset all = new_cpuset();
    for (const Cpuset& core : placement.cores)
        hwloc_bitmap_or(all.get(), all.get(), core.get());
    return all;
}

Cpuset only(int cpu) {
    Cpuset set = new_cpuset();
    hwloc_bitmap_only(set.get(), static_cast<unsigned>(cpu));
    return set;
}

}  // namespace

WorkerAffinity::WorkerAffinity(const Placement& placement, Pinning pinning)
    : placement_(placement), pinning_(pinning), range_(all_cpus(placement)) {
    const std::size_t workers = placement.workers.size();
    if (pinning == Pinning::none || hwloc_bitmap_iszero(range_.get())) return;
    zones_.resize(static_cast<std::size_t>(hwloc_bitmap_last(range_.get())) + 1, -1);
    if (workers <= placement.cores.size()) {
        for (const Cpuset& core : placement.cores)
            add_zone(core.get());
    } else if (workers <= static_cast<std::size_t>(hwloc_bitmap_weight(range_.get()))) {
        for (int cpu = hwloc_bitmap_first(range_.get()); cpu >= 0; cpu = hwloc_bitmap_next(range_.get(), cpu))
            add_zone(only(cpu).get());
    }
}

void WorkerAffinity::add_zone(hwloc_const_bitmap_t cpus) {
    const int zone = static_cast<int>(outside_.size());
    for (int cpu = hwloc_bitmap_first(cpus); cpu >= 0; cpu = hwloc_bitmap_next(cpus, cpu))
        zones_[static_cast<std::size_t>(cpu)] = zone;
    outside_.push_back(new_cpuset());
    hwloc_bitmap_andnot(outside_.back().get(), range_.get(), cpus);
}

int WorkerAffinity::zone_of(int cpu) const noexcept {
    const auto index = static_cast<std::size_t>(cpu);
    return cpu >= 0 && index < zones_.size() ? zones_[index] : -1;
}

hwloc_const_bitmap_t WorkerAffinity::cpus(int worker, int zone) const noexcept {
    if (pinning_ == Pinning::one_core) return home(worker, zone);
    if (zones_.empty()) return nullptr;
    return zone < 0 ? range_.get() : outside_[static_cast<std::size_t>(zone)].get();
}

hwloc_const_bitmap_t WorkerAffinity::home(int worker, int zone) const noexcept {
    if (zones_.empty()) return nullptr;
    const hwloc_const_bitmap_t own = placement_.workers[static_cast<std::size_t>(worker)].cpuset.get();
    const bool taken = own && zone >= 0 && zone_of(hwloc_bitmap_first(own)) == zone;
    return taken ? placement_.workers.front().cpuset.get() : own;
}

}  // namespace tandem
