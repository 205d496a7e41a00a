#include "core/plan/tile_geometry.hpp"

#include <algorithm>

#include "core/plan/ceil_div.hpp"
#include "core/plan/panel.hpp"
#include "core/plan/pixel_pairs.hpp"

namespace tandem {
namespace {

std::int64_t round_up(std::int64_t a, std::int64_t b) noexcept { return ceil_div(a, b) * b; }

// Whole tiles of a grid of which one begins at `origin` that cover `span`.
Span on_grid(std::int64_t size, std::int64_t origin, const Span& span) noexcept {
    if (span.size() <= 0) return span;
    const std::int64_t before = size - origin % size;  // of the image, where an earlier tile begins
    return {(span.begin + before) / size * size - before, round_up(span.end + before, size) - before};
}

Span tile_span(std::int64_t index, std::int64_t size, std::int64_t total) noexcept {
    return {index * size, std::min((index + 1) * size, total)};
}

Span output_rows(const Problem& problem, const Plan& plan, std::int64_t ty) noexcept {
    return tile_span(ty, plan.tile_h, problem.last().out_h);
}

// The rows of stage i's output that are in scratch when stage i + 1 computes `next`. A sliding window takes
// in whole Winograd tiles, so that none of them is computed twice.
Span rows_before(const Problem& problem, const Plan& plan, int i, const Span& next) noexcept {
    Span rows = row_axis(problem.stage(i + 1)).inputs(grid_rows(problem, plan, i + 1, next));
    if (rows.size() > 0 && plan.edge(i) == Edge::sliding)
        rows.end = std::min(grid_rows(problem, plan, i, rows).end, problem.stage(i).out_h);
    return rows;
}

// The columns likewise. They lie on the grid, as they never slide.
Span columns_before(const Problem& problem, const Plan& plan, int i, const Span& next) noexcept {
    const Span read = column_axis(problem.stage(i + 1)).inputs(next);
    if (read.size() <= 0) return read;
    const Span whole = on_grid(winograd_tile(problem.stage(i), plan.stage(i).algorithm).w, 0, read);
    return {whole.begin, std::min(whole.end, problem.stage(i).out_w)};
}

// The rows of stage i's output that are read in tile row ty, where every intermediate is computed afresh.
Span held_rows(const Problem& problem, const Plan& plan, int i, std::int64_t ty) noexcept {
    if (i == problem.stage_count - 1) return output_rows(problem, plan, ty);
    return rows_before(problem, plan, i, held_rows(problem, plan, i + 1, ty));
}

// Whether any of the outputs reads anything. Windows may lie in the padding as a whole, or around the image.
bool reads(const Axis& axis, const Span& outputs) noexcept {
    for (std::int64_t o = outputs.begin; o < outputs.end; ++o)
        if (axis.taps(o).size() > 0) return true;
    return false;
}

StageTile stage_tile(const Problem& problem, const Plan& plan, int i, const Span& rows, const Span& cols) {
    const Stage& stage = problem.stage(i);
    const Axis y = row_axis(stage), x = column_axis(stage);
    StageTile tile;
    tile.rows = rows;
    tile.cols = cols;
    tile.grid_rows = grid_rows(problem, plan, i, rows);
    // Tiles that read nothing are alike, wherever in the padding they lie.
    if (reads(y, rows)) tile.in_rows = y.inputs(tile.grid_rows);
    tile.in_column = x.first_tap(cols.begin);
    if (reads(x, cols)) {
        const Span in_cols = x.inputs(cols);
        tile.in_columns = {in_cols.begin - tile.in_column, in_cols.end - tile.in_column};
    }
    tile.segment = {cols.size(), tile.in_columns};
    for (std::int64_t row = rows.begin; row < rows.end; ++row)
        tile.taps.push_back(y.taps(row));
    return tile;
}

// Channels that lie next to each other in the output of stage i. Tandem's code works on vectors; LIBXSMM's
// kernels want their whole M and K contiguous: a group of the stage, or as much of a depthwise stage's output
// as makes a batch entry worth its call.
std::int64_t mid_block(const Problem& problem, const Plan& plan, int i) noexcept {
    constexpr std::int64_t depthwise_vectors = 4;
    const std::int64_t lanes = vector_lanes(plan.isa, problem.layout);
    if (const Dot dot = plan.stage(i + 1).dot; uses_amx(dot)) return source_block(dot, lanes);
    if (problem.stage(i).depthwise() && plan.stage(i).block_vectors == quad_vectors)
        return lanes * quad_vectors;
    if (uses_libxsmm(problem.stage(i), plan)) return lanes * dense_group_vectors(problem, plan, i);
    if (uses_libxsmm(problem.stage(i + 1), plan))
        return std::min(depthwise_vectors * lanes, round_up(problem.stage(i).out_channels, lanes));
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
    const bool sums_input = problem.stage(i).sums_input();
    return tensor_strides(sums_input ? problem.output_shape(i) : problem.residual_shape(i),
                          problem.residual_view(i), problem.output_dtype(i));
}

int vector_lanes(Isa isa, Layout layout) noexcept {
    return is_avx512(isa) && layout != Layout::nchw8c ? 16 : 8;
}

TileGrid tile_grid(const Problem& problem, const Plan& plan) noexcept {
    const Stage& last = problem.last();
    return {problem.input.n, ceil_div(last.out_h, plan.tile_h), ceil_div(last.out_w, plan.tile_w),
            plan.channel_splits, problem.stage_count == 1 || plan.slides()};
}

TileIndex tile_at(const TileGrid& grid, std::int64_t item) noexcept {
    TileIndex tile;
    const auto take = [&item](std::int64_t size) {
        const std::int64_t digit = item % size;
        item /= size;
        return digit;
    };
    if (grid.rows_inside) tile.ty = take(grid.tiles_y);
    tile.split = take(grid.splits);
    if (!grid.rows_inside) tile.ty = take(grid.tiles_y);
    tile.tx = take(grid.tiles_x);
    tile.n = item;
    return tile;
}

TileStart tile_start(const TileIndex& tile, const TileIndex& before, bool slides) noexcept {
    const bool column = tile.n == before.n && tile.tx == before.tx;
    const bool follows = column && tile.split == before.split && tile.ty == before.ty + 1;
    return {!(slides && follows), !slides && column && tile.ty == before.ty};
}

namespace {

bool full_width(const Problem& problem, const Plan& plan) noexcept {
    return plan.tile_w >= problem.last().out_w;
}

bool adjacent_rows(const TensorStrides& strides, std::int64_t width) noexcept {
    return strides.row == width * strides.pixel;
}

// The buffer holds every row and column of stage i's output at once, in order.
bool holds_image(const Problem& problem, const Plan& plan, int i) noexcept {
    const TileGrid grid = tile_grid(problem, plan);
    if (grid.tiles_y != 1 || grid.tiles_x != 1) return false;
    const TileSpans::Stage stage = tile_spans(problem, plan, 0, 0, true).stage(i);
    return stage.held.size() == problem.stage(i).out_h && stage.cols.size() == problem.stage(i).out_w;
}

// The rows of stage i's output in scratch are adjacent: for the sake of a flat last stage, or of this one.
// AMX reads columns of padding between them.
bool has_flat_buffer(const Problem& problem, const Plan& plan, int i) noexcept {
    const bool for_last = i + 2 == problem.stage_count && is_flat(problem, plan, i + 1);
    const bool padded = uses_amx(plan.stage(i + 1).dot) && !problem.stage(i + 1).pointwise();
    return for_last || (problem.stage(i).pointwise() && !padded && plan.backend == Backend::tandem &&
                        holds_image(problem, plan, i));
}

}  // namespace

bool is_flat(const Problem& problem, const Plan& plan, int i) noexcept {
    const Stage& stage = problem.stage(i);
    if (!stage.pointwise() || !full_width(problem, plan)) return false;
    if (plan.stage(i).pixel_pairs && stage.in_w % pixel_step(plan.stage(i)) != 0) return false;
    const bool last = i == problem.stage_count - 1;
    if (last && !adjacent_rows(output_strides(problem), stage.out_w)) return false;
    if (stage.residual_channels() > 0 && !adjacent_rows(residual_strides(problem, i), stage.out_w))
        return false;
    if (!last && !has_flat_buffer(problem, plan, i)) return false;
    if (i == 0) return adjacent_rows(input_strides(problem), stage.in_w) || stages_source(problem, plan);
    return last || has_flat_buffer(problem, plan, i - 1);
}

bool is_flat(const Problem& problem, const Plan& plan) noexcept {
    return is_flat(problem, plan, problem.stage_count - 1);
}

Size2 winograd_tile(const Stage& stage, Algorithm algorithm) noexcept {
    if (!is_winograd(algorithm)) return {1, 1};
    const std::int64_t m = algorithm == Algorithm::winograd4 ? 4 : 2;
    return {stage.conv.kernel.h > 1 ? m : 1, stage.conv.kernel.w > 1 ? m : 1};
}

Size2 largest_winograd_tile(const Problem& problem, const Plan& plan) noexcept {
    Size2 largest{1, 1};
    for (int i = 0; i < problem.stage_count; ++i) {
        const Size2 tile = winograd_tile(problem.stage(i), plan.stage(i).algorithm);
        largest = {std::max(largest.h, tile.h), std::max(largest.w, tile.w)};
    }
    return largest;
}

Span grid_rows(const Problem& problem, const Plan& plan, int i, const Span& rows) noexcept {
    const Stage& stage = problem.stage(i);
    return on_grid(winograd_tile(stage, plan.stage(i).algorithm).h, stage.winograd_row, rows);
}

TileSpans tile_spans(const Problem& problem, const Plan& plan, std::int64_t ty, std::int64_t tx,
                     bool start) noexcept {
    const int last = problem.stage_count - 1;
    TileSpans spans;
    TileSpans::Stage next{};
    for (int i = last; i >= 0; --i) {
        TileSpans::Stage& stage = spans.stages[static_cast<std::size_t>(i)];
        if (i == last) {
            stage.held = output_rows(problem, plan, ty);
            stage.cols = tile_span(tx, plan.tile_w, problem.last().out_w);
        } else {
            stage.held = rows_before(problem, plan, i, next.rows);
            stage.cols = columns_before(problem, plan, i, next.cols);
        }
        stage.rows = stage.held;
        if (i < last && plan.edge(i) == Edge::sliding && !start && ty > 0)
            stage.rows.begin =
                std::clamp(held_rows(problem, plan, i, ty - 1).end, stage.held.begin, stage.held.end);
        next = stage;
    }
    spans.source_rows = row_axis(problem.stage(0)).inputs(grid_rows(problem, plan, 0, spans.stage(0).rows));
    return spans;
}

TileShape tile_shape(const Problem& problem, const Plan& plan, std::int64_t ty, std::int64_t tx, bool start) {
    const TileSpans spans = tile_spans(problem, plan, ty, tx, start);
    TileShape shape;
    for (int i = 0; i < problem.stage_count; ++i) {
        const TileSpans::Stage& stage = spans.stage(i);
        StageTile tile = stage_tile(problem, plan, i, stage.rows, stage.cols);
        tile.first_row = stage.rows.begin - stage.held.begin;
        if (i > 0 && tile.in_columns.size() > 0) tile.shift = tile.in_column - spans.stage(i - 1).cols.begin;
        if (is_flat(problem, plan, i) && stage.rows.size() > 0) {
            const std::int64_t pixels = stage.rows.size() * stage.cols.size();
            tile.segment = {pixels, {0, pixels}};
            tile.taps.assign(1, Span{0, 1});
        }
        shape.stages.push_back(std::move(tile));
    }
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

RowBuffer mid_buffer(const Problem& problem, const Plan& plan, int i) {
    RowBuffer mid;
    const TileGrid grid = tile_grid(problem, plan);
    for (std::int64_t ty = 0; ty < grid.tiles_y; ++ty)
        mid.slots = std::max(mid.slots, tile_spans(problem, plan, ty, 0, true).stage(i).held.size());
    for (std::int64_t tx = 0; tx < grid.tiles_x; ++tx)
        mid.width = std::max(mid.width, tile_spans(problem, plan, 0, tx, true).stage(i).cols.size());
    add_padding(mid, problem.stage(i + 1), plan.stage(i + 1).dot);
    mid.strides.pairs = plan.stage(i + 1).pixel_pairs;
    mid.width = round_up(mid.width, pixel_step(plan.stage(i + 1)));
    lay_out(mid, problem.stage(i).out_channels, mid_block(problem, plan, i),
            source_element(problem, plan, i + 1), has_flat_buffer(problem, plan, i));
    return mid;
}

std::int64_t mid_bytes(const Problem& problem, const Plan& plan) {
    std::int64_t bytes = 0;
    for (int i = 0; i + 1 < problem.stage_count; ++i)
        bytes += mid_buffer(problem, plan, i).bytes;
    return bytes;
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
    const bool flat = is_flat(problem, plan, 0);
    const Dot dot = plan.stages[0].dot;
    add_padding(staging, problem.stage(0), dot);
    const std::int64_t block = problem.reads_planes(0)
                                   ? dot_channels(dot)
                                   : source_block(dot, vector_lanes(plan.isa, problem.layout));
    lay_out(staging, problem.stage(0).in_channels, block, source_element(problem, plan, 0), flat);
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
