#include "core/plan/winograd.hpp"

#include <algorithm>
#include <vector>

#include "core/plan/ceil_div.hpp"
#include "core/plan/k_blocks.hpp"
#include "core/plan/strassen.hpp"

namespace tandem {
namespace {

// An odd number of cache lines, so that neighbouring rows do not fall into the same few L1 sets.
std::int64_t odd_lines(std::int64_t bytes) noexcept { return (ceil_div(bytes, 64) | 1) * 64; }

// The finite points of evaluation.
std::vector<double> finite_points(std::int64_t m, const WinogradPhases& phases) {
    if (phases.stride == 2) return {0, 1, -1, winograd_p};
    if (m == 2) return {0, 1, -1};
    return {0, winograd_a, -winograd_a, winograd_b, -winograd_b};
}

// Row `point` of G applied to `taps`: the kernel polynomial at the point, over the product of the point's
// distances to the others.
double evaluate(const std::vector<double>& points, std::int64_t point, const std::vector<double>& taps) {
    if (point == static_cast<std::int64_t>(points.size())) return taps.back();  // infinity
    const double at = points[static_cast<std::size_t>(point)];
    double value = 0, power = 1, distance = 1;
    for (const double tap : taps) {
        value += tap * power;
        power *= at;
    }
    for (const double other : points)
        if (other != at) distance *= at - other;
    return value / distance;
}

// The taps of a 3-tap kernel that meet the inputs of a phase.
std::vector<double> phase_taps(const WinogradPhases& phases, std::int64_t axis_phase, double w0, double w1,
                               double w2) {
    if (phases.stride == 1) return {w0, w1, w2};
    return axis_phase == 0 ? std::vector{w0, w2} : std::vector{w1, 0.0};
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

bool algorithm_applies(const Problem& problem, Isa isa, int i, Algorithm algorithm) noexcept {
    if (algorithm == Algorithm::direct) return true;
    if (algorithm == Algorithm::strassen) return strassen_applies(problem, isa, i);
    if (problem.quantized() || problem.reads_planes(i)) return false;
    const Stage& s = problem.stage(i);
    const int lanes = vector_lanes(isa, problem.layout);
    const bool blocks_fit = problem.layout != Layout::nchw16c || lanes == 16;
    const bool strided =
        algorithm == Algorithm::winograd4 && s.conv.stride == Size2{2, 2} && s.in_channels % lanes == 0;
    const Padding& pad = s.padding;
    const bool all_read = std::max({pad.top, pad.left, pad.bottom, pad.right}) < 3;
    return problem.math != Math::strict && blocks_fit && !s.depthwise() && s.conv.kernel == Size2{3, 3} &&
           all_read && s.conv.dilation == Size2{1, 1} && (s.conv.stride == Size2{1, 1} || strided);
}

void winograd_weights(std::int64_t m, const WinogradPhases& phases, std::int64_t phase, const float* kernel,
                      double* transformed) noexcept {
    const std::vector<double> points = finite_points(m, phases);
    const std::int64_t alpha = phases.alpha(m);
    const auto line = [&](const std::vector<double>& w) {
        return phase_taps(phases, phases.column(phase), w[0], w[1], w[2]);
    };
    std::vector<std::vector<double>> rows;  // of the kernel, transformed along the columns
    for (std::size_t y = 0; y < 3; ++y) {
        std::vector<double> row;
        for (std::int64_t j = 0; j < alpha; ++j)
            row.push_back(evaluate(points, j, line({kernel[y * 3], kernel[y * 3 + 1], kernel[y * 3 + 2]})));
        rows.push_back(std::move(row));
    }
    for (std::int64_t i = 0; i < alpha; ++i) {
        for (std::int64_t j = 0; j < alpha; ++j) {
            const auto x = static_cast<std::size_t>(j);
            transformed[i * alpha + j] = evaluate(
                points, i, phase_taps(phases, phases.row(phase), rows[0][x], rows[1][x], rows[2][x]));
        }
    }
}

Stage winograd_gemm_stage(const Stage& stage, std::int64_t tiles) {
    Stage gemm;
    gemm.conv = Conv::dense(1, stage.out_channels);
    gemm.conv.padding = Padding{};
    gemm.in_channels = stage.in_channels * WinogradPhases{stage.conv.stride.h}.count();
    gemm.out_channels = stage.out_channels;
    gemm.in_h = gemm.out_h = 1;
    gemm.in_w = gemm.out_w = tiles;
    return gemm;
}

WinogradLayout winograd_layout(const Problem& problem, const Plan& plan, int i) {
    const Stage& stage = problem.stage(i);
    const int lanes = vector_lanes(plan.isa, problem.layout);
    WinogradLayout w;
    w.m = winograd_tile(plan.stage(i).algorithm);
    w.phases = {stage.conv.stride.h};
    w.alpha = w.phases.alpha(w.m);
    w.points = w.alpha * w.alpha;
    const TileGrid grid = tile_grid(problem, plan);
    const auto cover = [&](const TileShape& shape) {
        const StageTile& tile = shape.stages[static_cast<std::size_t>(i)];
        w.tile_rows = std::max(w.tile_rows, tile.grid_rows.size() / w.m);
        w.tile_columns = std::max(w.tile_columns, ceil_div(tile.cols.size(), w.m));
    };
    for (std::int64_t ty = 0; ty < grid.tiles_y; ++ty)
        cover(tile_shape(problem, plan, ty, 0, true));
    for (std::int64_t tx = 0; tx < grid.tiles_x; ++tx)
        cover(tile_shape(problem, plan, 0, tx, true));
    w.tiles = w.tile_rows * w.tile_columns;

    w.post_ops = post_op_panel(problem, plan, i);
    Problem gemm = problem;
    gemm.stage(i) = winograd_gemm_stage(stage, w.tiles);
    w.gemm = panel_layout(gemm, plan, i);
    w.gemm_offset = ceil_div(w.post_ops.bytes, 64) * 64;
    w.panel_bytes = w.gemm_offset + w.points * w.gemm.bytes;

    w.inputs = workspace_strides(stage.in_channels * w.phases.count(), w.tiles, lanes);
    w.products = workspace_strides(stage.out_channels, w.tiles, lanes);
    w.products_offset = w.points * w.inputs.row;
    w.temporary_offset = w.products_offset + w.points * w.products.row;
    w.bytes = w.temporary_offset + w.points * lanes * 4;
    return w;
}

std::int64_t workspace_bytes(const Problem& problem, const Plan& plan) {
    std::int64_t bytes = 0;
    for (int i = 0; i < problem.stage_count; ++i) {
        const Algorithm algorithm = plan.stage(i).algorithm;
        bytes = std::max(bytes, is_winograd(algorithm)             ? winograd_layout(problem, plan, i).bytes
                                : algorithm == Algorithm::strassen ? strassen_layout(problem, plan, i).bytes
                                                                   : parked_bytes(problem, plan, i));
    }
    return bytes;
}

}  // namespace tandem
