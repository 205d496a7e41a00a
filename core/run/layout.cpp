#include "tandem/layout.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace tandem {

namespace {

std::int64_t plain_count(const TensorShape& shape) noexcept { return element_count(shape, Layout::nhwc); }

Status check_spans(const TensorShape& shape, Layout layout, std::size_t nchw, const char* blocked_name,
                   std::size_t blocked) {
    const std::int64_t plain = plain_count(shape);
    const std::int64_t padded = element_count(shape, layout);
    if (plain < 0 || padded < 0)
        return Error{ErrorCode::overflow,
                     fmt::format("shape is {}x{}x{}x{}; sizes that are not negative and whose product fits "
                                 "64 bits are accepted",
                                 shape.n, shape.c, shape.h, shape.w)};
    const auto wrong = [](const char* name, std::size_t size, std::int64_t accepted) {
        return Error{ErrorCode::invalid_argument,
                     fmt::format("{} has {} elements; {} is accepted", name, size, accepted)};
    };
    if (nchw != static_cast<std::size_t>(plain)) return wrong("nchw", nchw, plain);
    if (blocked != static_cast<std::size_t>(padded)) return wrong(blocked_name, blocked, padded);
    return {};
}

/// Calls copy(index in NCHW, index in `layout`) for every element.
template <class Copy>
void for_each_element(const TensorShape& shape, Layout layout, Copy copy) {
    std::size_t plain = 0;
    for (std::int64_t n = 0; n < shape.n; ++n)
        for (std::int64_t c = 0; c < shape.c; ++c)
            for (std::int64_t y = 0; y < shape.h; ++y)
                for (std::int64_t x = 0; x < shape.w; ++x)
                    copy(plain++, static_cast<std::size_t>(element_index(shape, layout, n, c, y, x)));
}

}  // namespace

std::int64_t element_count(const TensorShape& shape, Layout layout) noexcept {
    const std::int64_t block = channel_block(layout);
    std::int64_t count = 0;
    if (shape.n < 0 || shape.c < 0 || shape.h < 0 || shape.w < 0) return -1;
    if (__builtin_add_overflow(shape.c, block - 1, &count)) return -1;
    count &= -block;
    for (std::int64_t size : {shape.h, shape.w, shape.n})
        if (__builtin_mul_overflow(count, size, &count)) return -1;
    return count;
}

std::int64_t element_index(const TensorShape& shape, Layout layout, std::int64_t n, std::int64_t c,
                           std::int64_t y, std::int64_t x) noexcept {
    if (layout == Layout::nhwc) return ((n * shape.h + y) * shape.w + x) * shape.c + c;
    const std::int64_t block = channel_block(layout);
    const std::int64_t blocks = (shape.c + block - 1) / block;
    return (((n * blocks + c / block) * shape.h + y) * shape.w + x) * block + c % block;
}

Status from_nchw(std::span<const float> nchw, const TensorShape& shape, Layout layout, std::span<float> out) {
    if (Status status = check_spans(shape, layout, nchw.size(), "out", out.size()); !status) return status;
    std::ranges::fill(out, 0.0f);
    for_each_element(shape, layout, [&](std::size_t plain, std::size_t index) { out[index] = nchw[plain]; });
    return {};
}

Status to_nchw(std::span<const float> in, const TensorShape& shape, Layout layout, std::span<float> nchw) {
    if (Status status = check_spans(shape, layout, nchw.size(), "in", in.size()); !status) return status;
    for_each_element(shape, layout, [&](std::size_t plain, std::size_t index) { nchw[plain] = in[index]; });
    return {};
}

}  // namespace tandem
