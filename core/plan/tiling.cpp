#include "core/plan/tiling.hpp"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "core/plan/arithmetic.hpp"
#include "core/plan/k_blocks.hpp"
#include "core/plan/panel.hpp"
#include "core/plan/tile_geometry.hpp"
#include "core/plan/winograd.hpp"

namespace tandem {
namespace {

std::int64_t vectors_of(const Stage& stage, int lanes) { return (stage.out_channels + lanes - 1) / lanes; }

// Winograd pays from channel counts on where the transforms are small beside the GEMM; F(4x4) where whole
// tiles fit the image. At stride 2 its four phases take four times the workspace and eleven times the plain
// weights for 1.44 times fewer
// products: measured slower than direct where L2 is 1 MB (docs/performance.md), so only the tuner tries it.
// Few tiles leave the GEMMs with too few rows to use the transformed weights, which are four times the
// plain ones, more than once. Against sums in f16, at twice the rate of Winograd's f32, it takes more of
// them: 49 tiles are 1.0 to 1.25 times faster, 16 tiles 1.18 times slower.
Algorithm choose_algorithm(const Problem& problem, Isa isa, int i) {
    constexpr std::int64_t least_channels = 32;
    const std::int64_t least_tiles = dot_applies(problem, isa, i, Dot::f16) ? 32 : 9;
    const Stage& s = problem.stage(i);
    if (has_amx(isa) && problem.dtype != DataType::f16)
        return Algorithm::direct;  // tiles make up for the products that Winograd saves
    if (!algorithm_applies(problem, isa, i, Algorithm::winograd4) || s.conv.stride.h != 1 ||
        s.in_channels < least_channels || s.out_channels < least_channels)
        return Algorithm::direct;
    if ((s.out_h + 3) / 4 * ((s.out_w + 3) / 4) >= least_tiles) return Algorithm::winograd4;
    return Algorithm::direct;
}

// Whether split operands are faster than f32 FMAs.
//   x3: splitting costs a pixel as much as 8 output channels' FMAs, the products a quarter of theirs: pays
//       from the second vector of output channels on.
//   x6: the products take half of the FMAs' time while AMX runs at full speed, and as long when a shared
//       machine throttles it. Splitting is small beside them in k x k stages, and in 1x1 stages with many
//       output channels; others are left to the tuner.
bool splitting_pays(const Stage& stage, Dot dot) {
    constexpr std::int64_t least_inputs = 32, one_vector = 16, many = 128;
    if (stage.in_channels < least_inputs || stage.out_channels <= one_vector) return false;
    const bool pointwise = stage.conv.kernel.h * stage.conv.kernel.w == 1;
    return dot == Dot::amx_x3 || !pointwise || std::min(stage.in_channels, stage.out_channels) >= many;
}

// What applies and needs fewer instructions is taken, with what this machine is known to do slowly left
// out.
Dot choose_dot(const Problem& problem, const Machine& machine, int i) {
    const std::vector<Dot> applicable = dots(problem, machine.isa, i);
    const auto pays = [&](Dot dot) {
        return dot_parts(dot) > 1 ? splitting_pays(problem.stage(i), dot)
                                  : dot != Dot::bf16 || !machine.slow_bf16;
    };
    const auto split =
        std::ranges::find_if(applicable, [&](Dot dot) { return dot_parts(dot) > 1 && pays(dot); });
    if (problem.math == Math::strict && split != applicable.end()) return *split;
    const auto first = std::ranges::find_if(applicable, pays);
    return first == applicable.end() ? Dot::f32 : *first;
}

StagePlan plan_dense(const Stage& stage, Isa isa, int lanes) {
    StagePlan plan;
    // Two vectors use each broadcast twice and leave long rows of pixels per weight load.
    const std::int64_t at_most = 2;
    plan.block_vectors = static_cast<int>(std::min(vectors_of(stage, lanes), at_most));
    plan.block_pixels = accumulator_budget(isa) / plan.block_vectors;
    return plan;
}

StagePlan plan_depthwise(const Stage& stage, Isa isa, Dot dot, Layout layout, bool reads_tensor) {
    StagePlan plan;
    plan.dot = dot;
    // Two rows share input loads where the registers allow a decent run of pixels beside two sets of
    // weights.
    const int rows = is_avx512(isa) && (dot == Dot::int8 || stage.conv.kernel.w <= 5) ? 2 : 1;
    plan.block_rows =
        static_cast<int>(std::min<std::int64_t>({rows, max_depthwise_rows(stage), stage.out_h}));
    plan.block_pixels = max_depthwise_pixels(stage, isa, dot, plan.block_rows);
    plan.channels_inner = reads_tensor && layout == Layout::nhwc;
    return plan;
}

// Most pixels of a dense block: beside its accumulators it holds a vector of weights for each output
// vector, and on AVX2 a broadcast. Groups may be wider than block_vectors says, where blocks of 16 channels
// take two vectors.
int max_dense_pixels(const Problem& problem, const Plan& plan, int i) {
    int vectors = 1;
    for (const GroupRun& run : panel_layout(problem, plan, i).runs)
        vectors = std::max(vectors, run.vectors);
    const int product = plan.stage(i).dot == Dot::int16 ? 1 : 0;
    const bool broadcasts = !is_avx512(plan.isa) || needs_broadcast(plan.stage(i).dot);
    const int left = vector_registers(plan.isa) - vectors - (broadcasts ? 1 : 0) - product;
    return std::min(accumulator_budget(plan.isa), left) / vectors;
}

// The largest block_channels of stage i: K blocks are for Tandem's own GEMMs over more than a step of
// channels. With dot int8 the kernel rows of a panel begin with the zero point's share, and its weights are
// a quarter of f32 ones anyway.
std::int64_t most_block_channels(const Problem& problem, const Plan& plan, int i) {
    const StagePlan& stage = plan.stage(i);
    return plan.backend == Backend::tandem && stage.algorithm == Algorithm::direct &&
                   !has_zero_point_sums(stage.dot) && !uses_amx(stage.dot)
               ? max_block_channels(problem.stage(i))
               : 0;
}

bool block_channels_apply(const Problem& problem, const Plan& plan, int i) {
    const int channels = plan.stage(i).block_channels;
    return channels >= 0 && channels <= most_block_channels(problem, plan, i) &&
           channels % block_channels_step == 0;
}

std::string accepted_block_channels(const Problem& problem, const Plan& plan, int i) {
    const std::int64_t most = most_block_channels(problem, plan, i);
    return most > 0 ? fmt::format("0 (the whole sum at once) and multiples of {} up to {} are",
                                  block_channels_step, most)
                    : "0 (the whole sum at once) is";
}

// Bytes that a tile works on besides its input, output and weights: the intermediate, staged input and the
// workspace.
std::int64_t working_bytes(const Problem& problem, const Plan& plan) {
    return mid_buffer(problem, plan).bytes + staging_buffer(problem, plan).bytes +
           workspace_bytes(problem, plan);
}

// Shrinks a tile until it works within `budget` bytes: first to `least_h` rows, then to `least_w` columns,
// where halos cost more. A direct stage goes on to one row; Winograd's GEMMs need their tiles, and where
// those do not fit L2 they work from L3.
void fit_tile(const Problem& problem, Plan& plan, std::int64_t budget, int least_h, int least_w) {
    const auto too_big = [&] {
        return working_bytes(problem, plan) > budget;
    };
    while (plan.tile_h > least_h && too_big())
        plan.tile_h = std::max(least_h, plan.tile_h / 2);
    while (plan.tile_w > least_w && too_big())
        plan.tile_w = std::max(least_w, ((plan.tile_w + 1) / 2 + 3) / 4 * 4);
}

// Output rows of a fused tile. Two rows are what a depthwise block computes at once, and they keep the
// intermediate near; tiny images take more, so that a tile still fills whole pixel blocks of the GEMM
// (measured: docs/performance.md).
int fused_rows(const Stage& last, int tile_w) {
    constexpr std::int64_t least_rows = 2, least_pixels = 28;
    const std::int64_t rows = std::max(least_rows, (least_pixels + tile_w - 1) / tile_w);
    return static_cast<int>(std::min(rows, last.out_h));
}

// Weights beyond L2 are read from further out once a tile: an image whose intermediate fits L2 becomes one
// tile, and K blocks fetch the next weights while they use these. So do smaller weights that few tiles
// read, as the first of them finds L2 full of other things. Measured on one thread: with 2 MB of L2 1.05 to
// 1.15 times faster at 7x7 from 1.2 MB of weights on, 0.96 at 14x14 and 1 MB, seven tiles; with 1 MB clear
// at 4 MB and no loss at 1 and 2 MB (docs/performance.md). More threads and other shapes are left to the
// tuner.
void stream_weights(const Problem& problem, Plan& plan, std::int64_t l2) {
    constexpr int channels = 256;  // of a K block: smaller ones park too often
    const Stage& last = problem.last();
    const int i = problem.stage_count - 1;
    if (i == 0 || !is_flat(problem, plan) || last.in_channels <= channels ||
        has_zero_point_sums(plan.stage(i).dot) || uses_amx(plan.stage(i).dot))
        return;
    const bool few_tiles = tile_grid(problem, plan).tiles_y <= 2;
    if (panel_bytes(problem, plan, i) <= (few_tiles ? l2 / 2 : l2)) return;
    Plan whole = plan;
    whole.tile_h = static_cast<int>(last.out_h);
    whole.stage(i).block_channels = channels;
    if (working_bytes(problem, whole) <= l2 / 2) plan = whole;
}

// Whether the next band's input is worth prefetching. A GEMM on vectors has room for it in any case; on AMX
// the depthwise stage before it spends load slots on it, which pays where the tensors do not stay in L2
// anyway.
bool prefetch_pays(const Problem& problem, const Plan& plan, std::int64_t l2) {
    if (!uses_amx(problem, plan)) return true;
    const int last = problem.stage_count - 1;
    return tensor_bytes(problem.input_shape(), problem.dtype) +
               tensor_bytes(problem.output_shape(last), problem.output_dtype(last)) >
           0.75 * static_cast<double>(l2);
}

// Rows per tile where a stage is computed by Winograd: whole tiles, and enough of them that the GEMMs fill
// a pixel block.
int winograd_rows(const Problem& problem, const Plan& plan) {
    constexpr std::int64_t least_tiles = 14;
    int rows = 1;
    for (int i = 0; i < problem.stage_count; ++i) {
        const std::int64_t m = winograd_tile(plan.stage(i).algorithm);
        if (m == 1) continue;
        const std::int64_t columns = (problem.stage(i).out_w + m - 1) / m;
        rows = std::max<int>(rows, static_cast<int>((least_tiles + columns - 1) / columns * m));
    }
    return static_cast<int>(std::min<std::int64_t>(rows, problem.last().out_h));
}

// Work of the busiest of `threads` parts under a plan, in FLOP. Tiles of one image; neighbouring channel
// splits share the first stage.
double busiest_part(const Problem& problem, const Plan& plan, int threads) {
    const TileGrid grid = tile_grid(problem, plan);
    const std::int64_t images = problem.input.n, items = images * grid.count();
    const double rows = static_cast<double>(problem.last().out_h * grid.tiles_x);
    const double last = problem.last().flops() / rows,
                 first = problem.stage_count == 2 ? problem.stage(0).flops() / rows : 0;
    const bool sliding = plan.fusion == Fusion::sliding;
    const double halo = sliding ? static_cast<double>(row_axis(problem.last()).kernel - 1) /
                                      static_cast<double>(row_axis(problem.last()).stride)
                                : 0;
    const std::int64_t parts = std::min<std::int64_t>(threads, items);  // more would be empty
    double busiest = 0;
    for (std::int64_t part = 0; part < parts; ++part) {
        const std::int64_t begin = items * part / parts, end = items * (part + 1) / parts;
        double work = begin < end ? halo * first : 0;
        std::int64_t tile_before = -1;
        for (std::int64_t item = begin; item < end; ++item) {
            const std::int64_t tile = sliding ? item : item / grid.splits;
            const std::int64_t ty = tile % grid.tiles_y;
            const double height = static_cast<double>(
                std::min<std::int64_t>(plan.tile_h, problem.last().out_h - ty * plan.tile_h));
            work += height * (last / static_cast<double>(grid.splits) + (tile == tile_before ? 0 : first));
            tile_before = tile;
        }
        busiest = std::max(busiest, work);
    }
    return busiest;
}

// Tile height and channel splits for several threads: small images have few tiles, and a static split of
// few tiles is uneven. Taken is what leaves the busiest part the least work; the plan as it stands wins
// ties within 3 %.
void balance(const Problem& problem, Plan& plan, int threads) {
    const auto last = static_cast<std::size_t>(problem.stage_count - 1);
    const std::int64_t out_h = problem.last().out_h;
    std::int64_t groups = 0, m = 1;
    for (const GroupRun& run : panel_layout(problem, plan, problem.stage_count - 1).runs)
        groups += run.count;
    for (int i = 0; i < problem.stage_count; ++i)
        m = std::max(m, winograd_tile(plan.stage(i).algorithm));
    const bool splittable = plan.stages[last].algorithm == Algorithm::direct &&
                            plan.fusion != Fusion::sliding && groups >= threads;
    const std::int64_t band = std::min((out_h + threads - 1) / threads + m - 1, out_h) / m * m;
    Plan best = plan;
    double least = busiest_part(problem, plan, threads) * 0.97;
    for (const std::int64_t height : {std::int64_t{plan.tile_h}, band, out_h}) {
        for (const int splits : {1, threads}) {
            Plan candidate = plan;
            candidate.tile_h = static_cast<int>(std::clamp<std::int64_t>(height, 1, out_h));
            candidate.channel_splits = splits;
            if (candidate.tile_h > plan.tile_h &&
                working_bytes(problem, candidate) > 2 * working_bytes(problem, plan))
                continue;
            if ((splits > 1 && !splittable) || busiest_part(problem, candidate, threads) >= least) continue;
            least = busiest_part(problem, candidate, threads);
            best = candidate;
        }
    }
    plan = best;
}

}  // namespace

std::int64_t distinct_input_rows(const Stage& stage, int rows) noexcept {
    std::set<std::int64_t> inputs;
    for (int row = 0; row < rows; ++row)
        for (std::int64_t tap = 0; tap < stage.conv.kernel.h; ++tap)
            inputs.insert(row * stage.conv.stride.h + tap * stage.conv.dilation.h);
    return static_cast<std::int64_t>(inputs.size());
}

int max_depthwise_rows(const Stage& stage) noexcept {
    const int outputs = stage.conv.has(PostOpKind::sum) ? 2 : 1;
    int rows = 1;
    while (rows < 4 &&
           distinct_input_rows(stage, rows + 1) + (rows + 1) * outputs <= depthwise_registers::row_pointers)
        ++rows;
    return rows;
}

int max_depthwise_pixels(const Stage& stage, Isa isa, Dot dot, int rows) noexcept {
    if (dot == Dot::int8) {
        const int weights = rows * static_cast<int>(window_row_vectors(stage));
        return (vector_registers(isa) - depthwise_registers::windows - weights) / rows;
    }
    const int held = depthwise_registers::held(isa, stage.conv.multiplier > 1);
    const int weights = rows * static_cast<int>(stage.conv.kernel.w);
    const int beside = std::max(weights + depthwise_registers::loaders(isa), epilogue_temps);
    return (vector_registers(isa) - held - beside) / rows;
}

namespace {

// Columns of padding lie in scratch where AMX reads them, so only once, at the ends of full rows.
bool needs_full_width(const Problem& problem, const Plan& plan) {
    for (int i = 0; i < problem.stage_count; ++i)
        if (uses_amx(plan.stage(i).dot) && problem.stage(i).conv.kernel.w > 1) return true;
    return false;
}

}  // namespace

Plan rules_plan(const Problem& problem, const Machine& machine, int threads) {
    Plan plan;
    plan.isa = machine.isa;
    const int lanes = vector_lanes(machine.isa, problem.layout);
    for (int i = 0; i < problem.stage_count; ++i) {
        const Stage& stage = problem.stage(i);
        plan.stage(i) =
            stage.depthwise()
                ? plan_depthwise(stage, machine.isa, choose_dot(problem, machine, i), problem.layout, i == 0)
                : plan_dense(stage, machine.isa, lanes);
        plan.stage(i).algorithm = choose_algorithm(problem, machine.isa, i);
        if (plan.stage(i).algorithm == Algorithm::direct) plan.stage(i).dot = choose_dot(problem, machine, i);
    }
    const Stage& last = problem.last();
    plan.tile_w = static_cast<int>(last.out_w);
    const auto budget = static_cast<std::int64_t>(machine.caches.l2);
    if (problem.stage_count == 1) {
        plan.fusion = Fusion::single;
        // Bands of a couple of hundred pixels amortise the walk over the weights.
        const std::int64_t rows = std::clamp<std::int64_t>(224 / last.out_w, 1, last.out_h);
        plan.tile_h = static_cast<int>(balanced_split(last.out_h, rows).front());
    } else {
        plan.fusion = row_axis(last).kernel > 1 ? Fusion::sliding : Fusion::recompute;
        plan.tile_h = fused_rows(last, plan.tile_w);
    }
    const int rows = winograd_rows(problem, plan);
    plan.tile_h = std::max(plan.tile_h, rows);
    constexpr int least_width = 4, least_winograd_width = 56;  // the latter: 14 tiles in a row of them
    fit_tile(problem, plan, budget, rows,
             needs_full_width(problem, plan) ? plan.tile_w
             : rows > 1                      ? least_winograd_width
                                             : least_width);
    if (threads == 1) stream_weights(problem, plan, budget);
    plan.prefetch_next =
        is_flat(problem, plan) && plan.tile_h < last.out_h && prefetch_pays(problem, plan, budget);
    if (threads > 1) balance(problem, plan, threads);
    return plan;
}

Status check_plan(const Problem& problem, const Plan& plan) {
    const auto reject = [](std::string sentence) {
        return Status(Error{ErrorCode::invalid_argument, std::move(sentence)});
    };
    const Stage& last = problem.last();
    if (plan.tile_h < 1 || plan.tile_h > last.out_h)
        return reject(
            fmt::format("plan.tile_h is {}; 1 to {} output rows are accepted.", plan.tile_h, last.out_h));
    if (plan.tile_w < 1 || plan.tile_w > last.out_w)
        return reject(
            fmt::format("plan.tile_w is {}; 1 to {} output columns are accepted.", plan.tile_w, last.out_w));
    if (needs_full_width(problem, plan) && plan.tile_w != last.out_w)
        return reject(fmt::format(
            "plan.tile_w is {}; {}, all output columns, is accepted with AMX and kernels wider than 1.",
            plan.tile_w, last.out_w));
    if ((plan.fusion == Fusion::single) != (problem.stage_count == 1))
        return reject(fmt::format("plan.fusion is {}; a problem of {} stages takes {}.",
                                  to_string(plan.fusion), problem.stage_count,
                                  problem.stage_count == 1 ? "single" : "recompute or sliding"));
    for (int i = 0; i < problem.stage_count; ++i) {
        const StagePlan& stage = plan.stage(i);
        const bool depthwise = problem.stage(i).depthwise();
        const int rows = depthwise ? max_depthwise_rows(problem.stage(i)) : 1;
        if (stage.block_rows < 1 || stage.block_rows > rows)
            return reject(fmt::format("plan.stages[{}].block_rows is {}; 1 to {} are accepted.", i,
                                      stage.block_rows, rows));
        const int vectors = depthwise ? 1 : uses_amx(stage.dot) ? 2 : 6;
        if (stage.block_vectors < 1 || stage.block_vectors > vectors)
            return reject(fmt::format("plan.stages[{}].block_vectors is {}; 1 to {} are accepted.", i,
                                      stage.block_vectors, vectors));
        const int pixels = depthwise
                               ? max_depthwise_pixels(problem.stage(i), plan.isa, stage.dot, stage.block_rows)
                               : max_dense_pixels(problem, plan, i);
        if (stage.block_pixels < 1 || stage.block_pixels > pixels)
            return reject(fmt::format("plan.stages[{}].block_pixels is {}; 1 to {} are accepted.", i,
                                      stage.block_pixels, pixels));
    }
    for (int i = 0; i < problem.stage_count; ++i) {
        const Algorithm algorithm = plan.stage(i).algorithm;
        if (!algorithm_applies(problem, plan.isa, i, algorithm))
            return reject(
                fmt::format("plan.stages[{}].algorithm is {}; direct is accepted (Winograd takes a dense 3x3 "
                            "of dilation 1 and stride 1, winograd4 "
                            "also stride 2 with whole vectors of input channels, math fast, and channel "
                            "blocks as wide as the vectors).",
                            i, to_string(algorithm)));
    }
    for (int i = 0; i < problem.stage_count; ++i) {
        const Dot dot = plan.stage(i).dot;
        const bool winograd = plan.stage(i).algorithm != Algorithm::direct;
        if (winograd && dot != Dot::f32)
            return reject(fmt::format(
                "plan.stages[{}].dot is {}; f32 is accepted where the stage is computed by Winograd.", i,
                to_string(dot)));
        if (dot_applies(problem, plan.isa, i, dot)) continue;
        std::string accepted;
        for (const Dot other : dots(problem, plan.isa, i))
            accepted += std::string(accepted.empty() ? "" : ", ") + to_string(other);
        return reject(fmt::format("plan.stages[{}].dot is {}; {} is accepted for {} on {}.", i,
                                  to_string(dot), accepted, to_string(problem.dtype), to_string(plan.isa)));
    }
    if (plan.backend == Backend::libxsmm && problem.dtype != DataType::f32)
        return reject(
            fmt::format("plan.backend is libxsmm; tandem is accepted for {}.", to_string(problem.dtype)));
    for (int i = 0; i < problem.stage_count; ++i)
        if (plan.backend == Backend::libxsmm && plan.stage(i).algorithm != Algorithm::direct)
            return reject(
                fmt::format("plan.stages[{}].algorithm is {}; direct is accepted with plan.backend libxsmm.",
                            i, to_string(plan.stage(i).algorithm)));
    for (int i = 0; i < problem.stage_count; ++i)
        if (plan.backend == Backend::libxsmm && plan.stage(i).dot != Dot::f32)
            return reject(fmt::format("plan.stages[{}].dot is {}; f32 is accepted with plan.backend libxsmm.",
                                      i, to_string(plan.stage(i).dot)));
    for (int i = 0; i < problem.stage_count; ++i)
        if (!block_channels_apply(problem, plan, i))
            return reject(fmt::format("plan.stages[{}].block_channels is {}; {} accepted.", i,
                                      plan.stage(i).block_channels,
                                      accepted_block_channels(problem, plan, i)));
    if (plan.channel_splits > 1 && plan.stage(problem.stage_count - 1).algorithm != Algorithm::direct)
        return reject(fmt::format(
            "plan.channel_splits is {}; 1 is accepted where the last stage is computed by Winograd.",
            plan.channel_splits));
    std::int64_t groups = 0;
    for (const GroupRun& run : panel_layout(problem, plan, problem.stage_count - 1).runs)
        groups += run.count;
    if (plan.channel_splits < 1 || plan.channel_splits > groups)
        return reject(fmt::format("plan.channel_splits is {}; 1 to {} output-channel groups are accepted.",
                                  plan.channel_splits, groups));
    return {};
}

}  // namespace tandem
