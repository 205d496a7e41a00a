#include "core/run/topology.hpp"

#include "support/doctest.hpp"

#include <set>
#include <string>
#include <vector>

#include "support/synthetic_topology.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

/// Each worker's CPU, -1 for those without.
std::vector<int> homes(const Placement& placement) {
    std::vector<int> list;
    for (const Worker& worker : placement.workers) {
        CHECK((!worker.cpuset || hwloc_bitmap_weight(worker.cpuset.get()) == 1));
        list.push_back(worker.cpuset ? hwloc_bitmap_first(worker.cpuset.get()) : -1);
    }
    return list;
}

using Lists = std::vector<std::string>;

Lists lists(const std::vector<Cpuset>& sets) {
    Lists texts;
    for (const Cpuset& set : sets)
        texts.push_back(list_of(set.get()));
    return texts;
}

bool explains(const Placement& placement, const std::string& text) {
    INFO(placement.explanation);
    return placement.explanation.find(text) != std::string::npos;
}

using Cpus = std::vector<int>;

}  // namespace

TEST_CASE("one worker a core, first CPU of each, NUMA node by NUMA node") {
    const Topology topology = synthetic("package:2 numa:1 core:3 pu:2");
    const Placement placement = place(topology);
    CHECK(homes(placement) == Cpus{0, 2, 4, 6, 8, 10});
    for (std::size_t i = 0; i < placement.workers.size(); ++i) {
        CHECK(placement.workers[i].core_index == static_cast<int>(i));
        CHECK(placement.workers[i].numa_node == (i < 3 ? 0 : 1));
        CHECK(placement.workers[i].core_kind == 0);
    }
    CHECK(!placement.oversubscribed);
    CHECK(explains(placement,
                   "6 workers by default, one a core; allowed are 6 cores (12 CPUs) on 2 NUMA nodes."));
}

TEST_CASE("CPUs numbered across sockets are still placed node by node") {
    const Topology topology = synthetic("package:2 numa:1 core:2 pu:1(indexes=0,2,1,3)");
    CHECK(homes(place(topology)) == Cpus{0, 2, 1, 3});
}

TEST_CASE("the affinity mask limits cores and CPUs") {
    const Topology topology = synthetic("package:2 numa:1 core:4 pu:2");
    CHECK(homes(place(topology, 0, 0, "3,8-11")) == Cpus{3, 8, 10});
    CHECK(homes(place(topology, 0, 0, "5")) == Cpus{5});
}

TEST_CASE("a mask outside the topology leaves one worker, without a CPU") {
    const Topology topology = synthetic("core:2 pu:1");
    const Placement placement = place(topology, 0, 0, "77");
    CHECK(homes(placement) == Cpus{-1});
    CHECK(explains(placement, "none of the allowed CPUs"));
}

TEST_CASE("the quota is rounded down, to one at least") {
    const Topology topology = synthetic("core:8 pu:2");
    CHECK(place(topology, 0, 2.5).workers.size() == 2);
    CHECK(place(topology, 0, 0.5).workers.size() == 1);
    CHECK(place(topology, 0, 100).workers.size() == 8);
    CHECK(place(topology, 0, 1e300).workers.size() == 8);
    CHECK(explains(place(topology, 0, 2.5), "quota of 2.50 CPUs allows 2 workers"));
}

TEST_CASE("a request is honoured: cores, then their second CPUs, then none") {
    const Topology topology = synthetic("core:2 pu:2");
    CHECK(homes(place(topology, 1)) == Cpus{0});
    CHECK(homes(place(topology, 2)) == Cpus{0, 2});

    const Placement sharing = place(topology, 3);
    CHECK(homes(sharing) == Cpus{0, 2, 1});
    CHECK(!sharing.oversubscribed);
    CHECK(explains(sharing, "share one with another: 1."));

    const Placement crowded = place(topology, 6);
    CHECK(homes(crowded) == Cpus{0, 2, 1, 3, -1, -1});
    CHECK(crowded.oversubscribed);
    CHECK(explains(crowded, "none spins while it waits: 2."));
    CHECK(crowded.workers.back().core_index == -1);
}

TEST_CASE("a request above the quota is honoured and explained") {
    const Placement placement = place(synthetic("core:4 pu:1"), 3, 1.5);
    CHECK(placement.workers.size() == 3);
    CHECK(placement.oversubscribed);
    CHECK(explains(placement, "more than the quota"));
}

TEST_CASE("hybrid: by default only the kinds that shorten the work") {
    const Topology topology = synthetic("core:8 pu:1");  // six fast, two slow
    add_kind(topology, "0-1", 0, "IntelAtom", "3800");
    add_kind(topology, "2-7", 1, "IntelCore", "5000");
    const Placement placement = place(topology);
    CHECK(homes(placement) == Cpus{2, 3, 4, 5, 6, 7});
    CHECK(explains(placement, "all would wait for them: 2 "));
    CHECK(explains(placement, "speed 0.38"));

    SUBCASE("a request reaches the slower ones last") {
        const Placement all = place(topology, 8);
        CHECK(homes(all) == Cpus{2, 3, 4, 5, 6, 7, 0, 1});
        CHECK(all.workers.back().core_kind == 1);
    }
    SUBCASE("only slow cores allowed: they are used") {
        CHECK(homes(place(topology, 0, 0, "0-1")) == Cpus{0, 1});
    }
    SUBCASE("a quota takes the fast ones") { CHECK(homes(place(topology, 0, 2)) == Cpus{2, 3}); }
}

TEST_CASE("hybrid: many slow cores next to few fast ones are worth it") {
    const Topology topology = synthetic("core:10 pu:1");
    add_kind(topology, "0-1", 1, "IntelCore", "4400");
    add_kind(topology, "2-9", 0, "IntelAtom", "3300");
    CHECK(place(topology).workers.size() == 10);
}

TEST_CASE("hybrid: kinds that are only ranked") {
    const Topology topology = synthetic("core:8 pu:1");
    add_kind(topology, "0-3", 0, nullptr, nullptr);
    add_kind(topology, "4-7", 1, nullptr, nullptr);
    CHECK(homes(place(topology)) == Cpus{4, 5, 6, 7});
}

TEST_CASE("favoured cores of one design are not another kind") {
    const Topology topology = synthetic("core:4 pu:1");
    add_kind(topology, "0-2", 0, nullptr, "5200");
    add_kind(topology, "3", 1, nullptr, "5700");
    const Placement placement = place(topology);
    CHECK(homes(placement) == Cpus{0, 1, 2, 3});
    CHECK(placement.workers[0].core_kind == 0);
    CHECK(!explains(placement, "kinds"));
}

TEST_CASE("kinds that hwloc cannot rank count as one") {
    const Topology topology = synthetic("core:4 pu:1");
    add_kind(topology, "0-1", -1, nullptr, nullptr);
    add_kind(topology, "2-3", -1, nullptr, nullptr);
    CHECK(place(topology).workers.size() == 4);
}

TEST_CASE("this host gets at least one worker, each on its own allowed CPU") {
    const auto topology = load_topology();
    REQUIRE(topology.ok());
    const Placement placement = place_on_host(topology->get(), 0);
    const Cpuset allowed = thread_cpuset(topology->get());
    REQUIRE(!placement.workers.empty());
    std::set<int> seen;
    for (const int cpu : homes(placement)) {
        CHECK(hwloc_bitmap_isset(allowed.get(), static_cast<unsigned>(cpu)) != 0);
        CHECK(seen.insert(cpu).second);
    }
}

TEST_CASE("the cores that workers may use are all allowed ones of the kinds in use") {
    const Topology topology = synthetic("core:4 pu:2");
    CHECK(lists(place(topology, 2).cores) == Lists{"0-1", "2-3", "4-5", "6-7"});
    CHECK(lists(place(topology, 0, 0, "1-3,6").cores) == Lists{"1", "2-3", "6"});
    CHECK(place(topology, 0, 0, "77").cores.empty());

    add_kind(topology, "0-3", 0, "IntelAtom", "3800");
    add_kind(topology, "4-7", 1, "IntelCore", "5000");
    CHECK(lists(place(topology).cores) == Lists{"4-5", "6-7"});
    CHECK(lists(place(topology, 3).cores) == Lists{"4-5", "6-7", "0-1", "2-3"});
}
