// Activation tensors: sizes in memory and conversion between plain NCHW and the layouts kernels read and
// write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tandem/descriptor.hpp"
#include "tandem/export.h"

namespace tandem {

/// Dimensions of one activation tensor, in elements.
struct TensorShape {
    std::int64_t n = 1, c = 0, h = 0, w = 0;
    bool operator==(const TensorShape&) const = default;
};

/// Channels of a block, which lie next to each other; the channel count is padded to a multiple of it.
constexpr std::int64_t channel_block(Layout layout) noexcept {
    return layout == Layout::nchw16c ? 16 : layout == Layout::nchw8c ? 8 : 1;
}

/// The view with every stride of a tensor of this shape filled in.
TANDEM_API TensorView filled(const TensorView& view, const TensorShape& shape) noexcept;

/// Elements from the first to the last of a tensor, padding channels of blocked layouts and gaps included; -1
/// if that overflows.
TANDEM_API std::int64_t element_count(const TensorShape& shape, const TensorView& view) noexcept;

/// Index of element (n, c, y, x) of a tensor of this shape, from its first.
TANDEM_API std::int64_t element_index(const TensorShape& shape, const TensorView& view, std::int64_t n,
                                      std::int64_t c, std::int64_t y, std::int64_t x) noexcept;

/// Copies f32 NCHW (n*c*h*w elements) to where `view` has it; padding channels are set to zero, gaps left
/// alone.
TANDEM_API Status from_nchw(std::span<const float> nchw, const TensorShape& shape, const TensorView& view,
                            std::span<float> out) noexcept;
/// The inverse; padding channels are dropped.
TANDEM_API Status to_nchw(std::span<const float> in, const TensorShape& shape, const TensorView& view,
                          std::span<float> nchw) noexcept;

}  // namespace tandem
