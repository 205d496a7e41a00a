#include "core/run/profile_measurement.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "core/plan/cost_model.hpp"
#include "core/plan/eternal.hpp"
#include "core/plan/tiling.hpp"
#include "core/run/body_timing.hpp"
#include "core/plan/fork_hook.hpp"
#include "core/run/probes.hpp"
#include "core/run/wisdom.hpp"

namespace tandem {
namespace {

TurnMutex measuring;  // two at once would measure each other

constexpr std::size_t largest_probe = std::size_t{1} << 27;  // 128 MB: filling it takes 50 ms

// What does not come from kernels: the best of all passes.
struct Probes {
    std::array<double, all_dots.size()> dot_gflops{};
    double narrow_gflops = 0;  // of f32 FMAs on half of the registers' width
    double cycle = 0;          // seconds; 0: not known
    std::array<double, level_count> gb_per_s{};
};

void probe(const Machine& machine, Probes& probes) {
    const auto keep_best = [](double& best, double found) {
        best = std::max(best, found);
    };
    for (const Dot dot : all_dots)
        if (has_dot(machine.isa, dot))
            keep_best(probes.dot_gflops[static_cast<std::size_t>(dot)], dot_peak_gflops(dot, machine.isa));
    if (is_avx512(machine.isa)) keep_best(probes.narrow_gflops, dot_peak_gflops(Dot::f32, Isa::avx2));
    const double cycle = cycle_seconds();
    probes.cycle = probes.cycle > 0 ? std::min(probes.cycle, cycle) : cycle;
    const CacheSizes& caches = machine.caches;
    const std::size_t bytes[level_count] = {caches.l1 / 2, caches.l2 / 2,
                                            std::min(caches.l2 * 4, caches.l3 / 2),
                                            std::min(largest_probe, std::max(caches.l3, caches.l2) * 3)};
    for (std::size_t i = 0; i < level_count; ++i)
        keep_best(probes.gb_per_s[i], read_bandwidth(machine.isa, bytes[i]));
}

// A probe that failed (no memory, no permission) leaves what is typical; a further level is not faster than
// a nearer one.
void take(const Probes& probes, MachineRates& rates) {
    for (std::size_t i = 0; i < all_dots.size(); ++i)
        if (probes.dot_gflops[i] > 0) rates.dot_gflops[i] = probes.dot_gflops[i];
    for (std::size_t i = 0; i < level_count; ++i) {
        if (probes.gb_per_s[i] > 0) rates.gb_per_s[i] = probes.gb_per_s[i];
        if (i > 0) rates.gb_per_s[i] = std::min(rates.gb_per_s[i], rates.gb_per_s[i - 1]);
    }
}

void derive_ports(const Machine& machine, const Probes& probes, MachineRates& rates) {
    const double lanes = is_avx512(machine.isa) ? 16 : 8;
    const double fma = 2 * lanes / rates.gflops();
    const double cycle = probes.cycle > 0 ? probes.cycle * 1e9 : 2 * fma;  // where it is not known: two FMAs
    rates.port = ports_of(fma, 4 * lanes / rates.bandwidth(Level::l1), cycle);
    if (probes.narrow_gflops > 0)
        rates.port.narrow_fma = std::min(rates.port.fma, lanes / probes.narrow_gflops);
}

std::int64_t channels_for(double bytes, double pixels) {
    return std::max<std::int64_t>(16, static_cast<std::int64_t>(bytes / (4 * pixels)) / 16 * 16);
}

// A kernel whose time shows one of the model's numbers.
struct Calibration {
    std::string text;
    double* number;
    double most;  // between 0 and which the number is sought: the model's time is linear in it
    std::function<void(const Problem&, Plan&)> change{};
};

void calibrate(KernelClock& clock, MachineRates& rates, const Calibration& calibration) {
    Problem problem;
    Plan plan;
    const std::optional<double> measured =
        clock.seconds(calibration.text, [&](const Problem& of, Plan& rules) {
            if (calibration.change) calibration.change(of, rules);
            problem = of;
            plan = rules;
        });
    if (!measured) return;
    const auto predicted = [&](double value) {
        *calibration.number = value;
        return estimate_cost(problem, plan, rates, 1).seconds;
    };
    const double none = predicted(0), all = predicted(calibration.most);
    *calibration.number =
        all > none ? calibration.most * std::clamp((*measured - none) / (all - none), 0.0, 1.0) : 0;
}

void calibrate_all(KernelClock& clock, MachineRates& rates) {
    const Machine& machine = clock.machine();
    const double l2 = static_cast<double>(machine.caches.l2);
    const std::string layout = is_avx512(machine.isa) ? "nchw16c/strict" : "nchw8c/strict";
    const auto square = [](double bytes) {
        return static_cast<std::int64_t>(std::sqrt(bytes / 4)) / 16 * 16;
    };
    const auto whole = [](const Problem& problem, Plan& plan) {
        plan.tile_h = static_cast<int>(problem.last().out_h);
        plan.stage(0).block_channels = 0;
    };
    const auto small_tiles = [](const Problem&, Plan& plan) {
        plan.tile_h = 1;
        plan.tile_w = 14;
        plan.edges.fill(Edge::recompute);
        plan.prefetch_next = false;
    };
    const std::int64_t near_square = square(0.4 * l2), far_square = square(4 * l2);
    const Calibration all[] = {
        {fmt::format("1x16x56x56:dw3:conv1o16/{}", layout), &rates.tile_seconds, 2e-6, small_tiles},
        // Outputs that leave L1, and L2; weights, pixels and rows from further and further out: each where
        // moving takes about as long as computing.
        {fmt::format("1x16x28x28:conv1o{}/{}", channels_for(0.3 * l2, 28 * 28), layout), &rates.near.output,
         1, whole},
        {fmt::format("1x16x112x112:conv1o{}/{}", channels_for(3 * l2, 112 * 112), layout), &rates.far.output,
         1, whole},
        {fmt::format("1x{0}x1x7:conv1o{0}/{1}", near_square, layout), &rates.near.weights, 1, whole},
        {fmt::format("1x{0}x1x28:conv1o{0}/{1}", far_square, layout), &rates.far.weights, 1, whole},
        {fmt::format("1x{}x28x28:conv1o16/{}", channels_for(0.3 * l2, 28 * 28), layout), &rates.near.pixels,
         1, whole},
        {fmt::format("1x256x56x56:conv1o32/{}", layout), &rates.far.pixels, 1},
        {fmt::format("1x{}x28x28:dw3/{}", channels_for(0.2 * l2, 28 * 28), layout), &rates.near.rows, 1,
         whole},
        {fmt::format("1x{}x56x56:dw3/{}", channels_for(2 * l2, 56 * 56), layout), &rates.far.rows, 1, whole},
        {fmt::format("1x64x28x28:conv3o64/{}/fast", layout.substr(0, layout.find('/'))), &rates.transform, 3,
         whole},
    };
    for (const Calibration& calibration : all)
        calibrate(clock, rates, calibration);
}

MachineRates rates_by(KernelClock& clock, const Probes& probes) {
    const Machine& machine = clock.machine();
    MachineRates rates = default_rates(machine);
    take(probes, rates);
    derive_ports(machine, probes, rates);
    const double call = call_ns(clock, rates.port);
    rates.dense = time_dense_bodies(clock, call);
    rates.depthwise = time_depthwise_bodies(clock, rates.port, call);
    calibrate_all(clock, rates);
    rates.measured = true;
    return rates;
}

}  // namespace

MachineRates measure_rates(const Machine& machine, int passes) {
    // Kernels that multiply by f32 FMAs: other dots stand in a known relation to these.
    KernelClock clock(machine_with(machine, machine.isa & Isa::avx512));
    Probes probes;
    probe(machine, probes);
    static_cast<void>(rates_by(clock, probes));  // makes and times the kernels
    for (int pass = 1; pass < passes; ++pass) {
        clock.again();
        probe(machine, probes);
    }
    return rates_by(clock, probes);
}

MeasuredRates measure_machine(const Machine& machine, int passes, Widths widths) {
    MeasuredRates rates;
    rates.source = "measured " + utc_date();
    const bool wide = is_avx512(machine.isa);
    if (wide) rates.zmm = measure_rates(machine, passes);
    if (!wide || widths == Widths::all) rates.ymm = measure_rates(machine_with(machine, Isa::avx2), passes);
    return rates;
}

std::shared_ptr<const MeasuredRates> measured_host() {
    static constinit Eternal<const std::shared_ptr<const MeasuredRates>> rates;
    if (const auto* const measured = rates.find()) return *measured;
    const std::lock_guard lock(measuring);
    return rates.get([] {
        const Result<Machine> host = host_machine();
        return host ? std::make_shared<const MeasuredRates>(measure_machine(*host, 1)) : nullptr;
    });
}

}  // namespace tandem
