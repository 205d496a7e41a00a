// The reference's post-ops: in double, or for quantised stages in f32 operation by operation, and the
// rounding to the output's type.
#pragma once

#include <span>

#include "core/plan/problem.hpp"
#include "tandem/kernel.hpp"

namespace tandem {

/// The definition of post-ops that need nothing but the value; the limit at -inf where the formula has none.
double activate(const PostOp& op, double x);

/// Turns the sums of one pixel of stage i into its outputs, in place. `residual`: the same pixel of the
/// tensor of +sum. `input_scale`: of a quantised stage's input. f32 outputs of stages that are not quantised
/// stay as they are in double.
void finish_pixel(const Problem& problem, int i, const StageWeights& params, float input_scale,
                  const double* residual, std::span<double> pixel);

}  // namespace tandem
