#include "core/plan/segments.hpp"

#include <algorithm>

namespace tandem {
namespace {

Plan plan_range(const Problem& problem, const Plan& plan, int first, int count) {
    Plan part;
    const int last = first + count - 1;
    const bool closes = last == problem.stage_count - 1;
    static_cast<Tiling&>(part) =
        closes ? static_cast<const Tiling&>(plan) : plan.stored[static_cast<std::size_t>(last)];
    part.isa = plan.isa;
    part.backend = plan.backend;
    for (int i = 0; i < count; ++i) {
        part.stage(i) = plan.stage(first + i);
        if (i + 1 < count) part.edge(i) = plan.edge(first + i);
    }
    return part;
}

}  // namespace

std::vector<Segment> segments_of(const Problem& problem, const Plan& plan) {
    std::vector<Segment> segments;
    int first = 0;
    for (int i = 0; i < problem.stage_count; ++i) {
        const bool ends = i + 1 == problem.stage_count || plan.edge(i) == Edge::stored;
        if (!ends) continue;
        const int count = i + 1 - first;
        segments.push_back(
            {first, stage_range(problem, first, count), plan_range(problem, plan, first, count)});
        first = i + 1;
    }
    return segments;
}

bool has_stored_edge(const Problem& problem, const Plan& plan) noexcept {
    for (int i = 0; i + 1 < problem.stage_count; ++i)
        if (plan.edge(i) == Edge::stored) return true;
    return false;
}

}  // namespace tandem
