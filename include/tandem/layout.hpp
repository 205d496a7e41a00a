// Activation tensors: sizes in memory and conversion between plain NCHW and the layouts kernels read and
// write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tandem/descriptor.hpp"

namespace tandem {

/// Dimensions of one activation tensor, in elements.
struct TensorShape {
    std::int64_t n = 1, c = 0, h = 0, w = 0;
    bool operator==(const TensorShape&) const = default;
};

/// Channels that lie next to each other in memory; the channel count is padded to a multiple of it.
constexpr std::int64_t channel_block(Layout layout) noexcept {
    return layout == Layout::nchw16c ? 16 : layout == Layout::nchw8c ? 8 : 1;
}

/// Elements that a tensor takes in `layout`, padding channels of blocked layouts included; -1 if that
/// overflows.
std::int64_t element_count(const TensorShape& shape, Layout layout) noexcept;

/// Index of element (n, c, y, x) in a tensor of this shape and layout.
std::int64_t element_index(const TensorShape& shape, Layout layout, std::int64_t n, std::int64_t c,
                           std::int64_t y, std::int64_t x) noexcept;

/// Copies f32 NCHW (n*c*h*w elements) into `layout`; padding channels are set to zero.
Status from_nchw(std::span<const float> nchw, const TensorShape& shape, Layout layout, std::span<float> out);
/// The inverse; padding channels are dropped.
Status to_nchw(std::span<const float> in, const TensorShape& shape, Layout layout, std::span<float> nchw);

}  // namespace tandem
