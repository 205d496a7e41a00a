#include "core/plan/panel.hpp"

#include <algorithm>

#include "core/plan/post_op_traits.hpp"
#include "core/plan/register_budget.hpp"
#include "core/plan/strassen.hpp"
#include "core/plan/winograd.hpp"

namespace tandem {
namespace {

// The group starting at output vector `first`, with what tells it from its neighbours.
GroupRun describe_group(const Stage& stage, Layout layout, int lanes, std::int64_t first, int vectors) {
    GroupRun run;
    run.first_vector = first;
    run.count = 1;
    run.vectors = vectors;
    const std::int64_t channels_left = stage.out_channels - first * lanes;
    if (channels_left < static_cast<std::int64_t>(vectors) * lanes)
        run.tail_lanes = static_cast<int>(channels_left % lanes);
    const bool last = channels_left <= static_cast<std::int64_t>(vectors) * lanes;
    run.pads_block = last && layout == Layout::nchw16c && lanes == 8 && (first + vectors) % 2 == 1;
    if (stage.depthwise()) {
        const std::int64_t inputs_left = stage.in_channels - first / stage.conv.multiplier * lanes;
        if (inputs_left < lanes) run.input_tail_lanes = static_cast<int>(inputs_left);
    }
    const std::int64_t residual_left = std::max<std::int64_t>(0, stage.residual_channels() - first * lanes);
    const std::int64_t residual =
        std::min<std::int64_t>(residual_left, static_cast<std::int64_t>(vectors) * lanes);
    run.residual_vectors = static_cast<int>((residual + lanes - 1) / lanes);
    run.residual_tail_lanes = static_cast<int>(residual % lanes);
    return run;
}

bool same_code(const GroupRun& a, const GroupRun& b) noexcept {
    return a.vectors == b.vectors && a.pads_block == b.pads_block && a.tail_lanes == b.tail_lanes &&
           a.input_tail_lanes == b.input_tail_lanes && a.residual_vectors == b.residual_vectors &&
           a.residual_tail_lanes == b.residual_tail_lanes;
}

// A blocked tensor whose blocks hold two vectors wants every group to start at a block.
bool starts_at_blocks(const Problem& problem, const Plan& plan) noexcept {
    return problem.layout == Layout::nchw16c && vector_lanes(plan.isa, problem.layout) == 8;
}

// Of what stage i writes: scratch is as wide as the tensors' blocks.
Layout output_layout(const Problem& problem, int i) noexcept {
    return i + 1 == problem.stage_count ? problem.output_view.layout : problem.layout;
}

std::int64_t vectors_of(const PanelLayout& panel, const Stage& stage) {
    return ceil_div(stage.out_channels, panel.lanes);
}

// Groups of `size` vectors; balanced (5 in at most 4 -> 3 + 2), or all but the last alike where they have
// to start at blocks.
std::vector<std::int64_t> group_sizes(std::int64_t vectors, std::int64_t size, bool balanced) {
    if (balanced) return balanced_split(vectors, size);
    std::vector<std::int64_t> sizes;
    for (std::int64_t v = 0; v < vectors; v += size)
        sizes.push_back(std::min(size, vectors - v));
    return sizes;
}

// Whole quads, and the vectors behind them one by one.
std::vector<std::int64_t> quad_sizes(std::int64_t channels, std::int64_t vectors) {
    const std::int64_t quads = channels / (16 * quad_vectors);
    std::vector<std::int64_t> sizes(static_cast<std::size_t>(quads), quad_vectors);
    sizes.resize(static_cast<std::size_t>(quads + vectors - quads * quad_vectors), 1);
    return sizes;
}

// A panel of stage i with neither weights nor groups yet.
PanelLayout without_groups(const Problem& problem, const Plan& plan, int i) {
    const Conv& conv = problem.stage(i).conv;
    PanelLayout panel;
    panel.lanes = vector_lanes(plan.isa, problem.layout);
    panel.vector_bytes = panel.lanes * 4;
    panel.param_count = param_index(conv, conv.post_op_count);
    panel.quantized = problem.quantized();
    panel.dot = plan.stage(i).dot;
    panel.pixel_pairs = plan.stage(i).pixel_pairs;
    return panel;
}

// Cuts the stage's output vectors into groups of these sizes and joins equal neighbours into runs.
void add_groups(PanelLayout& panel, const Stage& stage, Layout layout,
                const std::vector<std::int64_t>& sizes) {
    std::int64_t first = 0;
    for (const std::int64_t size : sizes) {
        GroupRun group = describe_group(stage, layout, panel.lanes, first, static_cast<int>(size));
        group.offset = panel.bytes;
        if (!panel.runs.empty() && same_code(panel.runs.back(), group)) {
            ++panel.runs.back().count;
        } else {
            panel.runs.push_back(group);
        }
        panel.bytes += panel.group_bytes(group);
        first += size;
    }
}

}  // namespace

int param_index(const Conv& conv, int op) noexcept {
    int index = 0;
    for (int i = 0; i < op; ++i)
        index += is_per_channel(conv.post_ops[static_cast<std::size_t>(i)].kind);
    return index;
}

namespace {

// Its output's channel blocks in scratch are wider than a vector: no group may straddle two.
bool writes_wide_blocks(const Problem& problem, const Plan& plan, int i) noexcept {
    return i + 1 < problem.stage_count && uses_amx(plan.stage(i + 1).dot);
}

}  // namespace

int dense_group_vectors(const Problem& problem, const Plan& plan, int i) noexcept {
    const int at_most = plan.stage(i).block_vectors;
    if (writes_wide_blocks(problem, plan, i)) return at_most >= 4 ? 4 : std::min(at_most, 2);
    return starts_at_blocks(problem, plan) ? std::max(2, at_most / 2 * 2) : at_most;
}

int max_dense_pixels(const Problem& problem, const Plan& plan, int i) {
    const PanelLayout panel = panel_layout(problem, plan, i);
    int vectors = 1;
    for (const GroupRun& run : panel.runs)
        vectors = std::max(vectors, panel.weight_vectors(run));
    return max_dense_pixels(plan.isa, plan.stage(i), vectors);
}

PanelLayout panel_layout(const Problem& problem, const Plan& plan, int i) {
    const Stage& stage = problem.stage(i);
    PanelLayout panel = without_groups(problem, plan, i);
    panel.permute = stage.depthwise() && stage.conv.multiplier > 1;
    const bool by_windows = stage.depthwise() && panel.dot == Dot::int8;
    const std::int64_t columns = stage.conv.kernel.w, per_group = dot_channels(panel.dot);
    if (has_zero_point_sums(panel.dot)) panel.zero_point_taps = columns > 1 && !by_windows ? columns + 1 : 1;
    std::int64_t groups = stage.depthwise() ? 1 : (stage.in_channels + per_group - 1) / per_group;
    if (uses_amx(panel.dot)) groups = (groups + amx_rows - 1) / amx_rows * amx_rows;
    panel.row_taps = panel.zero_point_taps +
                     (by_windows ? window_row_vectors(stage) : columns * groups * dot_parts(panel.dot));
    panel.taps = stage.conv.kernel.h * panel.row_taps + (by_windows ? 1 : 0);
    if (uses_libxsmm(stage, plan)) panel.order = WeightOrder::column_channel;
    if (uses_amx(panel.dot)) panel.order = WeightOrder::tiles;
    // LIBXSMM's groups are the channel blocks of the intermediate (mid_buffer).
    const bool balanced = !(starts_at_blocks(problem, plan) || uses_libxsmm(stage, plan) ||
                            writes_wide_blocks(problem, plan, i));
    const auto dense_sizes = [&](const Stage& of) {
        return group_sizes(vectors_of(panel, of), dense_group_vectors(problem, plan, i), balanced);
    };
    if (plan.stage(i).algorithm == Algorithm::strassen) {
        const Stage half = lower_half(stage);
        panel.halves = true;
        panel.row_taps = panel.taps =
            strassen_products.size() * static_cast<std::size_t>(stage.in_channels) / 2;
        add_groups(panel, half, output_layout(problem, i), dense_sizes(half));
        return panel;
    }
    const std::int64_t vectors = vectors_of(panel, stage);
    panel.quads = by_windows && plan.stage(i).block_vectors == quad_vectors;
    add_groups(panel, stage, output_layout(problem, i),
               panel.quads         ? quad_sizes(stage.out_channels, vectors)
               : stage.depthwise() ? group_sizes(vectors, 1, true)
                                   : dense_sizes(stage));
    return panel;
}

PanelLayout post_op_panel(const Problem& problem, const Plan& plan, int i) {
    PanelLayout panel = without_groups(problem, plan, i);
    const Stage& stage = problem.stage(i);
    add_groups(panel, stage, output_layout(problem, i), group_sizes(vectors_of(panel, stage), 1, true));
    return panel;
}

std::int64_t panel_bytes(const Problem& problem, const Plan& plan, int i) {
    if (is_winograd(plan.stage(i).algorithm)) return winograd_layout(problem, plan, i).panel_bytes;
    return panel_layout(problem, plan, i).bytes;
}

std::vector<GroupRun> split_runs(const PanelLayout& panel, int split, int splits) {
    std::int64_t groups = 0;
    for (const GroupRun& run : panel.runs)
        groups += run.count;
    const std::int64_t begin = groups * split / splits, end = groups * (split + 1) / splits;
    std::vector<GroupRun> runs;
    std::int64_t at = 0;
    for (const GroupRun& run : panel.runs) {
        const std::int64_t lo = std::max(begin, at), hi = std::min(end, at + run.count);
        if (lo < hi) {
            GroupRun piece = run;
            piece.count = hi - lo;
            piece.first_vector += (lo - at) * run.vectors;
            piece.offset += (lo - at) * panel.group_bytes(run);
            runs.push_back(piece);
        }
        at += run.count;
    }
    return runs;
}

}  // namespace tandem
