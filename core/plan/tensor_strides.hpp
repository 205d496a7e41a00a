// Where an element of an activation tensor lies, in bytes. NHWC, blocked tensors and scratch differ only in
// these numbers.
#pragma once

#include <cstdint>

#include "core/plan/arithmetic.hpp"
#include "core/plan/pixel_pairs.hpp"

namespace tandem {

/// Byte strides. Channel c of a pixel is at (c / block) * block_stride + (c % block) * element.
struct TensorStrides {
    std::int64_t pixel = 0, row = 0, image = 0;
    std::int64_t block = 1, block_stride = 0;
    std::int64_t element = 4;
    std::int64_t part = 0;  // from one part of an element to the next, where it has several
    bool pairs = false;     // pixels 2k and 2k + 1 of a row lie in a pair (pixel_pairs.hpp)

    std::int64_t channel(std::int64_t c) const noexcept {
        return c / block * block_stride + c % block * element;
    }
    /// Of a dot group, 4 bytes, from the first of its channel block; in pairs both pixels' are there.
    std::int64_t dot_group(std::int64_t group) const noexcept {
        return pairs ? pixel_pair_offset(group, pixel) : group * 4;
    }
};

/// Strides of an activation tensor in memory.
TensorStrides tensor_strides(const TensorShape& shape, const TensorView& view, DataType dtype) noexcept;
TensorStrides input_strides(const Problem& problem) noexcept;
TensorStrides output_strides(const Problem& problem) noexcept;           // of the last stage
TensorStrides residual_strides(const Problem& problem, int i) noexcept;  // of +sum(in): the chain's input's

/// f32 lanes of the vectors that a plan's code works with: the ISA's, or 8 where nChw8c blocks are narrower
/// than a register.
int vector_lanes(Isa isa, Layout layout) noexcept;

}  // namespace tandem
