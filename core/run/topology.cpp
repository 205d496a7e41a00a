#include "core/run/topology.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <new>
#include <limits>
#include <set>

#include "core/run/cgroup.hpp"
#include "core/run/core_kinds.hpp"

namespace tandem {
namespace {

/// By how much slower cores must shorten the work before they are used unasked. The speed estimates are
/// crude, and slower cores also share caches and power with the fast ones; a wrong "no" costs less than a
/// wrong "yes".
constexpr double worthwhile_gain = 1.25;

/// One core with at least one allowed CPU.
struct Core {
    int index = 0;
    int numa_node = -1;
    int kind = 0;
    std::vector<unsigned> cpus;  // allowed ones, OS indices, ascending
};

/// What place_workers() knows before it decides.
struct Site {
    std::vector<CoreKind> kinds;
    std::vector<Core>
        cores;  // most capable first, then in hwloc's order: package by package, NUMA node by NUMA node
    int cpus = 0, numa_nodes = 0;
    int quota_limit = std::numeric_limits<int>::max();
};

Core make_core(hwloc_obj_t object, hwloc_const_bitmap_t allowed, const std::vector<CoreKind>& kinds) {
    Core core;
    core.index = static_cast<int>(object->logical_index);
    core.numa_node = object->nodeset ? hwloc_bitmap_first(object->nodeset) : -1;
    for (int cpu = hwloc_bitmap_first(object->cpuset); cpu >= 0;
         cpu = hwloc_bitmap_next(object->cpuset, cpu)) {
        if (hwloc_bitmap_isset(allowed, static_cast<unsigned>(cpu))) {
            core.cpus.push_back(static_cast<unsigned>(cpu));
        }
    }
    core.kind = core.cpus.empty() ? 0 : kind_of(kinds, core.cpus.front());
    return core;
}

std::vector<Core> allowed_cores(hwloc_topology_t topology, hwloc_const_bitmap_t allowed,
                                const std::vector<CoreKind>& kinds) {
    // Where the machine tells nothing of cores, every CPU counts as one.
    const hwloc_obj_type_t type =
        hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE) > 0 ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
    std::vector<Core> cores;
    for (hwloc_obj_t object = nullptr;
         (object = hwloc_get_next_obj_by_type(topology, type, object)) != nullptr;) {
        Core core = make_core(object, allowed, kinds);
        if (!core.cpus.empty()) {
            cores.push_back(std::move(core));
        }
    }
    std::ranges::stable_sort(cores, {}, &Core::kind);
    return cores;
}

Site survey(hwloc_topology_t topology, hwloc_const_bitmap_t allowed, double quota) {
    Site site;
    site.kinds = core_kinds(topology);
    site.cores = allowed_cores(topology, allowed, site.kinds);
    std::set<int> nodes;
    for (const Core& core : site.cores) {
        site.cpus += static_cast<int>(core.cpus.size());
        nodes.insert(core.numa_node);
    }
    site.numa_nodes = static_cast<int>(nodes.size());
    if (quota > 0 && quota < site.quota_limit) {
        site.quota_limit = std::max(1, static_cast<int>(std::floor(quota)));
    }
    return site;
}

double kind_speed(const Site& site, const Core& core) {
    return site.kinds.empty() ? 1 : site.kinds[static_cast<std::size_t>(core.kind)].speed;
}

/// One worker a core over the most capable kinds that pay: equal parts make the throughput cores x slowest
/// speed.
int default_worker_count(const Site& site) {
    const int most = std::min(static_cast<int>(site.cores.size()), site.quota_limit);
    int chosen = 0;
    double best = 0;
    for (int count = 1; count <= most; ++count) {
        const Core& slowest = site.cores[static_cast<std::size_t>(count) - 1];
        const bool last_of_kind =
            count == most || site.cores[static_cast<std::size_t>(count)].kind != slowest.kind;
        const double throughput = count * kind_speed(site, slowest);
        if (last_of_kind && throughput >= best * worthwhile_gain) {
            chosen = count;
            best = throughput;
        }
    }
    return std::max(chosen, 1);
}

Worker make_worker(const Core& core, std::size_t which_cpu) {
    Worker worker{core.index, new_cpuset(), core.numa_node, core.kind};
    hwloc_bitmap_only(worker.cpuset.get(), core.cpus[which_cpu]);
    return worker;
}

/// First CPUs of all cores, then second CPUs, ...; workers without one once there are no more.
std::vector<Worker> assign(const Site& site, int count) {
    std::vector<Worker> workers;
    const auto wanted = static_cast<std::size_t>(count);
    for (std::size_t round = 0; workers.size() < std::min(wanted, static_cast<std::size_t>(site.cpus));
         ++round) {
        for (const Core& core : site.cores) {
            if (round < core.cpus.size() && workers.size() < wanted) {
                workers.push_back(make_worker(core, round));
            }
        }
    }
    workers.resize(wanted);
    return workers;
}

/// Of the kinds in use, so that no worker of a fast kind wanders off to a slow core.
std::vector<Cpuset> cores_in_use(const Site& site, const std::vector<Worker>& workers) {
    const int slowest = std::ranges::max_element(workers, {}, &Worker::core_kind)->core_kind;
    std::vector<Cpuset> used;
    for (const Core& core : site.cores) {
        if (core.kind > slowest) continue;
        used.push_back(new_cpuset());
        for (const unsigned cpu : core.cpus)
            hwloc_bitmap_set(used.back().get(), cpu);
    }
    return used;
}

std::string plural(int count, const char* noun) {
    return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string explain_request(const Site& site, int requested) {
    std::string text;
    const int cores = static_cast<int>(site.cores.size());
    if (requested > cores && cores < site.cpus) {
        text += fmt::format(" Workers beyond the cores share one with another: {}.",
                            std::min(requested, site.cpus) - cores);
    }
    if (requested > site.cpus) {
        text +=
            fmt::format(" Workers beyond the CPUs have none of their own, and none spins while it waits: {}.",
                        requested - site.cpus);
    }
    if (requested > site.quota_limit) {
        text += " That is more than the quota: the group will be stopped when it has used it up.";
    }
    return text;
}

std::string explain_default(const Site& site, int count) {
    const int left_out = std::min(static_cast<int>(site.cores.size()), site.quota_limit) - count;
    if (left_out <= 0) {
        return "";
    }
    const double speed = kind_speed(site, site.cores[static_cast<std::size_t>(count)]);
    return fmt::format(
        " Slower cores left out because parts are equal and all would wait for them: {} (estimated speed "
        "{:.2f}).",
        left_out, speed);
}

std::string explain(const Site& site, int count, int requested, double quota) {
    std::string text = fmt::format("{} {}; allowed are {} ({}) on {}.", plural(count, "worker"),
                                   requested > 0 ? "as requested" : "by default, one a core",
                                   plural(static_cast<int>(site.cores.size()), "core"),
                                   plural(site.cpus, "CPU"), plural(site.numa_nodes, "NUMA node"));
    if (site.kinds.size() > 1) {
        text += fmt::format(" The cores are of {} kinds, the most capable come first.", site.kinds.size());
    }
    if (quota > 0) {
        text += fmt::format(" The cgroup's quota of {:.2f} CPUs allows {}.", quota,
                            plural(site.quota_limit, "worker"));
    }
    return text + (requested > 0 ? explain_request(site, requested) : explain_default(site, count));
}

Placement place_nowhere(int requested) {
    Placement placement;
    placement.workers.resize(static_cast<std::size_t>(std::max(requested, 1)));
    placement.oversubscribed = placement.workers.size() > 1;
    placement.explanation =
        plural(std::max(requested, 1), "worker") + ", unpinned: none of the allowed CPUs is in the topology.";
    return placement;
}

}  // namespace

Placement place_workers(hwloc_topology_t topology, hwloc_const_bitmap_t allowed, double quota,
                        int requested) {
    const Site site = survey(topology, allowed, quota);
    if (site.cores.empty()) {
        return place_nowhere(requested);
    }
    const int count = requested > 0 ? requested : default_worker_count(site);
    Placement placement;
    placement.workers = assign(site, count);
    placement.cores = cores_in_use(site, placement.workers);
    placement.oversubscribed = count > std::min(site.cpus, site.quota_limit);
    placement.explanation = explain(site, count, requested, quota);
    return placement;
}

Cpuset new_cpuset() {
    Cpuset set(hwloc_bitmap_alloc());
    if (!set) throw std::bad_alloc();
    return set;
}

Cpuset copy_of(hwloc_const_bitmap_t cpus) {
    Cpuset set(hwloc_bitmap_dup(cpus));
    if (!set) throw std::bad_alloc();
    return set;
}

Result<Topology> load_topology() {
    hwloc_topology_t raw = nullptr;
    if (hwloc_topology_init(&raw) == 0) {
        Topology topology(raw);
        if (hwloc_topology_load(raw) == 0) {
            return topology;
        }
    }
    return Error{ErrorCode::system,
                 fmt::format("the machine's topology could not be read: {}", std::strerror(errno))};
}

Cpuset thread_cpuset(hwloc_topology_t topology) {
    Cpuset set = new_cpuset();
    if (hwloc_get_cpubind(topology, set.get(), HWLOC_CPUBIND_THREAD) != 0) {
        hwloc_bitmap_copy(set.get(), hwloc_topology_get_allowed_cpuset(topology));
    }
    return set;
}

Placement place_on_host(hwloc_topology_t topology, int requested) {
    return place_workers(topology, thread_cpuset(topology).get(), cpu_quota(), requested);
}

}  // namespace tandem
