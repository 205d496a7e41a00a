#include "core/run/body_timing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "core/plan/register_budget.hpp"
#include "core/plan/tiling.hpp"
#include "core/run/plan_timer.hpp"

namespace tandem {
namespace {

// Long and many enough for 1 % where nothing disturbs, and short enough for all bodies to take 0.2 s.
constexpr TimingRequest patience{.seconds = 0, .min_rounds = 7, .sample_seconds = 60e-6};

struct Shape {
    int vectors, pixels;
};
// Blocks that plans have, full and left over; the model interpolates between them.
constexpr Shape zmm_shapes[] = {{1, 28}, {1, 21}, {1, 14}, {1, 7}, {1, 4}, {1, 2}, {1, 1}, {2, 14}, {2, 12},
                                {2, 10}, {2, 7},  {2, 4},  {2, 2}, {2, 1}, {3, 9}, {3, 6}, {3, 3},  {4, 7},
                                {4, 6},  {4, 4},  {4, 2},  {5, 5}, {5, 3}, {6, 4}, {6, 3}, {6, 2}};
constexpr Shape ymm_shapes[] = {{1, 12}, {1, 8}, {1, 4}, {1, 2}, {1, 1}, {2, 6}, {2, 4},
                                {2, 2},  {2, 1}, {3, 4}, {3, 2}, {4, 3}, {4, 2}, {6, 2}};

const char* layout_of(Isa isa) { return is_avx512(isa) ? "nchw16c" : "nchw8c"; }

// Blocks of one shape that lie in L1 together with their weights and outputs.
std::optional<double> time_blocks(KernelClock& clock, Shape shape, bool embedded, int channels, int blocks) {
    const int lanes = is_avx512(clock.machine().isa) ? 16 : 8;
    const std::string text = fmt::format("1x{}x1x{}:conv1o{}/{}/strict", channels, blocks * shape.pixels,
                                         lanes * shape.vectors, layout_of(clock.machine().isa));
    return clock.seconds(text, [&](const Problem& problem, Plan& plan) {
        StagePlan& stage = plan.stage(0);
        stage.block_pixels = shape.pixels;
        stage.block_vectors = shape.vectors;
        stage.block_channels = 0;
        const bool chosen =
            can_embed_broadcast(plan.isa, stage.dot);  // else registers it is, which plans call embedded
        stage.broadcast = embedded || !chosen ? Broadcast::embedded : Broadcast::registers;
        plan.tile_h = static_cast<int>(problem.last().out_h);
    });
}

}  // namespace

std::optional<double> KernelClock::seconds(const std::string& text, const Change& change) {
    const Result<ConvChain> chain = ConvChain::parse(text);
    const Result<Problem> problem = chain ? make_problem(*chain) : Result<Problem>(chain.error());
    if (!problem) return std::nullopt;
    Plan plan = rules_plan(*problem, machine_, 1);
    if (change) change(*problem, plan);
    const auto [at, fresh] = kernels_.try_emplace(text + " " + to_string(plan));
    Timed& kernel = at->second;
    if (fresh && check_plan(*problem, plan)) {
        kernel.plan = plan;
        if (Result<PlanTimer> timer = PlanTimer::create(*problem, 1))
            kernel.timer = std::make_unique<PlanTimer>(std::move(*timer));
        time(kernel);
    }
    return kernel.timer ? std::optional<double>(kernel.seconds) : std::nullopt;
}

void KernelClock::time(Timed& kernel) {
    if (!kernel.timer) return;
    const std::vector<Result<Series>> series =
        kernel.timer->time(std::span<const Plan>(&kernel.plan, 1), patience);
    if (!series.front()) return kernel.timer.reset();
    const double fastest = series.front()->fastest;
    kernel.seconds = kernel.seconds > 0 ? std::min(kernel.seconds, fastest) : fastest;
}

void KernelClock::again() {
    for (auto& [name, kernel] : kernels_)
        time(kernel);
}

double call_ns(KernelClock& clock, const PortRates& port) {
    constexpr int channels = 16;
    const std::optional<double> seconds = time_blocks(clock, {1, 1}, false, channels, 1);
    return seconds ? std::max(0.0, *seconds * 1e9 - channels * port.fma_latency) : 0;
}

std::vector<DenseBodyRate> time_dense_bodies(KernelClock& clock, double call_ns) {
    constexpr int few = 16, many = 64, pixels_at_once = 56;
    std::vector<DenseBodyRate> bodies;
    const std::span<const Shape> shapes =
        is_avx512(clock.machine().isa) ? std::span<const Shape>(zmm_shapes) : ymm_shapes;
    for (const Shape& shape : shapes) {
        for (const bool embedded : {true, false}) {
            if (embedded && !can_embed_broadcast(clock.machine().isa, Dot::f32)) continue;
            const int blocks = pixels_at_once / shape.pixels;
            const std::optional<double> longer = time_blocks(clock, shape, embedded, many, blocks),
                                        shorter = time_blocks(clock, shape, embedded, few, blocks);
            if (!longer || !shorter) continue;
            const double step = (*longer - *shorter) * 1e9 / blocks / (many - few);
            const double fixed = (*shorter * 1e9 - call_ns) / blocks - few * step;
            if (step > 0)
                bodies.push_back({shape.vectors, shape.pixels, embedded, step, std::max(fixed, 0.0)});
        }
    }
    return bodies;
}

std::vector<DepthwiseBodyRate> time_depthwise_bodies(KernelClock& clock, const PortRates& port,
                                                     double call_ns) {
    const Isa isa = clock.machine().isa;
    const int lanes = is_avx512(isa) ? 16 : 8, channels = 2 * lanes;
    std::vector<DepthwiseBodyRate> bodies;
    for (const int kernel : {3, 5}) {
        for (const int stride : {1, 2}) {
            for (const int rows : {1, 2, 3, 4}) {
                const int columns = 28 / stride;
                DepthwiseBlock block;
                const auto extent = [&](int outputs) {
                    return (outputs - 1) * stride + kernel;
                };
                const std::optional<double> seconds = clock.seconds(
                    fmt::format("1x{}x{}x{}:dw{}s{}p0/{}/strict", channels, extent(rows), extent(columns),
                                kernel, stride, layout_of(isa)),
                    [&](const Problem& problem, Plan& plan) {
                        plan.stage(0).block_rows = rows;
                        plan.stage(0).block_pixels =
                            max_depthwise_pixels(problem.stage(0), plan.isa, Dot::f32, rows);
                        plan.tile_h = rows;
                        const double w = columns, blocks = std::ceil(w / plan.stage(0).block_pixels);
                        const double columns_read = (w - blocks) * stride + blocks * kernel;
                        block = {.products = w * rows * kernel * kernel,
                                 .loads = extent(rows) * columns_read + blocks * rows * kernel * kernel,
                                 .outputs = w * rows,
                                 .chain = blocks * kernel * kernel};
                    });
                if (!seconds) continue;
                const double outputs = columns * rows, ports = depthwise_ports(port, block) / outputs;
                const double measured = (*seconds * 1e9 - call_ns) / 2 / outputs;
                bodies.push_back({kernel, stride, rows, std::max(measured, ports), ports});
            }
        }
    }
    return bodies;
}

}  // namespace tandem
