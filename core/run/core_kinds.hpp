// Core kinds: how the cores of a hybrid processor rank, from what hwloc knows of them.
#pragma once

#include <hwloc.h>

#include <vector>

#include "core/run/topology.hpp"

namespace tandem {

/// Cores of about the same speed.
struct CoreKind {
    Cpuset cpuset;
    double speed = 1;  // f32 FMA throughput relative to the most capable kind: an estimate, at most 1
};

/// The kinds of `topology`, most capable first; kinds of nearly equal speed count as one. Empty where hwloc
/// knows none or cannot rank them: then all cores are equal.
std::vector<CoreKind> core_kinds(hwloc_topology_t topology);

/// Position in `kinds` of the kind that has this CPU; 0 if none has it.
int kind_of(const std::vector<CoreKind>& kinds, unsigned cpu);

}  // namespace tandem
