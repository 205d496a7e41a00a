#include "core/plan/block_cost.hpp"

#include <algorithm>
#include <cmath>

#include "core/plan/ceil_div.hpp"
#include "core/plan/k_blocks.hpp"
#include "core/plan/pixel_pairs.hpp"
#include "core/plan/post_op_traits.hpp"
#include "core/plan/register_budget.hpp"
#include "core/plan/strassen.hpp"
#include "core/plan/tiling.hpp"
#include "core/plan/winograd.hpp"

namespace tandem {
namespace {

constexpr double ns = 1e-9;
// Parked accumulators are stored and loaded while the blocks around them multiply, half of it hidden: 14 ns a
// time for 28 of them on Zen 4 and on Emerald Rapids.
constexpr double parking_exposed = 0.5;
// Pairs of f16 sums become f32 by two conversions, an addition and a permutation each, and wait for each
// other.
constexpr double pair_sum_fmas = 8;
// Where a depthwise block finds its rows: a load, an addition and a compare-and-branch a pointer, and what it
// takes until the load's address is there.
constexpr double pointer_instructions = 6;

double post_op_instructions(const Conv& conv) {
    double sum = 0;
    for (const PostOp& op : conv.chain())
        sum += traits(op).instructions;
    return conv.post_op_count > 0 && conv.post_ops[0].kind == PostOpKind::bias
               ? sum - 1
               : sum;  // a leading bias costs nothing
}

// Full vectors that a group's last vector costs.
double last_vector_cost(const GroupRun& run, int lanes, const PortRates& port) {
    const bool half = lanes == 16 && run.tail_lanes > 0 && run.tail_lanes <= 8;
    return half ? port.narrow_fma / port.fma : 1;
}

// How much longer an instruction of this dot takes than its products over an FMA's would be.
double slowness(const MachineRates& rates, Dot dot) {
    return rates.gflops() * dot_speed(dot) / rates.peak(dot);
}

// Runs of equal pieces of a balanced split.
template <class Function>
void for_each_width(std::int64_t total, std::int64_t at_most, const Function& function) {
    if (total <= 0) return;
    const std::int64_t pieces = (total + at_most - 1) / at_most, wider = total % pieces;
    if (wider > 0) function(total / pieces + 1, wider);
    if (pieces > wider) function(total / pieces, pieces - wider);
}

// A pixel of a dense block, or a pair of them.
struct DenseColumn {
    std::int64_t pixels = 1;
    int registers = 0;       // of its sums
    double vectors = 0;      // what they cost to multiply
    double outputs = 0;      // vectors
    double preparation = 0;  // instructions each, before the post-ops
};

DenseColumn dense_column(const StagePlan& block, const GroupRun& run, int lanes, const PortRates& port) {
    DenseColumn column{.pixels = pixel_step(block), .registers = run.vectors};
    column.vectors = run.vectors - 1 + last_vector_cost(run, lanes, port);
    if (block.pixel_pairs)
        column.vectors = column.registers = pixel_pair_vectors(run.vectors, run.tail_lanes, lanes);
    column.outputs = static_cast<double>(column.pixels) * run.vectors;
    column.preparation = (sums_f16_pairs(block.dot) ? pair_sum_fmas : 0) + (block.pixel_pairs ? 1 : 0);
    return column;
}

double real_channels(const Stage& stage, const GroupRun& run, int lanes) {
    const double all = static_cast<double>(run.count) * run.vectors * lanes;
    return std::min(all, static_cast<double>(stage.out_channels - run.first_vector * lanes));
}

}  // namespace

namespace {

// Products of tiles, or their loads where these take longer; then every sum is parked, resumed and finished
// by vectors.
BlockWork amx_work(const Problem& problem, const Plan& plan, int i, const std::vector<GroupRun>& runs,
                   const StageShare& share, const MachineRates& rates) {
    const Stage& stage = problem.stage(i);
    const StagePlan& block = plan.stage(i);
    const PortRates& port = rates.port;
    const double lanes = vector_lanes(plan.isa, problem.layout), parts = dot_parts(block.dot),
                 row_taps = share.row_taps / static_cast<double>(std::max<std::int64_t>(1, share.rows)),
                 channels = static_cast<double>(stage.in_channels),
                 passes = has_k_blocks(block) ? row_taps * std::ceil(channels / block.block_channels) : 1,
                 post_ops = post_op_instructions(stage.conv);
    const double tile_steps =
        static_cast<double>(ceil_div(stage.in_channels, source_block(block.dot, 0)) * stage.conv.kernel.w) *
        row_taps;
    const double product =
        port.fma * slowness(rates, block.dot) * amx_rows * dot_channels(block.dot) / dot_speed(block.dot);
    BlockWork work;
    for (const GroupRun& run : runs) {
        work.flops += 2 * real_channels(stage, run, static_cast<int>(lanes)) * channels * share.row_taps *
                      share.column_taps;
        const auto tile_pixels = static_cast<double>(amx_tile_pixels(share.width));
        for (const AmxCall& call : amx_calls(share.width, run.vectors)) {
            const double rows = static_cast<double>(call.tiles) * tile_pixels, sums = rows * run.vectors,
                         lines = parts * (rows + run.vectors * amx_rows);
            const double step = std::max(sums * product, lines * port.load);
            const double parking = passes * sums * (port.store + port.load);
            const double fixed = dense_fixed(rates, rows, run.vectors, false) + sums * post_ops * port.fma;
            const double all = static_cast<double>(call.count * share.rows * run.count);
            const double weights = tile_steps * parts * run.vectors * amx_rows * amx_row_bytes;
            work.seconds += all * (tile_steps * step + parking + fixed) * ns;
            work.parked += all * (passes - 1) * sums * lanes * 4;
            work.blocks += all;
            work.l1_weights += all * weights;
            work.l1_loads += all * tile_steps * lines * amx_row_bytes;
            work.l1_stores += all * sums * lanes * 4;
        }
    }
    work.fma_seconds = work.flops / (rates.peak(block.dot) * 1e9);
    work.seconds = std::max(work.seconds, work.fma_seconds);
    return work;
}

}  // namespace

BlockWork dense_work(const Problem& problem, const Plan& plan, int i, const std::vector<GroupRun>& runs,
                     const StageShare& share, const MachineRates& rates) {
    if (uses_amx(plan.stage(i).dot)) return amx_work(problem, plan, i, runs, share, rates);
    const Stage& stage = problem.stage(i);
    const int lanes = vector_lanes(plan.isa, problem.layout);
    const PortRates& port = rates.port;
    const double pixels = static_cast<double>(share.rows * share.width);
    const double column_share =
        share.column_taps / static_cast<double>(share.width);  // kernel columns a pixel
    const double row_share =
        share.row_taps / static_cast<double>(std::max<std::int64_t>(1, share.rows));  // kernel rows a row
    const StagePlan& block = plan.stage(i);
    const double speed = dot_speed(block.dot), channels = static_cast<double>(stage.in_channels);
    const double k = channels * row_share * column_share / speed;  // steps
    const double weight_steps = channels * row_share * static_cast<double>(stage.conv.kernel.w) / speed;
    const double passes = has_k_blocks(block) ? row_share * std::ceil(channels / block.block_channels)
                                              : 1;  // over an accumulator
    const double post_ops = post_op_instructions(stage.conv);
    const bool embedded = embeds_broadcast(plan.isa, block);
    BlockWork work;
    for (const GroupRun& run : runs) {
        work.flops += 2 * real_channels(stage, run, lanes) * channels * share.row_taps * share.column_taps;
        const DenseColumn column = dense_column(block, run, lanes, port);
        const std::int64_t columns = ceil_div(share.width, column.pixels);
        for_each_width(
            columns, block.block_pixels / column.pixels, [&](std::int64_t width, std::int64_t count) {
                const double w = static_cast<double>(width), accumulators = w * column.registers;
                const double step =
                    dense_step(rates, w, column.vectors, embedded, slowness(rates, block.dot));
                const double fixed = dense_fixed(rates, w, column.registers, embedded) +
                                     w * column.outputs * (post_ops + column.preparation) * port.fma;
                const double parked = std::max(0.0, passes - 1) * accumulators;
                const double parking = parked * (port.store + port.load) * parking_exposed +
                                       std::max(0.0, passes - 1) * block_call(port);
                const double all = static_cast<double>(count * share.rows * run.count);
                const double broadcasts =
                    k * w * (embedded ? run.vectors : static_cast<double>(column.pixels));
                work.seconds += all * (k * step + fixed + parking) * ns;
                work.parked += all * parked * lanes * 4;
                work.blocks += all;
                work.l1_weights += all * weight_steps * column.registers * lanes * 4;
                work.l1_loads += all * (weight_steps * column.registers * lanes * 4 + broadcasts * 4);
            });
        work.l1_stores += pixels * static_cast<double>(run.count * run.vectors) * lanes * 4;
    }
    work.fma_seconds = work.flops / (rates.peak(block.dot) * 1e9);
    work.seconds = std::max(work.seconds, work.fma_seconds);
    return work;
}

namespace {

// What is the same for all blocks of a depthwise stage's rows.
struct DepthwiseRows {
    const Stage& stage;
    double rows = 0, inputs = 0;  // output rows at a time, and the input rows that they read
    double row_share = 0, column_share = 0;
    bool by_windows = false, held = false;             // by dot int8; a kernel row's weights in registers
    double window_instructions = 0, window_loads = 0;  // of the former, for a vector of channels
};

// Two permutations; where a pixel's channels lie together, loads of four columns and insertions besides. Of
// 64 channels two columns are loaded and unpacked, those of the window before being there, then both pairs.
void set_window_costs(DepthwiseRows& of, bool apart, int vectors) {
    const bool quads = vectors == quad_vectors;
    of.window_instructions = quads ? 1.5 : apart ? 5 : 2;
    of.window_loads = quads ? 0.75 : apart ? 4 : 1;
    of.held = of.by_windows && !quads;
}

// Of a block of `width` pixels of a row, for a vector of channels.
DepthwiseBlock depthwise_block(const DepthwiseRows& of, double width, double& weights) {
    const Conv& conv = of.stage.conv;
    const double kernel_w = static_cast<double>(conv.kernel.w);
    const double columns = (width - 1) * static_cast<double>(conv.stride.w) + kernel_w;
    weights = of.rows * of.row_share * kernel_w * (of.held ? 1 : width);
    const double taps = of.rows * of.row_share * width,
                 windows = of.inputs * columns / 2;  // the latter: by dot int8, four columns each
    const double products = of.by_windows ? taps * static_cast<double>(window_vectors(conv.kernel.w, 0)) +
                                                windows * of.window_instructions
                                          : taps * of.column_share;
    return {.products = products,
            .loads = (of.by_windows ? windows * of.window_loads : of.inputs * columns) + weights,
            .outputs = of.rows * width,
            .chain = of.row_share * of.column_share};
}

}  // namespace

BlockWork depthwise_work(const Problem& problem, const Plan& plan, int i, const std::vector<GroupRun>& runs,
                         const StageShare& share, const MachineRates& rates) {
    const Stage& stage = problem.stage(i);
    const StagePlan& block = plan.stage(i);
    const int lanes = vector_lanes(plan.isa, problem.layout);
    const PortRates& port = rates.port;
    DepthwiseRows of{.stage = stage};
    of.column_share = share.column_taps / static_cast<double>(share.width);
    of.row_share = share.row_taps / static_cast<double>(std::max<std::int64_t>(1, share.rows));
    const bool apart = i == 0 && problem.input_view.layout == Layout::nhwc;
    of.by_windows = block.dot == Dot::int8;
    of.held = holds_kernel_row(stage, plan.isa, block.block_rows);
    const bool pairs = i + 1 < problem.stage_count && plan.stage(i + 1).pixel_pairs &&
                       !problem.quantized();  // whose four pixels' packing is any order's
    const double post_ops = post_op_instructions(stage.conv) + (pairs ? 1 : 0);
    BlockWork work;
    for (const GroupRun& run : runs) {
        work.flops += 2 * real_channels(stage, run, lanes) * share.row_taps * share.column_taps;
        const double narrow = last_vector_cost(run, lanes, port), groups = static_cast<double>(run.count),
                     vectors = run.vectors;
        if (of.by_windows) set_window_costs(of, apart, run.vectors);
        const int pixels = run.vectors == block.block_vectors
                               ? block.block_pixels
                               : max_depthwise_pixels(stage, plan.isa, block.dot, block.block_rows);
        for (std::int64_t row = 0; row < share.rows; row += block.block_rows) {
            const auto rows = static_cast<int>(std::min<std::int64_t>(block.block_rows, share.rows - row));
            of.rows = rows;
            of.inputs = static_cast<double>(distinct_input_rows(stage, rows)) * of.row_share /
                        static_cast<double>(stage.conv.kernel.h);
            const double slowdown = depthwise_slowdown(rates, static_cast<int>(stage.conv.kernel.h),
                                                       static_cast<int>(stage.conv.stride.h), rows);
            const double pointers =
                (of.inputs + of.rows) * pointer_instructions * port.instruction * groups * ns;
            for_each_width(share.width, pixels, [&](std::int64_t width, std::int64_t count) {
                double weights = 0;
                DepthwiseBlock one = depthwise_block(of, static_cast<double>(width), weights);
                const double all = static_cast<double>(count) * groups * vectors, loads = one.loads;
                one.products *= narrow;
                work.seconds +=
                    all * ns * (depthwise_ports(port, one) * slowdown + one.outputs * post_ops * port.fma);
                if (block.channels_inner) work.seconds += static_cast<double>(count) * pointers;
                work.l1_weights += all * weights * lanes * 4;
                work.l1_loads += all * loads * lanes * 4;
                work.l1_stores += all * one.outputs * lanes * 4;
                work.blocks += static_cast<double>(count) * groups;
            });
            if (!block.channels_inner) work.seconds += pointers + groups * block_call(port) * ns;
        }
    }
    work.fma_seconds = work.flops / (rates.peak(block.dot) * 1e9);
    work.seconds = std::max(work.seconds, work.fma_seconds);
    return work;
}

BlockWork strassen_work(const Problem& problem, const Plan& plan, int i, const std::vector<GroupRun>& runs,
                        const StageShare& share, const MachineRates& rates) {
    // Of a pair of pixels and a vector of half the input channels: loads, additions and 4 stores, which cost
    // two each.
    constexpr double sum_instructions = 14, outputs = 4;
    const Stage& stage = problem.stage(i);
    const auto products = static_cast<std::int64_t>(strassen_products.size());
    Problem gemm = problem;
    gemm.stage(i).in_channels = products * stage.in_channels / 2;
    Plan pieces = plan;
    pieces.stage(i).block_channels = static_cast<int>(stage.in_channels / 2);
    StageShare pairs = share;
    pairs.rows /= 2;
    pairs.row_taps /= 2;
    BlockWork work = dense_work(gemm, pieces, i, runs, pairs, rates);
    work.l1_stores *= outputs;
    const double lanes = vector_lanes(plan.isa, problem.layout),
                 pixels = static_cast<double>(pairs.rows * pairs.width);
    const PortRates& port = rates.port;
    const double finish = post_op_instructions(stage.conv) * port.fma + port.store;
    work.seconds += pixels * ns *
                    (static_cast<double>(stage.in_channels) / 2 / lanes * sum_instructions * rates.transform +
                     static_cast<double>(stage.out_channels) / 2 / lanes * (outputs - 1) * finish);
    return work;
}

BlockWork winograd_work(const Problem& problem, const Plan& plan, int i, const std::vector<GroupRun>& runs,
                        const StageShare& share, const MachineRates& rates) {
    const Stage& stage = problem.stage(i);
    const WinogradForm form = winograd_form(stage, plan.stage(i).algorithm);
    const std::int64_t tiles =
        ceil_div(share.rows, form.rows.outputs) * ceil_div(share.width, form.columns.outputs);
    const auto points = static_cast<double>(form.points());
    Problem gemm = problem;
    gemm.stage(i) = winograd_gemm_stage(stage, tiles);
    StageShare row;
    row.rows = 1;
    row.width = tiles;
    row.row_taps = 1;
    row.column_taps = static_cast<double>(tiles);
    BlockWork work = dense_work(gemm, plan, i, runs, row, rates);
    for (double* part :
         {&work.flops, &work.fma_seconds, &work.seconds, &work.l1_loads, &work.l1_weights, &work.l1_stores})
        *part *= points;  // blocks: those of a point
    const double lanes = vector_lanes(plan.isa, problem.layout), instruction = rates.transform * ns;
    const auto vectors = [&](std::int64_t channels) {
        return std::ceil(static_cast<double>(channels) / lanes);
    };
    double output_vectors = 0;
    for (const GroupRun& run : runs)
        output_vectors += static_cast<double>(run.count * run.vectors);
    work.seconds += static_cast<double>(tiles) * instruction *
                    (form.input_instructions() * vectors(stage.in_channels * form.phases.count()) +
                     form.output_instructions() * output_vectors);
    return work;
}

}  // namespace tandem
