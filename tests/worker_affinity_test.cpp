#include "core/run/worker_affinity.hpp"

#include "support/doctest.hpp"

#include <set>
#include <string>
#include <vector>

#include "support/synthetic_topology.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

using Lists = std::vector<std::string>;

/// What workers 1, 2, ... may use while the caller is on that CPU.
Lists cpus_of_workers(const Placement& placement, Pinning pinning, int caller_cpu) {
    const WorkerAffinity affinity(placement, pinning);
    Lists lists;
    for (int worker = 1; worker < static_cast<int>(placement.workers.size()); ++worker)
        lists.push_back(list_of(affinity.cpus(worker, affinity.zone_of(caller_cpu))));
    return lists;
}

int home_of(const WorkerAffinity& affinity, int worker, int caller_cpu) {
    return hwloc_bitmap_first(affinity.home(worker, affinity.zone_of(caller_cpu)));
}

}  // namespace

TEST_CASE("workers avoid the core that the caller is on, both of its CPUs") {
    const Topology topology = synthetic("core:3 pu:2");
    const Placement placement = place(topology);
    CHECK(cpus_of_workers(placement, Pinning::avoid_caller, 0) == Lists{"2-5", "2-5"});
    CHECK(cpus_of_workers(placement, Pinning::avoid_caller, 1) == Lists{"2-5", "2-5"});
    CHECK(cpus_of_workers(placement, Pinning::avoid_caller, 3) == Lists{"0-1,4-5", "0-1,4-5"});
    CHECK(cpus_of_workers(placement, Pinning::avoid_caller, 4) == Lists{"0-3", "0-3"});
}

TEST_CASE("a pool of fewer workers than cores may use all the others") {
    const Topology topology = synthetic("core:8 pu:1");
    CHECK(cpus_of_workers(place(topology, 2), Pinning::avoid_caller, 5) == Lists{"0-4,6-7"});
}

TEST_CASE("the creator's affinity limits the workers, wherever the caller is") {
    const Topology topology = synthetic("core:4 pu:2");
    const Placement placement = place(topology, 0, 0, "1-3,6");
    CHECK(cpus_of_workers(placement, Pinning::avoid_caller, 1) == Lists{"2-3,6", "2-3,6"});
    CHECK(cpus_of_workers(placement, Pinning::avoid_caller, 3) == Lists{"1,6", "1,6"});
    for (const int outside : {-1, 0, 4, 7, 1000})
        CHECK(cpus_of_workers(placement, Pinning::avoid_caller, outside) == Lists{"1-3,6", "1-3,6"});
}

TEST_CASE("more workers than cores leave the caller its CPU, more than CPUs nothing") {
    const Topology topology = synthetic("core:2 pu:2");
    CHECK(cpus_of_workers(place(topology, 3), Pinning::avoid_caller, 1) == Lists{"0,2-3", "0,2-3"});
    CHECK(cpus_of_workers(place(topology, 4), Pinning::avoid_caller, 2) == Lists{"0-1,3", "0-1,3", "0-1,3"});
    CHECK(cpus_of_workers(place(topology, 5), Pinning::avoid_caller, 2) == Lists(4, "0-3"));
    CHECK(cpus_of_workers(place(topology, 5), Pinning::one_core, 2) == Lists{"2", "1", "3", "null"});
}

TEST_CASE("pinned to one core, only the worker whose core the caller is on goes elsewhere: to worker 0's") {
    const Topology topology = synthetic("core:3 pu:2");
    const Placement placement = place(topology);
    CHECK(cpus_of_workers(placement, Pinning::one_core, 0) == Lists{"2", "4"});
    CHECK(cpus_of_workers(placement, Pinning::one_core, 2) == Lists{"0", "4"});
    CHECK(cpus_of_workers(placement, Pinning::one_core, 3) == Lists{"0", "4"});
    CHECK(cpus_of_workers(placement, Pinning::one_core, 5) == Lists{"2", "0"});
    CHECK(cpus_of_workers(placement, Pinning::one_core, 1000) == Lists{"2", "4"});
}

TEST_CASE("homes are CPUs of their own that the workers may use, wherever the caller is") {
    const Topology topology = synthetic("package:2 numa:1 core:3 pu:2");
    for (const int workers : {2, 6, 9, 12}) {
        const Placement placement = place(topology, workers);
        const WorkerAffinity affinity(placement, Pinning::avoid_caller);
        for (int caller = 0; caller < 12; ++caller) {
            CAPTURE(workers);
            CAPTURE(caller);
            std::set<int> seen{caller};
            for (int worker = 1; worker < workers; ++worker) {
                const int home = home_of(affinity, worker, caller);
                CHECK(seen.insert(home).second);
                CHECK(hwloc_bitmap_isset(affinity.cpus(worker, affinity.zone_of(caller)),
                                         static_cast<unsigned>(home)) != 0);
            }
        }
    }
}

TEST_CASE("hybrid: workers of fast cores stay on those, and a caller on a slow one is in nobody's way") {
    const Topology topology = synthetic("core:6 pu:1");
    add_kind(topology, "0-3", 1, "IntelCore", "5000");
    add_kind(topology, "4-5", 0, "IntelAtom", "3800");
    const Placement placement = place(topology);
    CHECK(cpus_of_workers(placement, Pinning::avoid_caller, 1) == Lists{"0,2-3", "0,2-3", "0,2-3"});
    CHECK(cpus_of_workers(placement, Pinning::avoid_caller, 4) == Lists{"0-3", "0-3", "0-3"});
}

TEST_CASE("without pinning, or where the topology knows none of the CPUs, affinities are left alone") {
    const Topology topology = synthetic("core:4 pu:1");
    CHECK(cpus_of_workers(place(topology), Pinning::none, 0) == Lists{"null", "null", "null"});
    for (const Pinning pinning : {Pinning::avoid_caller, Pinning::one_core})
        CHECK(cpus_of_workers(place(topology, 2, 0, "77"), pinning, 0) == Lists{"null"});
}
