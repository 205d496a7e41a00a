// Row post-ops: finishes pixels whose sums someone else computed (a batch-reduce kernel), while they are
// hot: loads each output vector, applies the stage's chain, bias included, and stores it as the output
// tensor wants it.
//
//   for each pixel: for each vector of the group: load (or zero), post-ops, store
//
// One function serves every run of pixels of a group; how many there are is an argument.
#pragma once

#include "jit/stage_body.hpp"

namespace tandem::jit {

/// What the output holds before.
enum class RowSums {
    present,  // the sums of all taps
    none,     // nothing: no tap of these pixels is inside the image, their sums are zero
};

/// `output`, `residual`: the group's first channel of the first pixel; `group`: its panel. `pixels` must be
/// positive.
using RowFinish = void (*)(void* output, const void* residual, const void* group, std::int64_t pixels);

/// False where present sums are already what the output tensor wants.
bool needs_row_finish(const StageContext& context, const GroupRun& run) noexcept;

/// Emits the function for a group of `run`; its offset.
std::size_t emit_row_finish(const StageContext& context, const GroupRun& run, RowSums sums);

}  // namespace tandem::jit
