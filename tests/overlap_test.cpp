// Whether tensors overlap, against all of their bytes.
#include "core/run/overlap.hpp"

#include "support/doctest.hpp"

#include <algorithm>
#include <random>
#include <vector>

using namespace tandem;

namespace {

std::byte* const origin = reinterpret_cast<std::byte*>(std::uintptr_t{1} << 20);

/// The first byte of every run of a tensor, from the origin, and the width of a run.
std::pair<std::vector<std::int64_t>, std::int64_t> runs_of(const PlacedTensor& t) {
    const std::int64_t bytes = element_bytes(t.dtype),
                       block = t.view.layout == Layout::nhwc ? t.shape.c : channel_block(t.view.layout);
    std::vector<std::int64_t> runs;
    for (std::int64_t n = 0; n < t.shape.n; ++n)
        for (std::int64_t c = 0; c < t.shape.c; c += block)
            for (std::int64_t y = 0; y < t.shape.h; ++y)
                for (std::int64_t x = 0; x < t.shape.w; ++x)
                    runs.push_back(static_cast<const std::byte*>(t.data) - origin +
                                   element_index(t.shape, t.view, n, c, y, x) * bytes);
    return {runs, block * bytes};
}

bool share_bytes(const PlacedTensor& a, const PlacedTensor& b) {
    const auto [first, first_width] = runs_of(a);
    const auto [second, second_width] = runs_of(b);
    std::vector<bool> taken(static_cast<std::size_t>(std::ranges::max(first) + first_width));
    for (const std::int64_t run : first)
        std::fill_n(taken.begin() + run, first_width, true);
    const auto size = static_cast<std::int64_t>(taken.size());
    for (const std::int64_t run : second)
        for (std::int64_t at = run; at < std::min(run + second_width, size); ++at)
            if (taken[static_cast<std::size_t>(at)]) return true;
    return false;
}

class RandomTensors {
public:
    std::int64_t upto(std::int64_t most) {
        return std::uniform_int_distribution<std::int64_t>(0, most)(engine_);
    }

    TensorShape shape() { return {1 + upto(2), 1 + upto(19), 1 + upto(3), 1 + upto(3)}; }

    /// Strides that suit both shapes, with gaps here and there.
    TensorView view(const TensorShape& a, const TensorShape& b) {
        constexpr Layout layouts[] = {Layout::nhwc, Layout::nhwc, Layout::nchw8c, Layout::nchw16c,
                                      Layout::nchw};
        TensorView view(layouts[upto(4)]);
        const TensorShape both{std::max(a.n, b.n), std::max(a.c, b.c), std::max(a.h, b.h),
                               std::max(a.w, b.w)};
        const std::int64_t unit = channel_block(view.layout);
        const auto widen = [&](std::int64_t TensorView::*stride) {
            view.*stride = filled(view, both).*stride + upto(1) * upto(20) * unit;
        };
        if (view.layout != Layout::nchw) widen(&TensorView::pixel);
        widen(&TensorView::row);
        if (view.layout != Layout::nhwc) widen(&TensorView::block);
        widen(&TensorView::image);
        return filled(view, both);
    }

private:
    std::mt19937_64 engine_{7};
};

}  // namespace

TEST_CASE("overlap: exact where strides are the same, whatever the shapes and the distance") {
    RandomTensors random;
    int apart = 0, met = 0;
    for (int i = 0; i < 20000; ++i) {
        const TensorShape shape = random.shape(), other = random.upto(1) == 0 ? shape : random.shape();
        const TensorView view = random.view(shape, other);
        const PlacedTensor a{origin, shape, view, DataType::f32},
            b{origin + random.upto(static_cast<std::int64_t>(a.bytes())), other, view, DataType::f32};
        CAPTURE(i);
        const Overlap expected = share_bytes(a, b) ? Overlap::certain : Overlap::none;
        REQUIRE(overlap(a, b) == expected);
        REQUIRE(overlap(b, a) == expected);
        const bool within = b.begin() < a.begin() + a.bytes();
        apart += within && expected == Overlap::none;
        met += expected == Overlap::certain;
    }
    CHECK(apart > 1000);
    CHECK(met > 1000);
}

TEST_CASE("overlap: never missed, and certain only where there is one, where strides or types differ") {
    RandomTensors random;
    int possible = 0;
    for (int i = 0; i < 20000; ++i) {
        const TensorShape shape = random.shape(), other = random.shape();
        const DataType dtype = random.upto(1) == 0 ? DataType::f32 : DataType::bf16;
        const PlacedTensor a{origin, shape, random.view(shape, shape), DataType::f32},
            b{origin + random.upto(static_cast<std::int64_t>(a.bytes())), other, random.view(other, other),
              dtype};
        CAPTURE(i);
        const Overlap found = overlap(a, b);
        REQUIRE(overlap(b, a) == found);
        if (found == Overlap::possible)
            ++possible;
        else
            REQUIRE((found == Overlap::certain) == share_bytes(a, b));
    }
    CHECK(possible > 0);
}

TEST_CASE("overlap: a dimension of size 1 has any stride") {
    const PlacedTensor rows{origin, {1, 16, 4, 4}, {Layout::nhwc, 64, 272, 0, 1088}, DataType::f32};
    PlacedTensor row{origin + 64, {1, 16, 1, 4}, {Layout::nhwc, 64, 256, 0, 256}, DataType::f32};
    CHECK(overlap(rows, row) == Overlap::none);
    row.data = origin + 60;
    CHECK(overlap(rows, row) == Overlap::certain);
}
