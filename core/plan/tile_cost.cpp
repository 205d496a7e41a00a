#include "core/plan/tile_cost.hpp"

#include <algorithm>
#include <cmath>

#include "core/plan/ceil_div.hpp"
#include "core/plan/k_blocks.hpp"
#include "core/plan/output_planes.hpp"
#include "core/plan/tiling.hpp"
#include "core/plan/strassen.hpp"
#include "core/plan/winograd.hpp"

namespace tandem {
namespace {

double taps_sum(const Axis& axis, const Span& outputs) {
    std::int64_t sum = 0;
    for (std::int64_t o = outputs.begin; o < outputs.end; ++o)
        sum += axis.taps(o).size();
    return static_cast<double>(sum);
}

// Time of two units that work side by side and wait for each other now and then, the more the closer to equal
// their loads are. Dense blocks whose weights come from L2 take 1.00, 1.02, 1.06 and 1.14 times as long where
// L2 has 30, 50, 70 and 90 % of the core's work (Emerald Rapids).
double overlapped(double a, double b) {
    const double most = std::max(a, b), share = most > 0 ? std::min(a, b) / most : 0;
    return most * std::pow(1 + share * share * share * share, 0.25);
}

// Exposed share of the bytes of a stage that come from further out than L1. `stored`: of the intermediate
// those that it writes.
double exposed_share(const ExposedShares& share, const Traffic& moved, double stored, bool dense) {
    const double source = dense ? share.pixels : share.rows;
    const double exposed = source * (moved.input + moved.intermediate - stored) +
                           share.weights * moved.weights + share.output * (moved.output + stored);
    return moved.total() > 0 ? exposed / moved.total() : 0;
}

std::size_t index(Level level) { return static_cast<std::size_t>(level); }

double group_count(const std::vector<GroupRun>& runs) {
    double count = 0;
    for (const GroupRun& run : runs)
        count += static_cast<double>(run.count);
    return count;
}

// Bytes of a stage's weights as its GEMMs read them, over those of the plain ones: a transformed kernel has a
// weight a point.
double transformed_share(const Stage& stage, const StagePlan& plan) {
    if (!is_winograd(plan.algorithm)) return 1;
    const WinogradForm form = winograd_form(stage, plan.algorithm);
    return static_cast<double>(form.points() * form.phases.count()) /
           static_cast<double>(stage.conv.kernel.h * stage.conv.kernel.w);
}

// Of the channel splits those that a part's tiles are of.
double splits_read(const TileGrid& grid, int threads) {
    const std::int64_t rows = grid.rows_inside ? grid.tiles_y : 1, items = ceil_div(grid.count(), threads);
    return static_cast<double>(std::min(grid.splits, ceil_div(items, rows)));
}

}  // namespace

TileCosts::TileCosts(const Problem& problem, const Plan& plan, const MachineRates& rates, int threads)
    : problem_(problem), plan_(plan), rates_(rates) {
    for (int i = 0; i + 1 < problem.stage_count; ++i) {
        mids_.push_back(mid_buffer(problem, plan, i));
        mid_bytes_ += mids_.back().bytes;
    }
    for (int i = 0; i < problem.stage_count; ++i)
        panels_.push_back(panel_layout(problem, plan, i));
    for (int split = 0; split < plan.channel_splits; ++split)
        split_runs_.push_back(split_runs(panels_.back(), split, plan.channel_splits));
    const TileGrid grid = tile_grid(problem, plan);
    double weights = 0, last_weights = 0;
    for (std::size_t i = 0; i < panels_.size(); ++i) {
        last_weights =
            static_cast<double>(panels_[i].bytes) * transformed_share(problem.stages[i], plan.stages[i]);
        weights += last_weights;
    }
    const double tile_weights = weights / static_cast<double>(grid.splits);
    weights -= last_weights * (1 - splits_read(grid, threads) / static_cast<double>(grid.splits));
    const double mid = static_cast<double>(mid_bytes_);
    const int last = problem.stage_count - 1;
    double tensors = tensor_bytes(problem.input_shape(), problem.dtype) +
                     tensor_bytes(problem.output_shape(last), problem.output_dtype(last));
    for (int i = 0; i <= last; ++i)
        tensors += tensor_bytes(problem.residual_shape(i), problem.output_dtype(i));
    home_ = level_of(tensors / threads + weights + mid, rates.caches);
    if (home_ > Level::l2)
        home_ = level_of(std::max(tensors + weights + mid * threads, static_cast<double>(rates.caches.l2)),
                         rates.caches);
    const double tile_tensors = tensors / static_cast<double>(grid.images * grid.tiles_y * grid.tiles_x);
    tile_bytes_ = tile_tensors + tile_weights + mid;
    mid_reuse_ = tile_tensors + mid;
    if (plan.prefetch_next)
        mid_reuse_ += tensor_bytes(problem.input_shape(), problem.dtype) /
                      static_cast<double>(grid.images * grid.tiles_y * grid.tiles_x);
}

const TileCost& TileCosts::at(const TilePlace& place) {
    Key key = key_of(place);
    const auto found = known_.find(key);
    if (found != known_.end()) return found->second;
    return known_.emplace(std::move(key), compute(place)).first->second;
}

// Everything that a tile's cost depends on.
TileCosts::Key TileCosts::key_of(const TilePlace& place) const {
    const TileIndex& tile = place.tile;
    const TileSpans spans = tile_spans(problem_, plan_, tile.ty, tile.tx, place.how.start);
    const bool above = tile.ty > 0 && !place.first;
    const TileSpans before = above ? tile_spans(problem_, plan_, tile.ty - 1, tile.tx, true) : TileSpans{};
    Key key{tile.split, place.how.start + 2 * place.how.reuse + 4 * place.first, above};
    for (int i = 0; i < problem_.stage_count; ++i) {
        const TileSpans::Stage& stage = spans.stage(i);
        const Axis y = row_axis(problem_.stage(i)), x = column_axis(problem_.stage(i));
        key.insert(key.end(),
                   {stage.rows.size(), stage.cols.size(), y.inputs(stage.rows).size(),
                    x.inputs(stage.cols).size(), static_cast<std::int64_t>(taps_sum(y, stage.rows)),
                    static_cast<std::int64_t>(taps_sum(x, stage.cols)),
                    grid_rows(problem_, plan_, i, stage.rows).size(),
                    above ? stage.held.begin - before.stage(i).held.end : 0});
    }
    return key;
}

TileCosts::Reach TileCosts::reach(int i, const TileSpans::Stage& spans, const Span& rows_above) const {
    const Stage& stage = problem_.stage(i);
    const Axis y = row_axis(stage), x = column_axis(stage);
    const Span &rows = spans.rows, &columns = spans.cols;
    Reach reach{rows, columns, y.inputs(rows), x.inputs(columns), {}, {}};
    if (rows_above.size() > 0) {
        const Span above = y.inputs(rows_above);
        reach.old_in_rows = {reach.in_rows.begin,
                             std::clamp(above.end, reach.in_rows.begin, reach.in_rows.end)};
    }
    const bool flat = is_flat(problem_, plan_, i) && !by_strassen(i);
    reach.share.rows = flat ? (rows.size() > 0 ? 1 : 0) : grid_rows(problem_, plan_, i, rows).size();
    reach.share.width = flat ? rows.size() * columns.size() : columns.size();
    reach.share.row_taps = flat ? static_cast<double>(reach.share.rows) : taps_sum(y, rows);
    reach.share.column_taps = flat ? static_cast<double>(reach.share.width) : taps_sum(x, columns);
    return reach;
}

TileCost TileCosts::compute(const TilePlace& place) const {
    const TileIndex& tile = place.tile;
    const int last = problem_.stage_count - 1;
    const TileSpans spans = tile_spans(problem_, plan_, tile.ty, tile.tx, place.how.start);
    const bool below = tile.ty > 0 && !place.first;
    const TileSpans above = below ? tile_spans(problem_, plan_, tile.ty - 1, tile.tx, true) : TileSpans{};
    std::vector<Phase> phases;
    for (int i = 0; i <= last; ++i) {
        const bool skipped = place.how.reuse && i < last;
        const std::vector<GroupRun>& runs = i == last ? split_runs_[static_cast<std::size_t>(tile.split)]
                                                      : panels_[static_cast<std::size_t>(i)].runs;
        phases.push_back(skipped ? Phase{} : phase(i, reach(i, spans.stage(i), above.stage(i).held), runs));
    }
    if (plan_.prefetch_next && last == 1 && is_flat(problem_, plan_) && below && !place.how.reuse)
        move_prefetch(phases[0], phases[1]);
    TileCost cost;
    for (int i = place.how.reuse ? last : 0; i <= last; ++i)
        add_time(phases[static_cast<std::size_t>(i)], i, cost);
    cost.seconds += rates_.tile_seconds;
    cost.by_resource[static_cast<std::size_t>(Resource::tiles)] += rates_.tile_seconds;
    return cost;
}

// The bytes of one stage: source, weights, destination.
TileCosts::Phase TileCosts::phase(int i, const Reach& reach, const std::vector<GroupRun>& runs) const {
    const Stage& stage = problem_.stage(i);
    Phase phase;
    if (reach.rows.size() <= 0 || reach.columns.size() <= 0 || runs.empty()) return phase;
    const bool winograd = is_winograd(plan_.stage(i).algorithm);
    const auto work = stage.depthwise() ? depthwise_work
                      : winograd        ? winograd_work
                      : by_strassen(i)  ? strassen_work
                                        : dense_work;
    phase.work = work(problem_, plan_, i, runs, reach.share, rates_);
    const PanelLayout& panel = panels_[static_cast<std::size_t>(i)];
    const double groups = group_count(runs);
    double panels = 0, channels = 0;
    for (const GroupRun& run : runs) {
        panels += static_cast<double>(run.count * panel.group_bytes(run));
        channels += static_cast<double>(run.count) * run.vectors * panel.lanes * (panel.halves ? 2 : 1);
    }
    channels = std::min(channels, static_cast<double>(stage.out_channels));
    if (winograd) {
        panels *= transformed_share(stage, plan_.stage(i));
        add_workspace(phase, i, reach.share, channels);
    }
    const double pixels = static_cast<double>(reach.rows.size() * reach.columns.size());
    const bool from_tensor = i == 0, to_tensor = i == problem_.stage_count - 1;
    const double written_to = to_tensor ? 0 : static_cast<double>(mids_[static_cast<std::size_t>(i)].bytes);
    const Level mid_level = level_of(std::max(written_to + panels / groups, mid_reuse_), rates_.caches);

    Traffic& l1 = phase.bytes[0];
    (from_tensor ? l1.input : l1.intermediate) += phase.work.l1_loads - phase.work.l1_weights;
    l1.weights += phase.work.l1_weights;
    (to_tensor ? l1.output : l1.intermediate) += phase.work.l1_stores;
    add_parking(phase, i, panels / groups);
    add_source(phase, i, reach, groups, panels / groups);
    const double use =
        stage.depthwise()
            ? 1
            : reach.share.row_taps /
                  static_cast<double>(std::max<std::int64_t>(1, reach.share.rows) * stage.conv.kernel.h);
    add_weights(phase, i, groups, panels, use, block_input(i, reach.share));
    const auto element = static_cast<double>(element_bytes(output_element(problem_, plan_, i)));
    const double written =
        2 * pixels * channels * element;  // a line is fetched before it is written, and written back
    if (to_tensor && home_ > Level::l1) phase.bytes[index(home_)].output += written;
    if (!to_tensor && mid_level > Level::l1) {
        phase.bytes[index(mid_level)].intermediate += written;
        (mid_level == Level::l2 ? phase.stored_near : phase.stored_far) += written;
    }
    if (to_tensor && problem_.writes_planes()) add_planes(phase, pixels * channels);
    const double residual =
        pixels * static_cast<double>(std::min<std::int64_t>(stage.residual_channels(), stage.out_channels)) *
        static_cast<double>(element_bytes(problem_.output_dtype(i)));
    if (home_ > Level::l1) phase.bytes[index(home_)].input += residual;
    return phase;
}

// Bytes of source that a group's weights pass by at a time.
double TileCosts::block_input(int i, const StageShare& share) const {
    const Stage& stage = problem_.stage(i);
    const StagePlan& block = plan_.stage(i);
    const bool amx = uses_amx(block.dot);
    const std::int64_t pixels =
        amx ? std::min(share.width, amx_sums / block.block_vectors * amx_rows) : block.block_pixels;
    const double bytes =
        source_bytes(i) * static_cast<double>(pixels * stage.in_channels * stage.conv.kernel.h);
    if (by_strassen(i)) return bytes * k_blocks(i) / 2;  // a product's are half the channels
    return bytes + (amx ? 2.0 * amx_parked_bytes : 0);
}

// What Winograd's transforms write and read again, of `channels` outputs.
void TileCosts::add_workspace(Phase& phase, int i, const StageShare& share, double channels) const {
    const Stage& stage = problem_.stage(i);
    const WinogradForm form = winograd_form(stage, plan_.stage(i).algorithm);
    const auto points = static_cast<double>(form.points()), images = static_cast<double>(form.phases.count());
    const auto tiles = static_cast<double>(ceil_div(share.rows, form.rows.outputs) *
                                           ceil_div(share.width, form.columns.outputs));
    const double workspace =
        4 * points * tiles * (images * static_cast<double>(stage.in_channels) + channels);
    // Lines are fetched before they are written, written back, and read.
    phase.bytes[index(std::max(Level::l2, level_of(workspace, rates_.caches)))].intermediate += 3 * workspace;
}

// Of a number of what a stage reads.
double TileCosts::source_bytes(int i) const {
    const Element element = i == 0 ? element_of(problem_.dtype) : output_element(problem_, plan_, i - 1);
    return static_cast<double>(element_bytes(element) * element_parts(element));
}

// Lines of the stage's source that enter L1: each row the first time, halo rows of the tile above, and
// again for every group of output vectors or every row of taps if L1 does not keep them.
void TileCosts::add_source(Phase& phase, int i, const Reach& reach, double groups, double panel) const {
    const Stage& stage = problem_.stage(i);
    const double row = source_bytes(i) * static_cast<double>(reach.in_columns.size() * stage.in_channels);
    const double distinct = static_cast<double>(reach.in_rows.size());
    const auto add = [&](Level level, double bytes) {
        Traffic& traffic = phase.bytes[index(level)];
        if (level > Level::l1) (i == 0 ? traffic.input : traffic.intermediate) += bytes;
    };
    if (i == 0) {
        const double old = std::min(distinct, static_cast<double>(reach.old_in_rows.size()));
        add(home_, (distinct - old) * row);
        add(std::min(home_, level_of(tile_bytes_, rates_.caches)), old * row);
    } else {
        const double read_from = static_cast<double>(mids_[static_cast<std::size_t>(i - 1)].bytes);
        add(level_of(std::max(read_from + panel, mid_reuse_), rates_.caches), distinct * row);
    }
    double again = 0;
    if (is_winograd(plan_.stage(i).algorithm)) {
        again = distinct * row;  // tiles overlap by two rows and columns
    } else if (by_strassen(i)) {
        constexpr double read = 1.75;  // three quarters of the pixels, and all their sums
        again = (groups * read - 1) * distinct * row;
        // The sums, as many as there are pixels: fetched before they are written, and written back.
        add(std::max(Level::l2, level_of(distinct * row, rates_.caches)), 2 * distinct * row);
    } else if (stage.depthwise()) {
        const double at_once = plan_.stage(i).block_rows;
        const double reads = static_cast<double>(reach.rows.size()) / at_once *
                             static_cast<double>(distinct_input_rows(stage, static_cast<int>(at_once)));
        again = std::max(0.0, reads - distinct) * row;
    } else {
        const double kept = static_cast<double>(stage.conv.kernel.h) * row + panel;
        const double pass = level_of(kept, rates_.caches) == Level::l1 || is_flat(problem_, plan_, i)
                                ? distinct
                                : reach.share.row_taps;
        again = (groups * pass - distinct) * row;
    }
    add(level_of(distinct * row + panel, rates_.caches), std::max(0.0, again));
}

// Accumulators pass through L1 or, where a tile's and a K block's weights do not fit it, through L2.
void TileCosts::add_parking(Phase& phase, int i, double panel) const {
    if (phase.work.parked == 0) return;
    const double tile = static_cast<double>(parked_bytes(problem_, plan_, i));
    phase.bytes[0].intermediate += 2 * phase.work.parked;
    if (level_of(tile + panel / k_blocks(i), rates_.caches) > Level::l1)
        phase.bytes[index(Level::l2)].intermediate += 2 * phase.work.parked;
}

// An NCHW output passes through scratch: loads, two shuffles and a store a vector, and lines of the buffer.
void TileCosts::add_planes(Phase& phase, double numbers) const {
    const RowBuffer buffer = output_buffer(problem_, plan_);
    const double lanes = vector_lanes(plan_.isa, problem_.layout), bytes = numbers * buffer.strides.element;
    const double loads = lanes / 4, shuffles_and_store = 3;
    phase.work.seconds += numbers / lanes * (loads + shuffles_and_store) * rates_.port.load * 1e-9;
    phase.bytes[0].output += 2 * bytes;
    const Level level = level_of(static_cast<double>(buffer.bytes), rates_.caches);
    if (level > Level::l1) phase.bytes[index(level)].output += 2 * bytes;
}

// K blocks, or products, that a stage's sum is cut into.
double TileCosts::k_blocks(int i) const {
    if (by_strassen(i)) return static_cast<double>(strassen_products.size());
    double blocks = 0;
    for (const KBlockRun& run : k_block_runs(problem_.stage(i), plan_.stage(i)))
        blocks += static_cast<double>(run.count);
    return blocks;
}

// Panels enter L1 once a tile and group, and again for every block if one panel and the block's pixels do
// not fit beside each other. With K blocks only one of them has to fit, and the next one's weights are
// announced.
void TileCosts::add_weights(Phase& phase, int i, double groups, double panels, double use,
                            double block_input) const {
    const Level far = std::min(home_, level_of(tile_bytes_, rates_.caches));
    if (far > Level::l1) phase.bytes[index(far)].weights += panels * std::min(1.0, use);
    if (problem_.stage(i).depthwise()) return;
    const double blocks = phase.work.blocks / groups, pieces = k_blocks(i);
    if (pieces > 1 && far == home_ && far > Level::l2) phase.hidden += panels * std::min(1.0, use);
    const Level near = level_of((panels / groups + block_input) / pieces, rates_.caches);
    if (near > Level::l1) phase.bytes[index(near)].weights += panels * use * std::max(0.0, blocks - 1);
}

// The GEMM has asked for the next tile's input: it comes while the GEMM computes, and the next depthwise
// phase finds it in L2.
void TileCosts::move_prefetch(Phase& first, Phase& last) const {
    if (home_ <= Level::l2) return;
    const double bytes = first.bytes[index(home_)].input;
    first.bytes[index(home_)].input = 0;
    first.bytes[index(Level::l2)].input += bytes;
    last.bytes[index(home_)].input += bytes;
    last.hidden += bytes;
}

void TileCosts::add_time(const Phase& phase, int i, TileCost& cost) const {
    const auto seconds = [&](Level level, double bytes) {
        return bytes / (rates_.bandwidth(level) * 1e9);
    };
    const double core = phase.work.seconds;
    const double l2 = seconds(Level::l2, phase.bytes[index(Level::l2)].total());
    const double hidden = seconds(home_, phase.hidden);
    const double l3 = seconds(Level::l3, phase.bytes[index(Level::l3)].total()),
                 dram = seconds(Level::dram, phase.bytes[index(Level::dram)].total());
    Traffic distant = phase.bytes[index(Level::l3)] + phase.bytes[index(Level::dram)];
    distant.input -= phase.hidden;
    const double far = std::max(0.0, l3 + dram - hidden);
    const bool dense = !problem_.stage(i).depthwise() && plan_.stage(i).algorithm == Algorithm::direct;
    const double near_share =
        exposed_share(rates_.near, phase.bytes[index(Level::l2)], phase.stored_near, dense);
    const double far_share = exposed_share(rates_.far, distant, phase.stored_far, dense);
    const double near = overlapped(core, l2) + near_share * std::min(core, l2);
    const double open = overlapped(near, far) + far_share * std::min(near, far);
    const double total = std::max(open, hidden);
    cost.flops += phase.work.flops;
    cost.seconds += total;
    cost.fma_seconds += phase.work.fma_seconds;
    cost.stage_seconds[static_cast<std::size_t>(i)] += total;
    for (std::size_t level = 0; level < level_count; ++level)
        cost.bytes[level] = cost.bytes[level] + phase.bytes[level];
    const auto blame = [&](Resource resource, double time) {
        cost.by_resource[static_cast<std::size_t>(resource)] += time;
    };
    blame(Resource::fma, phase.work.fma_seconds);
    blame(Resource::blocks, core - phase.work.fma_seconds);
    blame(Resource::l2, near - core);
    const double waiting = total - near, far_all = l3 + dram;
    blame(Resource::l3, far_all > 0 ? waiting * l3 / far_all : 0);
    blame(Resource::dram, far_all > 0 ? waiting * dram / far_all : 0);
}

}  // namespace tandem
