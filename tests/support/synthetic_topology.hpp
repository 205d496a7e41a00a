// Topologies of machines that are not at hand.
#pragma once

#include <string>
#include <vector>

#include "core/run/topology.hpp"
#include "support/doctest.hpp"

namespace tandem::test {

/// Of hwloc's synthetic description, e.g. "package:2 numa:1 core:4 pu:2".
inline Topology synthetic(const char* description) {
    hwloc_topology_t raw = nullptr;
    REQUIRE(hwloc_topology_init(&raw) == 0);
    Topology topology(raw);
    REQUIRE(hwloc_topology_set_synthetic(raw, description) == 0);
    REQUIRE(hwloc_topology_load(raw) == 0);
    return topology;
}

/// "0-3,8".
inline Cpuset cpus(const char* list) {
    Cpuset set(hwloc_bitmap_alloc());
    REQUIRE(hwloc_bitmap_list_sscanf(set.get(), list) == 0);
    return set;
}

/// As cpus() reads it; "null" of none.
inline std::string list_of(hwloc_const_bitmap_t set) {
    char text[256] = "null";
    if (set) hwloc_bitmap_list_snprintf(text, sizeof text, set);
    return text;
}

/// Cores of one kind; `efficiency` orders kinds, -1: cannot be ranked.
inline void add_kind(const Topology& topology, const char* list, int efficiency, const char* type,
                     const char* megahertz) {
    std::vector<hwloc_info_s> infos;
    const auto add = [&](const char* name, const char* value) {
        if (value) {
            infos.push_back({const_cast<char*>(name), const_cast<char*>(value)});
        }
    };
    add("CoreType", type);
    add("FrequencyMaxMHz", megahertz);
    const auto info_count = static_cast<unsigned>(infos.size());
    REQUIRE(hwloc_cpukinds_register(topology.get(), cpus(list).get(), efficiency, info_count, infos.data(),
                                    0) == 0);
}

/// Every CPU is allowed unless a list says otherwise.
inline Placement place(const Topology& topology, int requested = 0, double quota = 0,
                       const char* allowed = "0-1023") {
    return place_workers(topology.get(), cpus(allowed).get(), quota, requested);
}

}  // namespace tandem::test
