#include "tandem/layout.hpp"

#include <limits>

#include <fmt/format.h>

#include "core/plan/as_result.hpp"

namespace tandem {

namespace {

Status check_spans(const TensorShape& shape, const TensorView& view, std::size_t nchw,
                   const char* viewed_name, std::size_t viewed) {
    const std::int64_t plain = element_count(shape, Layout::nchw);
    const std::int64_t extent = element_count(shape, view);
    if (plain < 0 || extent < 0)
        return Error{ErrorCode::overflow,
                     fmt::format("shape is {}x{}x{}x{}; sizes that are not negative and whose product fits "
                                 "64 bits are accepted",
                                 shape.n, shape.c, shape.h, shape.w)};
    const auto wrong = [](const char* name, std::size_t size, std::int64_t accepted) {
        return Error{ErrorCode::invalid_argument,
                     fmt::format("{} has {} elements; {} is accepted", name, size, accepted)};
    };
    if (nchw != static_cast<std::size_t>(plain)) return wrong("nchw", nchw, plain);
    if (viewed != static_cast<std::size_t>(extent)) return wrong(viewed_name, viewed, extent);
    return {};
}

std::int64_t block_count(std::int64_t channels, Layout layout) noexcept {
    return channels <= 0 ? 0 : (channels - 1) / channel_block(layout) + 1;
}

/// Calls copy(index in NCHW, index in the view) for every element, and pad(index in the view) for every one
/// of padding channels.
template <class Copy, class Pad>
void for_each_element(const TensorShape& shape, const TensorView& view, Copy copy, Pad pad) {
    const std::int64_t channels = block_count(shape.c, view.layout) * channel_block(view.layout);
    std::size_t plain = 0;
    for (std::int64_t n = 0; n < shape.n; ++n)
        for (std::int64_t c = 0; c < channels; ++c)
            for (std::int64_t y = 0; y < shape.h; ++y)
                for (std::int64_t x = 0; x < shape.w; ++x) {
                    const auto index = static_cast<std::size_t>(element_index(shape, view, n, c, y, x));
                    if (c < shape.c)
                        copy(plain++, index);
                    else
                        pad(index);
                }
}

/// a + b * c, or false if that overflows.
bool add_product(std::int64_t& a, std::int64_t b, std::int64_t c) noexcept {
    return !__builtin_mul_overflow(b, c, &b) && !__builtin_add_overflow(a, b, &a);
}

/// Of sizes that may overflow: a product of two, saturated.
std::int64_t times(std::int64_t a, std::int64_t b) noexcept {
    std::int64_t product = 0;
    return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<std::int64_t>::max() : product;
}

}  // namespace

TensorView filled(const TensorView& view, const TensorShape& shape) noexcept {
    TensorView result = view;
    const bool nhwc = view.layout == Layout::nhwc;
    const std::int64_t block = channel_block(view.layout);
    if (result.pixel == 0) result.pixel = nhwc ? shape.c : block;
    if (result.row == 0) result.row = times(shape.w, result.pixel);
    if (!nhwc && result.block == 0) result.block = times(shape.h, result.row);
    if (result.image == 0)
        result.image =
            nhwc ? times(shape.h, result.row) : times(block_count(shape.c, view.layout), result.block);
    return result;
}

std::int64_t element_count(const TensorShape& shape, const TensorView& view) noexcept {
    if (shape.n < 0 || shape.c < 0 || shape.h < 0 || shape.w < 0) return -1;
    if (shape.n == 0 || shape.c == 0 || shape.h == 0 || shape.w == 0) return 0;
    const TensorView strides = filled(view, shape);
    const bool nhwc = view.layout == Layout::nhwc;
    const std::int64_t block = nhwc ? shape.c : channel_block(view.layout);
    std::int64_t count = block;
    const bool fits = add_product(count, shape.w - 1, strides.pixel) &&
                      add_product(count, shape.h - 1, strides.row) &&
                      add_product(count, (shape.c - 1) / block, strides.block) &&
                      add_product(count, shape.n - 1, strides.image);
    return fits ? count : -1;
}

std::int64_t element_index(const TensorShape& shape, const TensorView& view, std::int64_t n, std::int64_t c,
                           std::int64_t y, std::int64_t x) noexcept {
    const TensorView strides = filled(view, shape);
    const std::int64_t pixel = n * strides.image + y * strides.row + x * strides.pixel;
    if (view.layout == Layout::nhwc) return pixel + c;
    const std::int64_t block = channel_block(view.layout);
    return pixel + c / block * strides.block + c % block;
}

Status from_nchw(std::span<const float> nchw, const TensorShape& shape, const TensorView& view,
                 std::span<float> out) noexcept try {
    if (Status status = check_spans(shape, view, nchw.size(), "out", out.size()); !status) return status;
    for_each_element(
        shape, view, [&](std::size_t plain, std::size_t index) { out[index] = nchw[plain]; },
        [&](std::size_t index) { out[index] = 0; });
    return {};
} catch (...) {
    return caught_error();
}

Status to_nchw(std::span<const float> in, const TensorShape& shape, const TensorView& view,
               std::span<float> nchw) noexcept try {
    if (Status status = check_spans(shape, view, nchw.size(), "in", in.size()); !status) return status;
    for_each_element(
        shape, view, [&](std::size_t plain, std::size_t index) { nchw[plain] = in[index]; },
        [](std::size_t) {});
    return {};
} catch (...) {
    return caught_error();
}

}  // namespace tandem
