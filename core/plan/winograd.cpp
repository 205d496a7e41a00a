#include "core/plan/winograd.hpp"

#include <algorithm>

namespace tandem {
namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) noexcept { return (a + b - 1) / b; }

// An odd number of cache lines, so that neighbouring rows do not fall into the same few L1 sets.
std::int64_t odd_lines(std::int64_t bytes) noexcept { return (ceil_div(bytes, 64) | 1) * 64; }

// Row `point` of G: the kernel polynomial at the point, over the product of the point's distances to the other finite points.
std::array<double, 3> weight_row(std::int64_t m, std::int64_t point) noexcept {
    if (point == m + 1) return {0, 0, 1};  // infinity
    const double a = winograd_a, b = winograd_b, aa = a * a, bb = b * b;
    if (m == 2) {
        constexpr std::array<double, 3> at{0, 1, -1}, factor{-1, 0.5, 0.5};
        const auto p = static_cast<std::size_t>(point);
        return {factor[p], factor[p] * at[p], factor[p] * at[p] * at[p]};
    }
    const std::array<double, 5> at{0, a, -a, b, -b};
    const std::array<double, 5> factor{1 / (aa * bb), 1 / (2 * aa * (aa - bb)), 1 / (2 * aa * (aa - bb)), 1 / (2 * bb * (bb - aa)),
                                       1 / (2 * bb * (bb - aa))};
    const auto p = static_cast<std::size_t>(point);
    return {factor[p], factor[p] * at[p], factor[p] * at[p] * at[p]};
}

TensorStrides workspace_strides(std::int64_t channels, std::int64_t tiles, int lanes) {
    TensorStrides s;
    s.block = lanes;
    s.pixel = lanes * 4;
    s.block_stride = odd_lines(tiles * s.pixel);
    s.row = odd_lines(ceil_div(channels, lanes) * s.block_stride);
    return s;
}

}  // namespace

bool winograd_applies(const Problem& problem, Isa isa, int i) noexcept {
    const Stage& s = problem.stage(i);
    const bool blocks_fit = problem.layout != Layout::nchw16c || vector_lanes(isa, problem.layout) == 16;
    return problem.math == Math::fast && blocks_fit && !s.depthwise() && s.conv.kernel == Size2{3, 3} && s.conv.stride == Size2{1, 1} &&
           s.conv.dilation == Size2{1, 1};
}

void winograd_weights(std::int64_t m, const float* kernel, double* transformed) noexcept {
    const std::int64_t alpha = m + 2;
    for (std::int64_t i = 0; i < alpha; ++i) {
        const auto row = weight_row(m, i);
        for (std::int64_t j = 0; j < alpha; ++j) {
            const auto column = weight_row(m, j);
            double sum = 0;
            for (std::size_t y = 0; y < 3; ++y)
                for (std::size_t x = 0; x < 3; ++x) sum += row[y] * column[x] * static_cast<double>(kernel[y * 3 + x]);
            transformed[i * alpha + j] = sum;
        }
    }
}

Stage winograd_gemm_stage(const Stage& stage, std::int64_t tiles) {
    Stage gemm;
    gemm.conv = Conv::dense(1, stage.out_channels);
    gemm.conv.padding = Padding{};
    gemm.in_channels = stage.in_channels;
    gemm.out_channels = stage.out_channels;
    gemm.in_h = gemm.out_h = 1;
    gemm.in_w = gemm.out_w = tiles;
    return gemm;
}

WinogradLayout winograd_layout(const Problem& problem, const Plan& plan, int i) {
    const Stage& stage = problem.stage(i);
    const int lanes = vector_lanes(plan.isa, problem.layout);
    WinogradLayout w;
    w.m = winograd_tile(plan.stages[static_cast<std::size_t>(i)].algorithm);
    w.alpha = w.m + 2;
    w.points = w.alpha * w.alpha;
    const TileGrid grid = tile_grid(problem, plan);
    const auto cover = [&](const TileShape& shape) {
        const StageTile& tile = shape.stages[shape.stages.size() - static_cast<std::size_t>(problem.stage_count - i)];
        w.tile_rows = std::max(w.tile_rows, tile.grid_rows.size() / w.m);
        w.tile_columns = std::max(w.tile_columns, ceil_div(tile.cols.size(), w.m));
    };
    for (std::int64_t ty = 0; ty < grid.tiles_y; ++ty) cover(tile_shape(problem, plan, ty, 0, true));
    for (std::int64_t tx = 0; tx < grid.tiles_x; ++tx) cover(tile_shape(problem, plan, 0, tx, true));
    w.tiles = w.tile_rows * w.tile_columns;

    w.post_ops = post_op_panel(problem, plan, i);
    Problem gemm = problem;
    gemm.stages[static_cast<std::size_t>(i)] = winograd_gemm_stage(stage, w.tiles);
    w.gemm = panel_layout(gemm, plan, i);
    w.gemm_offset = ceil_div(w.post_ops.bytes, 64) * 64;
    w.panel_bytes = w.gemm_offset + w.points * w.gemm.bytes;

    w.inputs = workspace_strides(stage.in_channels, w.tiles, lanes);
    w.products = workspace_strides(stage.out_channels, w.tiles, lanes);
    w.products_offset = w.points * w.inputs.row;
    w.temporary_offset = w.products_offset + w.points * w.products.row;
    w.bytes = w.temporary_offset + w.points * lanes * 4;
    return w;
}

}  // namespace tandem
