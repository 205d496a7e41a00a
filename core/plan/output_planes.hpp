// NCHW output: the last stage writes the rows of its tile to scratch, pixel after pixel as in NHWC, from
// where jit/output_planes.* puts each channel's together. Pure functions of (Problem, Plan).
#pragma once

#include "core/plan/tile_geometry.hpp"

namespace tandem {

/// Where that is: the rows of a tile, one right behind the other, with room for whole vectors of channels.
/// Empty where the last stage writes the tensor itself.
RowBuffer output_buffer(const Problem& problem, const Plan& plan);

/// What the last stage writes: the output tensor, or that buffer.
TensorStrides written_strides(const Problem& problem, const Plan& plan);

/// Vectors are read as pieces of this many bytes: channels of one pixel.
inline constexpr std::int64_t plane_piece = 16;

}  // namespace tandem
