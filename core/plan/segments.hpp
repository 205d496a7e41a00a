// Segments: a chain cut at its stored edges. A segment is a problem and a plan of its own, with recomputed
// and sliding edges only; everything from tile geometry to generated code knows only these.
#pragma once

#include <vector>

#include "core/plan/plan.hpp"

namespace tandem {

struct Segment {
    int first = 0;  // of its stages in the chain
    Problem problem{};
    Plan plan{};
};

/// The segments of a chain, in order. What one writes the next reads as a tensor of the chain's layout.
std::vector<Segment> segments_of(const Problem& problem, const Plan& plan);

/// Some edge is stored.
bool has_stored_edge(const Problem& problem, const Plan& plan) noexcept;

}  // namespace tandem
