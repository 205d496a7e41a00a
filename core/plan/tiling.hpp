// Tiling: from a problem and a machine to a Plan, by rules. Pure functions.
#pragma once

#include "core/plan/plan.hpp"
#include "core/plan/register_budget.hpp"

namespace tandem {

/// What the rules propose, fused wherever the image can be cut; choice.hpp takes it or better. `threads`:
/// parts meant to run at once.
Plan rules_plan(const Problem& problem, const Machine& machine, int threads);

/// Ok, or which decision of the plan is impossible for this problem and what would be accepted.
Status check_plan(const Problem& problem, const Plan& plan);

/// Most output pixels of a depthwise block with `rows` rows at once, by the register budget.
int max_depthwise_pixels(const Stage& stage, Isa isa, Dot dot, int rows) noexcept;

/// Output rows that a depthwise block can compute at once, so that pointers to all their input rows fit the
/// general registers.
int max_depthwise_rows(const Stage& stage) noexcept;

/// Input rows that `rows` output rows of a stage read, each counted once.
std::int64_t distinct_input_rows(const Stage& stage, int rows) noexcept;

}  // namespace tandem
