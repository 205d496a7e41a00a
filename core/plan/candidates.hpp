// Candidates: the plans worth predicting or timing for a problem. Pure; rules leave out what is clearly bad
// before anybody looks.
//
// Axes: rows of a tile (up to the whole image, which is "not fused": the intermediate is then a tensor in
// memory), columns of a tile, microkernel shape and broadcasts, rows of a depthwise block, loop order,
// prefetch, ring or recomputation, channel splits, K blocks, distance of the prefetch of Winograd's weights.
// The main axes (rows, shape and broadcasts, prefetch or ring) are crossed; the others vary one at a time,
// and of these some are left out where there are too many.
#pragma once

#include <vector>

#include "core/plan/plan.hpp"

namespace tandem {

inline constexpr std::size_t max_candidates = 400;

/// Distinct plans, every one of which passes check_plan(); the first is rules_plan()'s. Deterministic, at
/// most max_candidates. `threads`: parts meant to run at once.
std::vector<Plan> candidate_plans(const Problem& problem, const Machine& machine, int threads);

/// Stage i of `base` by every algorithm and dot that its data types, the math mode and base.isa allow, at
/// its register blocks. Some need other tiles.
std::vector<StagePlan> stage_ways(const Problem& problem, const Plan& base, int i);

/// The chain cut at every edge and at every set of edges, each segment as the rules have it alone.
std::vector<Plan> cut_plans(const Problem& problem, const Machine& machine, int threads);

/// `plan` with the output channels of the segment that ends with stage i spread over `threads` tiles of
/// `height` rows: a thread of them reads its share of the weights only, and few rows are no matter.
Plan spread_channels(const Problem& problem, Plan plan, int i, int height, int threads);

/// The part's whole band in one tile: the intermediate goes through memory as it would between two kernels.
/// `threads` >= 1.
bool is_unfused(const Problem& problem, const Plan& plan, int threads) noexcept;

}  // namespace tandem
