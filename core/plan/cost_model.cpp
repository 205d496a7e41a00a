#include "core/plan/cost_model.hpp"

#include <algorithm>

#include "core/plan/partition.hpp"
#include "core/plan/segments.hpp"
#include "core/plan/tile_cost.hpp"

namespace tandem {
namespace {

void add(const TileCost& tile, CostEstimate& all, TileCost& part) {
    all.flops += tile.flops;
    for (std::size_t level = 0; level < level_count; ++level)
        all.bytes[level] = all.bytes[level] + tile.bytes[level];
    part.seconds += tile.seconds;
    part.fma_seconds += tile.fma_seconds;
    for (std::size_t i = 0; i < part.stage_seconds.size(); ++i)
        part.stage_seconds[i] += tile.stage_seconds[i];
    for (std::size_t i = 0; i < resource_count; ++i)
        part.by_resource[i] += tile.by_resource[i];
}

double stage_flops(const Stage& stage) {
    const Axis y = row_axis(stage), x = column_axis(stage);
    double rows = 0, columns = 0;
    for (std::int64_t o = 0; o < stage.out_h; ++o)
        rows += static_cast<double>(y.taps(o).size());
    for (std::int64_t o = 0; o < stage.out_w; ++o)
        columns += static_cast<double>(x.taps(o).size());
    return 2.0 * static_cast<double>(stage.out_channels * (stage.depthwise() ? 1 : stage.in_channels)) *
           rows * columns;
}

double useful_flops(const Problem& problem) {
    double flops = 0;
    for (int i = 0; i < problem.stage_count; ++i)
        flops += stage_flops(problem.stage(i));
    return flops * static_cast<double>(problem.input.n);
}

// Every tensor once; the intermediate written and read.
double moved_bytes(const Problem& problem, bool with_intermediate) {
    const double input = tensor_bytes(problem.input_shape(), problem.dtype);
    const double output = tensor_bytes(problem.output_shape(problem.stage_count - 1),
                                       problem.output_dtype(problem.stage_count - 1));
    double bytes = input + output;
    for (int i = 0; i < problem.stage_count; ++i)
        bytes += static_cast<double>(element_bytes(problem.dtype) * problem.stage(i).weight_count()) +
                 tensor_bytes(problem.residual_shape(i), problem.output_dtype(i));
    for (int i = 0; i + 1 < problem.stage_count && with_intermediate; ++i)
        bytes += 2 * tensor_bytes(problem.output_shape(i), problem.output_dtype(i));
    return bytes;
}

CostEstimate estimate_images(const Problem& problem, const Plan& plan, const MachineRates& rates,
                             int threads) {
    TileCosts tiles(problem, plan, rates, threads);
    CostEstimate cost;
    cost.useful_flops = useful_flops(problem);
    cost.scratch_bytes = tiles.scratch_bytes();
    const TileGrid grid = tile_grid(problem, plan);
    const bool slides = plan.slides();
    TileCost busiest;
    for (int p = 0; p < threads; ++p) {
        const Range items = part_range(grid.count(), p, threads);
        TileCost part;
        TileIndex before;
        for (std::int64_t item = items.begin; item < items.end; ++item) {
            const TileIndex tile = tile_at(grid, item);
            const TileStart how = tile_start(tile, before, slides);
            const bool below =
                tile.n == before.n && tile.tx == before.tx && (how.reuse || tile.ty == before.ty + 1);
            add(tiles.at({tile, how, !below}), cost, part);
            before = tile;
        }
        if (part.seconds > busiest.seconds) busiest = part;
    }
    cost.seconds = busiest.seconds;
    cost.fma_seconds = busiest.fma_seconds;
    cost.stage_seconds = busiest.stage_seconds;
    const auto most = std::max_element(busiest.by_resource.begin(), busiest.by_resource.end());
    cost.bound = static_cast<Resource>(most - busiest.by_resource.begin());
    return cost;
}

// What several threads pay between two segments: they wake each other, and each reads what the others have
// written, which lies in their caches and comes by way of L3.
double join_seconds(const Segment& after, const MachineRates& rates, int threads) {
    constexpr double wake_up =
        2e-6;  // measured 0.6-0.8e-6 of threads that still spin; the rest: uneven parts
    if (threads == 1) return 0;
    const double others = 1 - 1.0 / threads, share = after.plan.channel_splits > 1 ? 1 : 1.0 / threads;
    const double bytes = tensor_bytes(after.problem.input_shape(), after.problem.dtype) * share * others;
    return wake_up + bytes / (rates.bandwidth(Level::l3) * 1e9);
}

// Segments run one after the other; what waits longest decides what the whole waits for.
CostEstimate estimate_segments(const Problem& problem, const Plan& plan, const MachineRates& rates,
                               int threads) {
    const std::vector<Segment> segments = segments_of(problem, plan);
    if (segments.size() == 1) return estimate_images(problem, plan, rates, threads);
    CostEstimate all;
    double longest = 0;
    for (const Segment& segment : segments) {
        const CostEstimate cost = estimate_images(segment.problem, segment.plan, rates, threads);
        all.flops += cost.flops;
        all.useful_flops += cost.useful_flops;
        all.seconds += cost.seconds;
        if (segment.first > 0) all.seconds += join_seconds(segment, rates, threads);
        all.fma_seconds += cost.fma_seconds;
        all.scratch_bytes = std::max(all.scratch_bytes, cost.scratch_bytes);
        for (std::size_t level = 0; level < level_count; ++level)
            all.bytes[level] = all.bytes[level] + cost.bytes[level];
        for (int i = 0; i < segment.problem.stage_count; ++i)
            all.stage_seconds[static_cast<std::size_t>(segment.first + i)] =
                cost.stage_seconds[static_cast<std::size_t>(i)];
        if (cost.seconds <= longest) continue;
        longest = cost.seconds;
        all.bound = cost.bound;
    }
    return all;
}

}  // namespace

const char* to_string(Resource resource) noexcept {
    switch (resource) {
        case Resource::fma: return "the multiply-add units";
        case Resource::blocks: return "loads, latency and stores of the register blocks";
        case Resource::l2: return "L2";
        case Resource::l3: return "L3";
        case Resource::dram: return "memory";
        case Resource::tiles: return "setting tiles up";
    }
    return "?";
}

CostEstimate estimate_cost(const Problem& all_images, const Plan& plan, const MachineRates& rates,
                           int threads) {
    // Images beyond a few a thread repeat what the others cost.
    threads = std::max(threads, 1);
    Problem problem = all_images;
    problem.input.n = std::min<std::int64_t>(all_images.input.n, std::int64_t{16} * threads);
    CostEstimate cost = estimate_segments(problem, plan, rates, threads);
    const double repeats = static_cast<double>(all_images.input.n) / static_cast<double>(problem.input.n);
    for (double* total : {&cost.flops, &cost.useful_flops, &cost.seconds, &cost.fma_seconds})
        *total *= repeats;
    for (double& seconds : cost.stage_seconds)
        seconds *= repeats;
    for (Traffic& traffic : cost.bytes)
        for (double* bytes : {&traffic.input, &traffic.intermediate, &traffic.weights, &traffic.output})
            *bytes *= repeats;
    return cost;
}
std::vector<RankedPlan> rank_plans(const Problem& problem, const std::vector<Plan>& plans,
                                   const MachineRates& rates, int threads) {
    std::vector<RankedPlan> ranked;
    for (const Plan& plan : plans)
        ranked.push_back({plan, estimate_cost(problem, plan, rates, threads)});
    std::stable_sort(ranked.begin(), ranked.end(), [](const RankedPlan& a, const RankedPlan& b) {
        return a.cost.seconds < b.cost.seconds;
    });
    return ranked;
}

double intensity(const Problem& problem, bool with_intermediate) {
    return useful_flops(problem) / moved_bytes(problem, with_intermediate);
}

Roofline roofline(const Problem& problem, const Plan& plan, const MachineRates& rates, int threads,
                  bool with_intermediate) {
    Roofline roof;
    roof.flops = useful_flops(problem);
    roof.bytes = moved_bytes(problem, with_intermediate);
    roof.home = level_of((moved_bytes(problem, false) + roof.bytes) / 2,
                         rates.caches);  // an intermediate is moved twice, but held once
    double multiplying = 0;
    for (int i = 0; i < problem.stage_count; ++i)
        multiplying += stage_flops(problem.stage(i)) * static_cast<double>(problem.input.n) /
                       (rates.peak(plan.stage(i).dot) * 1e9);
    const double moving = roof.bytes / (rates.bandwidth(roof.home) * 1e9);
    roof.compute_bound = multiplying >= moving;
    roof.seconds = std::max(multiplying, moving) / std::max(threads, 1);
    return roof;
}

}  // namespace tandem
