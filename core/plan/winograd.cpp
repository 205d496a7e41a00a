#include "core/plan/winograd.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "core/plan/ceil_div.hpp"
#include "core/plan/k_blocks.hpp"
#include "core/plan/strassen.hpp"

namespace tandem {
namespace {

// An odd number of cache lines, so that neighbouring rows do not fall into the same few L1 sets.
std::int64_t odd_lines(std::int64_t bytes) noexcept { return (ceil_div(bytes, 64) | 1) * 64; }

// Of a kernel's extent along an axis, at stride 1.
std::int64_t taps_of(std::int64_t extent, std::int64_t stride) noexcept { return ceil_div(extent, stride); }

// The row or column of the kernel that is tap `tap` of a phase; past the last: none.
std::int64_t kernel_position(const WinogradPhases& phases, std::int64_t axis_phase,
                             std::int64_t tap) noexcept {
    return tap * phases.stride + axis_phase;
}

bool has_form(const Stage& stage, Algorithm algorithm) {
    const Size2 tile = winograd_tile(stage, algorithm), kernel = stage.conv.kernel,
                stride = stage.conv.stride;
    return has_winograd_transform(tile.h, taps_of(kernel.h, stride.h)) &&
           has_winograd_transform(tile.w, taps_of(kernel.w, stride.w));
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

bool algorithm_applies(const Problem& problem, Isa isa, int i, Algorithm algorithm) {
    if (algorithm == Algorithm::direct) return true;
    if (algorithm == Algorithm::strassen) return strassen_applies(problem, isa, i);
    if (problem.quantized() || problem.reads_planes(i)) return false;
    const Stage& s = problem.stage(i);
    const int lanes = vector_lanes(isa, problem.layout);
    const bool blocks_fit = problem.layout != Layout::nchw16c || lanes == 16;
    const bool strided =
        s.conv.stride == Size2{2, 2} && s.conv.kernel == Size2{3, 3} && s.in_channels % lanes == 0;
    const Padding& pad = s.padding;
    const bool all_read =
        std::max(pad.top, pad.bottom) < s.conv.kernel.h && std::max(pad.left, pad.right) < s.conv.kernel.w;
    return problem.math != Math::strict && blocks_fit && !s.depthwise() && s.conv.kernel != Size2{1, 1} &&
           all_read && s.conv.dilation == Size2{1, 1} && (s.conv.stride == Size2{1, 1} || strided) &&
           has_form(s, algorithm) && winograd_error(s, algorithm) <= fast_error;
}

double winograd_error(const Stage& stage, Algorithm algorithm) {
    // Sums of so many products lose as much as their square root; the transforms do, as 16 products more.
    constexpr double of_one_product = 4.8e-8, transforms = 16;
    const WinogradForm form = winograd_form(stage, algorithm);
    return of_one_product * form.rows.error_growth * form.columns.error_growth *
           std::sqrt(static_cast<double>(stage.in_channels) + transforms);
}

double WinogradForm::input_instructions() const noexcept {
    const auto passes = static_cast<double>(rows.identity() || columns.identity() ? 1 : 2);
    const std::int64_t operations = (rows.identity() ? 0 : rows.input.operations() * columns.alpha()) +
                                    (columns.identity() ? 0 : columns.input.operations() * rows.alpha());
    return static_cast<double>(operations) + passes * static_cast<double>(points());
}

double WinogradForm::output_instructions() const noexcept {
    const bool two_passes = !rows.identity() && !columns.identity();
    const std::int64_t operations = (rows.identity() ? 0 : rows.output.operations() * columns.alpha()) +
                                    (columns.identity() ? 0 : columns.output.operations() * rows.outputs);
    const std::int64_t stores =
        rows.outputs * columns.outputs + (two_passes ? rows.outputs * columns.alpha() : 0);
    return static_cast<double>(operations + stores);
}

WinogradForm winograd_form(const Stage& stage, Algorithm algorithm) {
    const Size2 tile = winograd_tile(stage, algorithm), kernel = stage.conv.kernel,
                stride = stage.conv.stride;
    return {winograd_transform(tile.h, taps_of(kernel.h, stride.h)),
            winograd_transform(tile.w, taps_of(kernel.w, stride.w)),
            {stride.h}};
}

std::string winograd_name(const Stage& stage, Algorithm algorithm) {
    const Size2 tile = winograd_tile(stage, algorithm), kernel = stage.conv.kernel;
    return fmt::format("F({}x{},{}x{})", tile.h, tile.w, kernel.h, kernel.w);
}

void winograd_weights(const WinogradForm& form, const Size2& kernel, std::int64_t phase, const float* weights,
                      double* transformed) {
    const WinogradPhases& phases = form.phases;
    const auto weight = [&](std::int64_t ty, std::int64_t tx) {
        const std::int64_t y = kernel_position(phases, phases.row(phase), ty),
                           x = kernel_position(phases, phases.column(phase), tx);
        return y < kernel.h && x < kernel.w ? static_cast<double>(weights[y * kernel.w + x]) : 0;
    };
    const std::int64_t width = form.columns.alpha();
    Matrix columns(static_cast<std::size_t>(width));  // of the kernel, transformed along its rows
    for (std::int64_t ty = 0; ty < form.rows.taps; ++ty) {
        std::vector<double> row;
        for (std::int64_t tx = 0; tx < form.columns.taps; ++tx)
            row.push_back(weight(ty, tx));
        for (std::int64_t j = 0; j < width; ++j)
            columns[static_cast<std::size_t>(j)].push_back(form.columns.weight(j, row));
    }
    for (std::int64_t i = 0; i < form.rows.alpha(); ++i)
        for (std::int64_t j = 0; j < width; ++j)
            transformed[i * width + j] = form.rows.weight(i, columns[static_cast<std::size_t>(j)]);
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
    WinogradLayout w{winograd_form(stage, plan.stage(i).algorithm)};
    const std::int64_t points = w.form.points();
    const TileGrid grid = tile_grid(problem, plan);
    const auto cover = [&](const TileShape& shape) {
        const StageTile& tile = shape.stages[static_cast<std::size_t>(i)];
        w.tile_rows = std::max(w.tile_rows, tile.grid_rows.size() / w.form.rows.outputs);
        w.tile_columns = std::max(w.tile_columns, ceil_div(tile.cols.size(), w.form.columns.outputs));
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
    w.panel_bytes = w.gemm_offset + points * w.gemm.bytes;

    w.inputs = workspace_strides(stage.in_channels * w.form.phases.count(), w.tiles, lanes);
    w.products = workspace_strides(stage.out_channels, w.tiles, lanes);
    w.products_offset = points * w.inputs.row;
    w.temporary_offset = w.products_offset + points * w.products.row;
    w.bytes = w.temporary_offset + points * lanes * 4;
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
