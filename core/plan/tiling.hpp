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

/// Bytes that a tile of a segment works on besides its input, output and weights: the intermediates, staged
/// input, rows that become planes and the workspace.
std::int64_t working_bytes(const Problem& problem, const Plan& plan);

/// Every edge that has a halo becomes a sliding one, the others recompute, which costs them nothing.
void set_rings(const Problem& problem, Plan& plan) noexcept;

/// Columns of padding lie in scratch where AMX reads them, so only once, at the ends of full rows.
bool needs_full_width(const Problem& problem, const Plan& plan) noexcept;

/// Most output pixels of a depthwise block with `rows` rows of `vectors` vectors at once, by the register
/// budget.
int max_depthwise_pixels(const Stage& stage, Isa isa, Dot dot, int rows, int vectors = 1);

/// Vectors of channels that a depthwise block can take at once: quad_vectors by dot int8 where 64 channels of
/// a pixel lie together in what it reads and in what it writes, as bytes; else 1.
int depthwise_vectors(const Problem& problem, const Plan& plan, int i) noexcept;

/// Output rows that a depthwise block can compute at once; 1 where kernel rows are looped over.
int max_depthwise_rows(const Stage& stage) noexcept;

/// The general registers hold pointers to all input rows of a depthwise block of `rows` rows; else each is
/// loaded from the row table when its turn comes.
bool holds_row_pointers(const Stage& stage, int rows);

/// A depthwise block of this stage is one kernel row's code in a loop over the kernel rows: unrolled, large
/// kernels would need more pointers than there are registers, and code that leaves L1I.
bool loops_kernel_rows(const Stage& stage) noexcept;

/// A depthwise block of `rows` rows loads the weights that meet an input row into registers, by f32 FMAs;
/// else each FMA takes its own from memory, as those of wide kernels and many rows leave too few registers to
/// the accumulators.
bool holds_kernel_row(const Stage& stage, Isa isa, int rows);

/// Input rows that `rows` output rows of a stage read, each counted once.
std::int64_t distinct_input_rows(const Stage& stage, int rows);

}  // namespace tandem
