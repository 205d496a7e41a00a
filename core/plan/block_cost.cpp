#include "core/plan/block_cost.hpp"

#include <algorithm>
#include <cmath>

#include "core/plan/k_blocks.hpp"
#include "core/plan/post_op_traits.hpp"
#include "core/plan/register_budget.hpp"
#include "core/plan/tiling.hpp"
#include "core/plan/winograd.hpp"

namespace tandem {
namespace {

// Fitted, together with those of tile_cost.cpp, to the measured times of all candidates of the 33 layers
// (docs/cost-model.md).
constexpr double fma_latency =
    0.95e-9;  // seconds; 4 cycles are 1.1 ns at 3.6 GHz, and neighbouring blocks overlap a little
constexpr double block_seconds =
    2e-9;  // call, return and address set-up that out-of-order execution does not hide
constexpr double pointer_seconds =
    0.6e-9;  // a row pointer of a depthwise block: load, add, store-forwarded counter
constexpr double burst_seconds = 1.7e-9;  // an accumulator beyond rates.hidden_accumulators; half of that
                                          // again for each post-op instruction
constexpr double parking_exposed =
    0.5;  // the same of parking: 14 ns a time for 28 accumulators, mv1_7-11 with 64 against 256 channels
constexpr double pair_sum_fmas =
    8;  // the time of turning an accumulator of f16 pairs into f32, in FMAs; Emerald Rapids
constexpr double stores_per_load =
    0.45;  // store instructions a cycle against loads; Zen 4 stores 512 bits every second cycle

double post_op_instructions(const Conv& conv) {
    double sum = 0;
    for (const PostOp& op : conv.chain())
        sum += traits(op).instructions;
    return conv.post_op_count > 0 && conv.post_ops[0].kind == PostOpKind::bias
               ? sum - 1
               : sum;  // a leading bias costs nothing
}

// Vector instructions a second.
struct Issue {
    double fmas, loads;
};
Issue issue_rates(const MachineRates& rates, int lanes) {
    return {rates.gflops * 1e9 / (2.0 * lanes), rates.gb_per_s[0] * 1e9 / (4.0 * lanes)};
}

// Full vectors that a group's last vector costs.
double last_vector_cost(const GroupRun& run, int lanes, bool fast_ymm) {
    const bool half = lanes == 16 && run.tail_lanes > 0 && run.tail_lanes <= 8;
    return half && fast_ymm ? 0.5 : 1;
}

// Runs of equal pieces of a balanced split.
template <class Function>
void for_each_width(std::int64_t total, std::int64_t at_most, const Function& function) {
    if (total <= 0) return;
    const std::int64_t pieces = (total + at_most - 1) / at_most, wider = total % pieces;
    if (wider > 0) function(total / pieces + 1, wider);
    if (pieces > wider) function(total / pieces, pieces - wider);
}

double real_channels(const Stage& stage, const GroupRun& run, int lanes) {
    const double all = static_cast<double>(run.count) * run.vectors * lanes;
    return std::min(all, static_cast<double>(stage.out_channels - run.first_vector * lanes));
}

}  // namespace

BlockWork dense_work(const Problem& problem, const Plan& plan, int i, const std::vector<GroupRun>& runs,
                     const StageShare& share, const MachineRates& rates) {
    const Stage& stage = problem.stage(i);
    const int lanes = vector_lanes(plan.isa, problem.layout);
    const Issue issue = issue_rates(rates, lanes);
    const double pixels = static_cast<double>(share.rows * share.width);
    const double column_share =
        share.column_taps / static_cast<double>(share.width);  // kernel columns a pixel
    const double row_share =
        share.row_taps / static_cast<double>(std::max<std::int64_t>(1, share.rows));  // kernel rows a row
    const StagePlan& block = plan.stage(i);
    const double speed = dot_speed(block.dot), channels = static_cast<double>(stage.in_channels);
    const double slowness =
        rates.gflops * speed / rates.peak(block.dot);  // where an instruction takes longer than a FMA
    const double k = channels * row_share * column_share / speed;  // in FMAs an accumulator
    const double weight_steps = channels * row_share * static_cast<double>(stage.conv.kernel.w) / speed;
    const double passes = has_k_blocks(block) ? row_share * std::ceil(channels / block.block_channels)
                                              : 1;  // over an accumulator
    BlockWork work;
    for (const GroupRun& run : runs) {
        work.flops += 2 * real_channels(stage, run, lanes) * channels * share.row_taps * share.column_taps;
        const double vectors = run.vectors - 1 + last_vector_cost(run, lanes, rates.fast_ymm);
        const bool embedded = embeds_broadcast(plan.isa, block);
        for_each_width(share.width, block.block_pixels, [&](std::int64_t width, std::int64_t count) {
            const double w = static_cast<double>(width), accumulators = w * run.vectors;
            const double pair_sums = sums_f16_pairs(block.dot) ? accumulators * pair_sum_fmas : 0;
            const double fma = (k * w * vectors * slowness + pair_sums) / issue.fmas;
            const double broadcasts =
                k * w * (embedded ? 0.5 * run.vectors : 1.0);  // an embedded one pairs with its FMA
            const double load = (weight_steps * run.vectors + broadcasts) / issue.loads;
            const double latency = k * fma_latency;
            const double burst = std::max(0.0, accumulators - rates.hidden_accumulators) *
                                 (1 + post_op_instructions(stage.conv) / 2) * burst_seconds;
            const double parked = std::max(0.0, passes - 1) * accumulators;
            const double parking = parked / (issue.loads * stores_per_load) + parked / issue.loads;
            const double all = static_cast<double>(count * share.rows * run.count);
            work.seconds += all * (std::max({fma, load, latency}) + burst + parking_exposed * parking +
                                   std::max(1.0, passes) * block_seconds);
            work.parked += all * parked * lanes * 4;
            work.blocks += all;
            work.l1_weights += all * weight_steps * run.vectors * lanes * 4;
            work.l1_loads += all * (weight_steps * run.vectors * lanes * 4 + k * w * 4);
        });
        work.l1_stores += pixels * static_cast<double>(run.count * run.vectors) * lanes * 4;
    }
    work.fma_seconds = work.flops / (rates.peak(block.dot) * 1e9);
    work.seconds = std::max(work.seconds, work.fma_seconds);
    return work;
}

BlockWork depthwise_work(const Problem& problem, const Plan& plan, int i, const std::vector<GroupRun>& runs,
                         const StageShare& share, const MachineRates& rates) {
    const Stage& stage = problem.stage(i);
    const StagePlan& block = plan.stage(i);
    const int lanes = vector_lanes(plan.isa, problem.layout);
    const Issue issue = issue_rates(rates, lanes);
    const double column_share = share.column_taps / static_cast<double>(share.width);
    const double row_share = share.row_taps / static_cast<double>(std::max<std::int64_t>(1, share.rows));
    // Two permutations; where a pixel's channels lie together, loads of four columns and insertions
    // besides.
    const bool by_windows = block.dot == Dot::int8,
               apart = i == 0 && problem.input_view.layout == Layout::nhwc;
    const bool held = by_windows || holds_kernel_row(stage, plan.isa, block.block_rows);
    const double window_instructions = apart ? 5 : 2, window_loads = apart ? 4 : 1;
    BlockWork work;
    for (const GroupRun& run : runs) {
        work.flops += 2 * real_channels(stage, run, lanes) * share.row_taps * share.column_taps;
        const double narrow = last_vector_cost(run, lanes, rates.fast_ymm);
        for (std::int64_t row = 0; row < share.rows; row += block.block_rows) {
            const double rows =
                static_cast<double>(std::min<std::int64_t>(block.block_rows, share.rows - row));
            const double inputs = static_cast<double>(distinct_input_rows(stage, static_cast<int>(rows))) *
                                  row_share / static_cast<double>(stage.conv.kernel.h);
            const double pointers = (inputs + rows) * pointer_seconds * static_cast<double>(run.count);
            double blocks = 0;
            for_each_width(share.width, block.block_pixels, [&](std::int64_t width, std::int64_t count) {
                const double w = static_cast<double>(width),
                             columns = (w - 1) * static_cast<double>(stage.conv.stride.w) +
                                       static_cast<double>(stage.conv.kernel.w);
                const double weights =
                    rows * row_share * static_cast<double>(stage.conv.kernel.w) * (held ? 1 : w);
                const double taps = rows * row_share * w,
                             windows = inputs * columns / 2;  // the latter: by dot int8, four columns each
                const double products =
                    by_windows ? taps * static_cast<double>(window_vectors(stage.conv.kernel.w, 0)) +
                                     windows * window_instructions
                               : taps * column_share;
                const double fma = products * narrow / issue.fmas;
                const double loads = (by_windows ? windows * window_loads : inputs * columns) + weights;
                const double latency =
                    row_share * column_share * fma_latency / 2;  // neighbouring blocks overlap
                const double all = static_cast<double>(count * run.count);
                work.seconds += all * (std::max({fma, loads / issue.loads, latency}) + block_seconds / 4);
                if (block.channels_inner) work.seconds += static_cast<double>(count) * pointers;
                work.l1_weights += all * weights * lanes * 4;
                work.l1_loads += all * loads * lanes * 4;
                work.l1_stores += all * rows * w * lanes * 4;
                blocks += all;
            });
            if (!block.channels_inner)
                work.seconds += pointers + static_cast<double>(run.count) * block_seconds;
            work.blocks += blocks;
        }
    }
    work.fma_seconds = work.flops / (rates.peak(block.dot) * 1e9);
    work.seconds = std::max(work.seconds, work.fma_seconds);
    return work;
}

BlockWork winograd_work(const Problem& problem, const Plan& plan, int i, const std::vector<GroupRun>& runs,
                        const StageShare& share, const MachineRates& rates) {
    // Vector instructions of one tile and channel vector, a point: 4 FMAs, loads or adds and 2 stores,
    // which cost two each.
    constexpr double input_instructions = 6, output_instructions = 5;
    const Stage& stage = problem.stage(i);
    const std::int64_t m = winograd_tile(plan.stage(i).algorithm);
    const std::int64_t tiles = (share.rows + m - 1) / m * ((share.width + m - 1) / m);
    const WinogradPhases phases{stage.conv.stride.h};
    const double points = static_cast<double>(phases.alpha(m) * phases.alpha(m));
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
    const double lanes = vector_lanes(plan.isa, problem.layout),
                 instruction = 2 * lanes / (rates.gflops * 1e9);
    const auto vectors = [&](std::int64_t channels) {
        return std::ceil(static_cast<double>(channels) / lanes);
    };
    work.seconds += static_cast<double>(tiles) * points * instruction *
                    (input_instructions * vectors(stage.in_channels * phases.count()) +
                     output_instructions * vectors(stage.out_channels));
    return work;
}

}  // namespace tandem
