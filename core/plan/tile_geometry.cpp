#include "core/plan/tile_geometry.hpp"

#include <algorithm>

#include "core/plan/ceil_div.hpp"
#include "core/plan/panel.hpp"

namespace tandem {
namespace {

std::int64_t round_up(std::int64_t a, std::int64_t b) noexcept { return ceil_div(a, b) * b; }

Span tile_span(std::int64_t index, std::int64_t size, std::int64_t total) noexcept {
    return {index * size, std::min((index + 1) * size, total)};
}

// Whole Winograd tiles that cover `rows`. In a sliding window the first stage's tiles lie on one fixed
// grid, whose origin is where the second tile's fresh rows begin: so a row comes out the same to the bit
// wherever a part starts.
Span grid_rows(const Problem& problem, const Plan& plan, int i, const Span& rows) noexcept {
    const std::int64_t tile = winograd_tile(plan.stage(i).algorithm);
    if (tile == 1 || rows.size() <= 0) return rows;
    std::int64_t origin = rows.begin;
    if (plan.fusion == Fusion::sliding && i == 0)
        origin = row_axis(problem.last())
                     .inputs(grid_rows(problem, plan, 1, tile_span(0, plan.tile_h, problem.last().out_h)))
                     .end;
    const std::int64_t behind = ((rows.begin - origin) % tile + tile) % tile;
    const std::int64_t begin = rows.begin - behind;
    return {begin, begin + round_up(rows.end - begin, tile)};
}

StageTile stage_tile(const Problem& problem, const Plan& plan, int i, const Span& rows, const Span& cols) {
    const Stage& stage = problem.stage(i);
    const Axis y = row_axis(stage), x = column_axis(stage);
    StageTile tile;
    tile.rows = rows;
    tile.cols = cols;
    tile.grid_rows = grid_rows(problem, plan, i, rows);
    tile.in_rows = y.inputs(tile.grid_rows);
    tile.in_column = x.first_tap(cols.begin);
    const Span in_cols = x.inputs(cols);
    tile.in_columns = {in_cols.begin - tile.in_column, in_cols.end - tile.in_column};
    tile.segment = {cols.size(), tile.in_columns};
    for (std::int64_t row = rows.begin; row < rows.end; ++row)
        tile.taps.push_back(y.taps(row));
    return tile;
}

// Channels that lie next to each other in the intermediate. Tandem's code works on vectors; LIBXSMM's
// kernels want their whole M and K contiguous: a group of the first stage, or as much of a depthwise
// stage's output as makes a batch entry worth its call.
std::int64_t mid_block(const Problem& problem, const Plan& plan) noexcept {
    constexpr std::int64_t depthwise_vectors = 4;
    const std::int64_t lanes = vector_lanes(plan.isa, problem.layout);
    if (const Dot dot = plan.stages[1].dot; uses_amx(dot)) return source_block(dot, lanes);
    if (uses_libxsmm(problem.stage(0), plan)) return lanes * dense_group_vectors(problem, plan, 0);
    if (uses_libxsmm(problem.last(), plan))
        return std::min(depthwise_vectors * lanes, round_up(problem.stage(0).out_channels, lanes));
    return lanes;
}

}  // namespace

Span Axis::taps(std::int64_t o) const noexcept {
    const std::int64_t first = first_tap(o);
    const std::int64_t lo = first < 0 ? ceil_div(-first, dilation) : 0;
    const std::int64_t hi = first >= in ? 0 : std::min(kernel, (in - 1 - first) / dilation + 1);
    return lo < hi ? Span{lo, hi} : Span{0, 0};
}

Span Axis::inputs(const Span& outputs) const noexcept {
    if (outputs.size() <= 0) return {0, 0};
    const std::int64_t lo = std::clamp<std::int64_t>(first_tap(outputs.begin), 0, in);
    const std::int64_t hi =
        std::clamp<std::int64_t>(first_tap(outputs.end - 1) + (kernel - 1) * dilation + 1, lo, in);
    return {lo, hi};
}

Axis row_axis(const Stage& s) noexcept {
    return {s.in_h, s.out_h, s.conv.kernel.h, s.conv.stride.h, s.conv.dilation.h, s.padding.top};
}
Axis column_axis(const Stage& s) noexcept {
    return {s.in_w, s.out_w, s.conv.kernel.w, s.conv.stride.w, s.conv.dilation.w, s.padding.left};
}

TensorStrides tensor_strides(const TensorShape& shape, const TensorView& view, DataType dtype) noexcept {
    const TensorView elements = filled(view, shape);
    TensorStrides s;
    s.element = element_bytes(dtype);
    s.pixel = elements.pixel * s.element;
    s.row = elements.row * s.element;
    s.image = elements.image * s.element;
    const bool nhwc = view.layout == Layout::nhwc;
    s.block = nhwc ? shape.c : channel_block(view.layout);
    s.block_stride = nhwc ? s.pixel : elements.block * s.element;
    return s;
}

TensorStrides input_strides(const Problem& problem) noexcept {
    return tensor_strides(problem.input_shape(), problem.input_view, problem.dtype);
}

TensorStrides output_strides(const Problem& problem) noexcept {
    return tensor_strides(problem.output_shape(), problem.output_view,
                          problem.output_dtype(problem.stage_count - 1));
}

TensorStrides residual_strides(const Problem& problem, int i) noexcept {
    if (problem.stage(i).sums_input()) return input_strides(problem);
    return tensor_strides(problem.residual_shape(i), problem.residual_view(i), problem.output_dtype(i));
}

int vector_lanes(Isa isa, Layout layout) noexcept {
    return is_avx512(isa) && layout != Layout::nchw8c ? 16 : 8;
}

TileGrid tile_grid(const Problem& problem, const Plan& plan) noexcept {
    const Stage& last = problem.last();
    return {problem.input.n, ceil_div(last.out_h, plan.tile_h), ceil_div(last.out_w, plan.tile_w),
            plan.channel_splits};
}

namespace {

// Every row of the tensor begins right behind the one before.
bool rows_adjacent(const TensorView& view, const TensorShape& shape) noexcept {
    return shape.h <= 1 || view.row == shape.w * view.pixel;
}

bool rows_adjacent(const Problem& problem) noexcept {
    const int last = problem.stage_count - 1;
    const bool reads_input = problem.stage_count == 1 || problem.stage(last).sums_input();
    return rows_adjacent(problem.output_view, problem.output_shape()) &&
           rows_adjacent(problem.residual_view(last), problem.residual_shape(last)) &&
           (!reads_input || rows_adjacent(problem.input_view, problem.input_shape()));
}

}  // namespace

bool is_flat(const Problem& problem, const Plan& plan) noexcept {
    return problem.last().pointwise() && plan.tile_w >= problem.last().out_w && rows_adjacent(problem);
}

std::int64_t winograd_tile(Algorithm algorithm) noexcept {
    switch (algorithm) {
        case Algorithm::winograd4: return 4;
        case Algorithm::winograd2: return 2;
        case Algorithm::direct: break;
    }
    return 1;
}

TileSpans tile_spans(const Problem& problem, const Plan& plan, std::int64_t ty, std::int64_t tx,
                     bool start) noexcept {
    const Stage& last = problem.last();
    TileSpans spans;
    spans.rows = tile_span(ty, plan.tile_h, last.out_h);
    spans.cols = tile_span(tx, plan.tile_w, last.out_w);
    if (problem.stage_count == 1) {
        spans.source_rows = row_axis(last).inputs(grid_rows(problem, plan, 0, spans.rows));
        return spans;
    }
    spans.mid_rows = row_axis(last).inputs(grid_rows(problem, plan, 1, spans.rows));
    spans.mid_cols = column_axis(last).inputs(spans.cols);
    spans.fresh = spans.mid_rows;
    if (plan.fusion == Fusion::sliding && !start && ty > 0) {
        const Span before =
            row_axis(last).inputs(grid_rows(problem, plan, 1, tile_span(ty - 1, plan.tile_h, last.out_h)));
        spans.fresh.begin = std::clamp(before.end, spans.fresh.begin, spans.fresh.end);
    }
    spans.source_rows = row_axis(problem.stage(0)).inputs(grid_rows(problem, plan, 0, spans.fresh));
    return spans;
}

TileShape tile_shape(const Problem& problem, const Plan& plan, std::int64_t ty, std::int64_t tx, bool start) {
    const TileSpans spans = tile_spans(problem, plan, ty, tx, start);
    TileShape shape;
    StageTile final_stage = stage_tile(problem, plan, problem.stage_count - 1, spans.rows, spans.cols);
    if (problem.stage_count == 2) {
        shape.mid_rows = spans.mid_rows;
        shape.stages.push_back(stage_tile(problem, plan, 0, spans.fresh, spans.mid_cols));
        final_stage.shift = final_stage.in_column - shape.stages[0].cols.begin;
    }
    if (is_flat(problem, plan)) {
        const std::int64_t pixels = spans.rows.size() * spans.cols.size();
        final_stage.segment = {pixels, {0, pixels}};
        final_stage.taps.assign(1, Span{0, 1});
    }
    shape.stages.push_back(std::move(final_stage));
    return shape;
}

namespace {

// Strides of `slots` rows of `width` pixels; in a flat buffer the rows are adjacent.
void lay_out(RowBuffer& buffer, std::int64_t channels, std::int64_t block, Element element, bool flat) {
    const std::int64_t blocks = ceil_div(channels, block);
    TensorStrides& s = buffer.strides;
    s.element = element_bytes(element);
    s.block = block;
    s.pixel = s.block * s.element;
    // An odd number of cache lines between channel blocks keeps them from falling into the same few L1
    // sets.
    s.part = round_up(buffer.width * s.pixel * (flat ? buffer.slots : 1), 64);
    s.block_stride = s.part * element_parts(element);
    if (s.block_stride / 64 % 2 == 0) s.block_stride += 64;
    s.row = flat ? buffer.width * s.pixel : blocks * s.block_stride;
    buffer.bytes = flat ? blocks * s.block_stride : buffer.slots * s.row;
}

}  // namespace

namespace {

// AMX reads whole rows of tiles: columns of padding lie in the buffer, too.
void add_padding(RowBuffer& buffer, const Stage& stage, Dot dot) {
    if (!uses_amx(dot)) return;
    const Axis x = column_axis(stage);
    buffer.left = x.pad;
    buffer.width =
        std::max(buffer.left + buffer.width, (x.out - 1) * x.stride + (x.kernel - 1) * x.dilation + 1);
}

}  // namespace

RowBuffer mid_buffer(const Problem& problem, const Plan& plan) {
    RowBuffer mid;
    if (problem.stage_count < 2) return mid;
    const TileGrid grid = tile_grid(problem, plan);
    for (std::int64_t ty = 0; ty < grid.tiles_y; ++ty)
        mid.slots = std::max(mid.slots, tile_spans(problem, plan, ty, 0, true).mid_rows.size());
    for (std::int64_t tx = 0; tx < grid.tiles_x; ++tx)
        mid.width = std::max(mid.width, tile_spans(problem, plan, 0, tx, true).mid_cols.size());
    add_padding(mid, problem.stage(1), plan.stages[1].dot);
    lay_out(mid, problem.stage(0).out_channels, mid_block(problem, plan), source_element(problem, plan, 1),
            is_flat(problem, plan));
    return mid;
}

RowBuffer staging_buffer(const Problem& problem, const Plan& plan) {
    RowBuffer staging;
    if (!stages_source(problem, plan)) return staging;
    const TileGrid grid = tile_grid(problem, plan);
    for (std::int64_t ty = 0; ty < grid.tiles_y; ++ty)
        staging.slots = std::max(staging.slots, tile_spans(problem, plan, ty, 0, true).source_rows.size());
    for (std::int64_t tx = 0; tx < grid.tiles_x; ++tx)
        staging.width =
            std::max(staging.width, tile_shape(problem, plan, 0, tx, true).stages.front().in_columns.size());
    const bool flat = problem.stage_count == 1 && is_flat(problem, plan);
    const Dot dot = plan.stages[0].dot;
    add_padding(staging, problem.stage(0), dot);
    lay_out(staging, problem.stage(0).in_channels, source_block(dot, vector_lanes(plan.isa, problem.layout)),
            source_element(problem, plan, 0), flat);
    return staging;
}

std::vector<std::int64_t> balanced_split(std::int64_t total, std::int64_t at_most) {
    if (total <= 0) return {};
    const std::int64_t pieces = ceil_div(total, at_most);
    std::vector<std::int64_t> sizes(static_cast<std::size_t>(pieces), total / pieces);
    for (std::int64_t i = 0; i < total % pieces; ++i)
        ++sizes[static_cast<std::size_t>(i)];
    return sizes;
}

}  // namespace tandem
