#include "core/plan/tiling.hpp"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "core/plan/arithmetic.hpp"
#include "core/plan/ceil_div.hpp"
#include "core/plan/k_blocks.hpp"
#include "core/plan/output_planes.hpp"
#include "core/plan/panel.hpp"
#include "core/plan/partition.hpp"
#include "core/plan/register_budget.hpp"
#include "core/plan/strassen.hpp"
#include "core/plan/tile_geometry.hpp"
#include "core/plan/winograd.hpp"

namespace tandem {
namespace {

std::int64_t vectors_of(const Stage& stage, int lanes) { return (stage.out_channels + lanes - 1) / lanes; }

// Strassen's products save an eighth of the FMAs and take 3/4 more weights, sums of pixels and parked
// accumulators: measured 1.04 to 1.06 times faster with 512-bit vectors, where rows of pixels fill the
// register blocks and the weights stay in L2; slower with 256-bit ones, whose blocks are six pixels
// (docs/performance.md).
bool strassen_pays(const Problem& problem, Isa isa, int i) {
    constexpr std::int64_t least_channels = 256, most_weights = 512 * 512, block = 14, least_pixels = 12;
    const Stage& s = problem.stage(i);
    return problem.math == Math::fast && i > 0 && strassen_applies(problem, isa, i) &&
           vector_lanes(isa, problem.layout) == 16 &&
           std::min(s.in_channels, s.out_channels) >= least_channels &&
           s.in_channels * s.out_channels <= most_weights &&
           balanced_split(s.out_w, block).back() >= least_pixels;
}

// Vector instructions of a Winograd stage over those of the direct sums: products and transforms of whole
// tiles, those over the edge included.
double winograd_share(const Stage& s, Algorithm algorithm) {
    const WinogradForm form = winograd_form(s, algorithm);
    const auto inputs = static_cast<double>(s.in_channels), outputs = static_cast<double>(s.out_channels);
    const auto tiles =
        static_cast<double>(ceil_div(s.out_h, form.rows.outputs) * ceil_div(s.out_w, form.columns.outputs));
    const double tile = static_cast<double>(form.points()) * inputs * outputs +
                        form.input_instructions() * inputs + form.output_instructions() * outputs;
    return tiles * tile /
           (inputs * outputs * static_cast<double>(s.out_h * s.out_w * s.conv.kernel.h * s.conv.kernel.w));
}

// Winograd pays where products and transforms together are fewer by as much as reading more weights costs:
// with 7x7 outputs F(2x2,3x3) has 0.6 of the direct ones and takes 1.03 to 1.05 times as long, with 8x8
// outputs and 0.46 it is 1.1 to 1.3 times faster. At stride 2 its four phases take four times the workspace
// and eleven times the plain weights for 1.44 times fewer products: measured slower than direct where L2 is 1
// MB (docs/performance.md), so only the tuner tries it. Few tiles leave the GEMMs with too few rows to use
// the transformed weights, which are up to four times the plain ones, more than once. Against sums in f16, at
// twice the rate of Winograd's f32, it takes more of them: 49 tiles are 1.0 to 1.25 times faster, 16
// tiles 1.18 times slower.
Algorithm choose_algorithm(const Problem& problem, Isa isa, int i) {
    constexpr std::int64_t least_channels = 32;
    constexpr double most_of_direct = 0.55;
    const std::int64_t least_tiles = dot_applies(problem, isa, i, Dot::f16) ? 32 : 9;
    const Stage& s = problem.stage(i);
    if (problem.dtype == DataType::f16 ? isa.has(IsaFeature::amx_fp16) : has_amx(isa))
        return Algorithm::direct;  // tiles make up for the products that Winograd saves
    if (strassen_pays(problem, isa, i)) return Algorithm::strassen;
    if (s.conv.stride.h != 1 || s.in_channels < least_channels || s.out_channels < least_channels)
        return Algorithm::direct;
    Algorithm best = Algorithm::direct;
    double least = most_of_direct;
    for (const Algorithm algorithm : {Algorithm::winograd2, Algorithm::winograd4}) {
        if (!algorithm_applies(problem, isa, i, algorithm)) continue;
        const Size2 tile = winograd_tile(s, algorithm);
        if (ceil_div(s.out_h, tile.h) * ceil_div(s.out_w, tile.w) < least_tiles) continue;
        if (winograd_share(s, algorithm) >= least) continue;
        least = winograd_share(s, algorithm);
        best = algorithm;
    }
    return best;
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

// A tile's row holds so many channels of a pixel. Where it is less than half full, as in an image's
// stem, most of a product is zeros, and of what is staged: vector instructions take half the time.
bool fills_tile_row(const Stage& stage, Dot dot) {
    return !uses_amx(dot) || 2 * stage.in_channels >= source_block(dot, 0);
}

// What applies and needs fewer instructions is taken, with what this machine is known to do slowly left
// out.
Dot choose_dot(const Problem& problem, const Machine& machine, int i) {
    const std::vector<Dot> applicable = dots(problem, machine.isa, i);
    const auto pays = [&](Dot dot) {
        if (!is_accurate(problem.stage(i), dot)) return false;
        if (dot_parts(dot) > 1) return splitting_pays(problem.stage(i), dot);
        return fills_tile_row(problem.stage(i), dot) && (dot != Dot::bf16 || !machine.slow_bf16);
    };
    const auto split =
        std::ranges::find_if(applicable, [&](Dot dot) { return dot_parts(dot) > 1 && pays(dot); });
    if (problem.math == Math::strict && split != applicable.end()) return *split;
    const auto first = std::ranges::find_if(applicable, pays);
    return first == applicable.end() ? Dot::f32 : *first;
}

constexpr double exact_error = 1e-6;  // of sums of f32 products

// Of a stage's outputs, relative to their largest (docs/math-modes.md): the worst that each way of
// multiplying measured.
double stage_error(const Stage& stage, const StagePlan& plan) {
    if (is_winograd(plan.algorithm)) return winograd_error(stage, plan.algorithm);
    if (plan.algorithm == Algorithm::strassen) return 4e-6;
    return plan.dot == Dot::amx_x3 ? 6e-6 : exact_error;
}

// Math fast promises 1e-5 for what comes out of a chain. Errors of stages are independent, so that their
// squares add up; where that is too much, the stage with the least work among those that lose more than
// direct f32 sums becomes one of these.
void limit_error(const Problem& problem, Plan& plan) {
    while (problem.dtype == DataType::f32 && problem.math == Math::fast) {
        double squares = 0;
        int least = -1;
        for (int i = 0; i < problem.stage_count; ++i) {
            const Stage& stage = problem.stage(i);
            const double error = stage_error(stage, plan.stage(i));
            squares += error * error;
            if (error > exact_error && (least < 0 || stage.flops() < problem.stage(least).flops())) least = i;
        }
        if (squares <= fast_error * fast_error || least < 0) return;
        plan.stage(least).algorithm = Algorithm::direct;
        plan.stage(least).dot = Dot::f32;
    }
}

StagePlan plan_dense(const Stage& stage, Isa isa, int lanes, Dot dot) {
    StagePlan plan;
    // Two vectors use each broadcast twice and leave long rows of pixels per weight load. Rows of three
    // tiles of AMX and more read a vector's weights half as often (docs/performance.md).
    const bool wide = uses_amx(dot) && !stage.pointwise() && stage.out_w > 2 * amx_rows;
    const std::int64_t at_most = wide ? 1 : 2;
    plan.dot = dot;
    plan.block_vectors = static_cast<int>(std::min(vectors_of(stage, lanes), at_most));
    plan.block_pixels = accumulator_budget(isa) / plan.block_vectors;
    return plan;
}

StagePlan plan_depthwise(const Stage& stage, Isa isa, Dot dot, Layout layout, bool reads_tensor) {
    StagePlan plan;
    plan.dot = dot;
    // Two rows share input loads where the registers allow a decent run of pixels beside two sets of
    // weights.
    const bool two = is_avx512(isa) && (dot == Dot::int8 || stage.conv.kernel.w <= 5) && stage.out_h > 1;
    plan.block_rows = two && max_depthwise_rows(stage) > 1 && holds_row_pointers(stage, 2) ? 2 : 1;
    plan.block_pixels = max_depthwise_pixels(stage, isa, dot, plan.block_rows);
    plan.channels_inner = reads_tensor && layout == Layout::nhwc;
    return plan;
}

// A load instead of four insertions, wherever it can be.
void take_quads(const Problem& problem, Plan& plan) {
    for (int i = 0; i < problem.stage_count; ++i) {
        StagePlan& stage = plan.stage(i);
        const int vectors = depthwise_vectors(problem, plan, i);
        if (vectors == 1) continue;
        stage.block_vectors = vectors;
        stage.block_pixels =
            max_depthwise_pixels(problem.stage(i), plan.isa, stage.dot, stage.block_rows, vectors);
    }
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
// (measured: docs/performance.md). AMX computes a row of k x k sums so fast that the weights' way to L1, once
// a tile, is worth eight rows.
int fused_rows(const Problem& problem, const Plan& plan) {
    constexpr std::int64_t least_pixels = 28;
    const Stage& last = problem.last();
    const bool tall = uses_amx(plan.stage(problem.stage_count - 1).dot) && !last.pointwise();
    const std::int64_t least_rows = tall ? 8 : 2;
    const std::int64_t rows = std::max(least_rows, (least_pixels + plan.tile_w - 1) / plan.tile_w);
    return static_cast<int>(std::min(rows, last.out_h));
}

// Of a single convolution: bands of a couple of hundred pixels amortise the walk over the weights.
int single_rows(const Stage& stage) {
    const std::int64_t rows = std::clamp<std::int64_t>(224 / stage.out_w, 1, stage.out_h);
    return static_cast<int>(balanced_split(stage.out_h, rows).front());
}

// Of a chain of three and more: the whole image where everything between the stages fits half of L2, else
// four rows, which compute little of a ring again where parts meet and keep it small.
int chain_rows(const Problem& problem, Plan plan, std::int64_t l2) {
    constexpr std::int64_t rows = 4;
    const std::int64_t out_h = problem.last().out_h;
    plan.tile_h = static_cast<int>(out_h);
    if (working_bytes(problem, plan) <= l2 / 2) return plan.tile_h;
    return static_cast<int>(balanced_split(out_h, std::min(rows, out_h)).front());
}

// Weights beyond L2 are read from further out once a tile: an image whose intermediate fits L2 becomes one
// tile, and K blocks fetch the next weights while they use these. So do smaller weights that few tiles
// read, as the first of them finds L2 full of other things. Measured on one thread: with 2 MB of L2 1.05 to
// 1.15 times faster at 7x7 from 1.2 MB of weights on, 0.96 at 14x14 and 1 MB, seven tiles; with 1 MB clear
// at 4 MB and no loss at 1 and 2 MB (docs/performance.md). More threads and other shapes are left to the
// tuner.
void stream_weights(const Problem& problem, Plan& plan, std::int64_t l2) {
    const Stage& last = problem.last();
    const int i = problem.stage_count - 1;
    // Of a K block: smaller ones park too often.
    const int channels = uses_amx(plan.stage(i).dot) ? 128 : 256;
    if (i == 0 || plan.stage(i).algorithm != Algorithm::direct || !is_flat(problem, plan) ||
        last.in_channels <= channels || has_zero_point_sums(plan.stage(i).dot))
        return;
    const bool few_tiles = tile_grid(problem, plan).tiles_y <= 2;
    if (panel_bytes(problem, plan, i) <= (few_tiles ? l2 / 2 : l2)) return;
    Plan whole = plan;
    whole.tile_h = static_cast<int>(last.out_h);
    whole.stage(i).block_channels = channels;
    if (working_bytes(problem, whole) <= l2 / 2) plan = whole;
}

// The same of Strassen's products: weights of more than half of L2 are announced and, on one thread, read
// once by a tile of the whole image; prefetching smaller ones gains nothing.
void stream_products(const Problem& problem, Plan& plan, std::int64_t l2, int threads) {
    const int last = problem.stage_count - 1;
    if (panel_bytes(problem, plan, last) <= l2 / 2) {
        plan.stage(last).weights_ahead = 0;
        return;
    }
    Plan whole = plan;
    whole.tile_h = static_cast<int>(problem.last().out_h);
    if (threads == 1 && working_bytes(problem, whole) <= l2 / 2) plan = whole;
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
        if (!is_winograd(plan.stage(i).algorithm)) continue;
        const Size2 tile = winograd_tile(problem.stage(i), plan.stage(i).algorithm);
        const std::int64_t columns = (problem.stage(i).out_w + tile.w - 1) / tile.w;
        rows = std::max<int>(rows, static_cast<int>((least_tiles + columns - 1) / columns * tile.h));
    }
    return static_cast<int>(std::min<std::int64_t>(rows, problem.last().out_h));
}

// Rows of stage i's output beyond those that a row of the last stage stands for, which a part computes where
// it starts a sliding window; counted in rows of the last stage.
double halo_rows(const Problem& problem, const Plan& plan, int i) {
    double halo = 0, stride = 1;
    for (int next = problem.stage_count - 1; next > i; --next) {
        const Axis axis = row_axis(problem.stage(next));
        stride *= static_cast<double>(axis.stride);
        if (plan.edge(next - 1) == Edge::sliding) halo += static_cast<double>(axis.kernel - 1) / stride;
    }
    return halo;
}

// Work of the busiest of `threads` parts under a plan, in FLOP. Tiles of one image; neighbouring channel
// splits share the stages before the last.
double busiest_part(const Problem& problem, const Plan& plan, int threads) {
    const TileGrid grid = tile_grid(problem, plan);
    const std::int64_t items = problem.input.n * grid.count();
    const double rows = static_cast<double>(problem.last().out_h * grid.tiles_x);
    const double last = problem.last().flops() / rows;
    double before = 0, halo = 0;
    for (int i = 0; i + 1 < problem.stage_count; ++i) {
        before += problem.stage(i).flops() / rows;
        halo += halo_rows(problem, plan, i) * problem.stage(i).flops() / rows;
    }
    const bool slides = plan.slides();
    const auto parts = static_cast<int>(std::min<std::int64_t>(threads, items));  // more would be empty
    double busiest = 0;
    for (int part = 0; part < parts; ++part) {
        const Range range = part_range(items, part, parts);
        double work = halo;
        TileIndex above;
        for (std::int64_t item = range.begin; item < range.end; ++item) {
            const TileIndex tile = tile_at(grid, item);
            const double height = static_cast<double>(
                std::min<std::int64_t>(plan.tile_h, problem.last().out_h - tile.ty * plan.tile_h));
            const bool reuse = tile_start(tile, above, slides).reuse;
            work += height * (last / static_cast<double>(grid.splits) + (reuse ? 0 : before));
            above = tile;
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
    const std::int64_t m = std::max(largest_winograd_tile(problem, plan).h, rows_together(problem, plan));
    std::int64_t groups = 0;
    for (const GroupRun& run : panel_layout(problem, plan, problem.stage_count - 1).runs)
        groups += run.count;
    const bool splittable =
        plan.stages[last].algorithm == Algorithm::direct && !plan.slides() && groups >= threads;
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

// Depthwise kernels up to this many rows are unrolled, and up to this many columns held in registers.
constexpr std::int64_t most_unrolled = 7;

// Input rows of `rows` output rows, and how many of these each of them meets.
std::map<std::int64_t, int> input_row_uses(const Stage& stage, int rows) {
    std::map<std::int64_t, int> uses;
    for (int row = 0; row < rows; ++row)
        for (std::int64_t tap = 0; tap < stage.conv.kernel.h; ++tap)
            ++uses[row * stage.conv.stride.h + tap * stage.conv.dilation.h];
    return uses;
}

// Rows of a depthwise block whose weights are wanted at once.
int most_uses(const Stage& stage, int rows) {
    int most = 0;
    for (const auto& [row, uses] : input_row_uses(stage, rows))
        most = std::max(most, uses);
    return most;
}

}  // namespace

std::int64_t working_bytes(const Problem& problem, const Plan& plan) {
    return mid_bytes(problem, plan) + staging_buffer(problem, plan).bytes +
           output_buffer(problem, plan).bytes + workspace_bytes(problem, plan);
}

std::int64_t distinct_input_rows(const Stage& stage, int rows) {
    return static_cast<std::int64_t>(input_row_uses(stage, rows).size());
}

bool loops_kernel_rows(const Stage& stage) noexcept { return stage.conv.kernel.h > most_unrolled; }

bool holds_kernel_row(const Stage& stage, Isa isa, int rows) {
    constexpr int many_accumulators = 8;  // two FMAs a cycle, each four cycles long
    const std::int64_t columns = stage.conv.kernel.w;
    const int least = rows <= 2 && columns <= most_unrolled ? rows : many_accumulators;
    const int held = depthwise_registers::held(isa, stage.conv.multiplier > 1);
    return vector_registers(isa) - held - depthwise_registers::loaders(isa) -
               most_uses(stage, rows) * columns >=
           least;
}

int max_depthwise_rows(const Stage& stage) noexcept {
    return loops_kernel_rows(stage) ? 1 : depthwise_registers::most_rows;
}

bool holds_row_pointers(const Stage& stage, int rows) {
    const int outputs = stage.conv.has(PostOpKind::sum) ? 2 : 1;
    return distinct_input_rows(stage, rows) + rows * outputs <= depthwise_registers::row_pointers;
}

int depthwise_vectors(const Problem& problem, const Plan& plan, int i) noexcept {
    const Stage& stage = problem.stage(i);
    const bool last = i == problem.stage_count - 1;
    const bool writes = last ? problem.output_view.layout == Layout::nhwc : !problem.stage(i + 1).depthwise();
    const bool quads = stage.depthwise() && plan.stage(i).dot == Dot::int8 && i == 0 &&
                       problem.input_view.layout == Layout::nhwc && writes &&
                       element_bytes(output_element(problem, plan, i)) == 1 &&
                       !stage.conv.has(PostOpKind::sum) && stage.out_channels >= 16 * quad_vectors;
    return quads ? quad_vectors : 1;
}

int max_depthwise_pixels(const Stage& stage, Isa isa, Dot dot, int rows, int vectors) {
    if (vectors == quad_vectors)
        return (vector_registers(isa) - depthwise_registers::quad_windows) / (rows * quad_vectors);
    if (dot == Dot::int8) {
        const int weights = most_uses(stage, rows) * static_cast<int>(window_row_vectors(stage));
        return (vector_registers(isa) - depthwise_registers::windows - weights) / rows;
    }
    const int held = depthwise_registers::held(isa, stage.conv.multiplier > 1);
    const int weights = holds_kernel_row(stage, isa, rows)
                            ? most_uses(stage, rows) * static_cast<int>(stage.conv.kernel.w)
                            : 0;
    const int beside = std::max(weights + depthwise_registers::loaders(isa), epilogue_temps);
    return (vector_registers(isa) - held - beside) / rows;
}

void set_rings(const Problem& problem, Plan& plan) noexcept {
    for (int i = 0; i + 1 < problem.stage_count; ++i)
        plan.edge(i) = row_axis(problem.stage(i + 1)).kernel > 1 ? Edge::sliding : Edge::recompute;
}

bool needs_full_width(const Problem& problem, const Plan& plan) noexcept {
    for (int i = 0; i < problem.stage_count; ++i) {
        const Stage& stage = problem.stage(i);
        const bool pads = stage.conv.kernel.w > 1 || stage.padding.left > 0 || stage.padding.right > 0;
        if (uses_amx(plan.stage(i).dot) && pads) return true;
    }
    return false;
}

Plan rules_plan(const Problem& problem, const Machine& machine, int threads) {
    Plan plan;
    plan.isa = machine.isa;
    const int lanes = vector_lanes(machine.isa, problem.layout);
    for (int i = 0; i < problem.stage_count; ++i) {
        const Stage& stage = problem.stage(i);
        const Algorithm algorithm = choose_algorithm(problem, machine.isa, i);
        const Dot dot = algorithm == Algorithm::direct ? choose_dot(problem, machine, i) : Dot::f32;
        plan.stage(i) = stage.depthwise() ? plan_depthwise(stage, machine.isa, dot, problem.input_view.layout,
                                                           i == 0 && !problem.input.factors)
                                          : plan_dense(stage, machine.isa, lanes, dot);
        plan.stage(i).algorithm = algorithm;
    }
    limit_error(problem, plan);
    take_quads(problem, plan);
    for (StagePlan& stage : plan.stages)
        stage.broadcast = default_broadcast(plan, stage);
    const Stage& last = problem.last();
    plan.tile_w = static_cast<int>(last.out_w);
    const auto budget = static_cast<std::int64_t>(machine.caches.l2);
    set_rings(problem, plan);
    plan.tile_h = problem.stage_count == 1   ? single_rows(last)
                  : problem.stage_count == 2 ? fused_rows(problem, plan)
                                             : chain_rows(problem, plan, budget);
    const auto together = static_cast<int>(rows_together(problem, plan));
    const int rows = std::max(winograd_rows(problem, plan), together);
    plan.tile_h = std::max(plan.tile_h, rows);
    constexpr int least_width = 4, least_winograd_width = 56;  // the latter: 14 tiles in a row of them
    fit_tile(problem, plan, budget, rows,
             needs_full_width(problem, plan) ? plan.tile_w
             : rows > together               ? least_winograd_width
                                             : least_width);
    plan.tile_h -= plan.tile_h % together;
    if (threads == 1) stream_weights(problem, plan, budget);
    if (together > 1) stream_products(problem, plan, budget, threads);
    plan.prefetch_next = problem.stage_count <= 2 && together == 1 && is_flat(problem, plan) &&
                         plan.tile_h < last.out_h && prefetch_pays(problem, plan, budget);
    if (threads > 1) balance(problem, plan, threads);
    return plan;
}

}  // namespace tandem
