#include "core/plan/machine_rates.hpp"

#include <algorithm>
#include <cmath>

namespace tandem {
namespace {

// A level holds a working set up to this share of its size: the rest goes to what streams through it.
constexpr double usable_share = 0.75;

double lerp_at(double x, double x0, double y0, double x1, double y1) {
    return x1 > x0 ? y0 + (y1 - y0) * (x - x0) / (x1 - x0) : y0;
}

// What `value` says of the measured bodies of this form at `pixels`: between the two nearest on a line,
// beyond the last ones what these say. nullopt where there are none.
template <class Value>
std::optional<double> interpolate(const MachineRates& rates, double pixels, int vectors, bool embedded,
                                  const Value& value) {
    const DenseBodyRate *below = nullptr, *above = nullptr;
    for (const DenseBodyRate& body : rates.dense) {
        if (body.vectors != vectors || body.embedded != embedded) continue;
        if (body.pixels <= pixels && (!below || body.pixels > below->pixels)) below = &body;
        if (body.pixels >= pixels && (!above || body.pixels < above->pixels)) above = &body;
    }
    if (!below && !above) return std::nullopt;
    if (!below) return value(*above);
    if (!above) return value(*below);
    return lerp_at(pixels, below->pixels, value(*below), above->pixels, value(*above));
}

// ns of a step, of the busiest port.
double step_ports(const PortRates& port, double pixels, double vectors, bool embedded, double slowness) {
    const double whole = std::ceil(vectors), products = pixels * vectors;
    const double broadcasts = embedded ? pixels * whole * port.embedded : pixels * port.broadcast;
    const double instructions = pixels * whole + whole + (embedded ? 0 : pixels);
    return std::max({products * port.fma * slowness, whole * port.load + broadcasts,
                     instructions * port.instruction, port.fma_latency});
}

}  // namespace

const char* to_string(Level level) noexcept {
    switch (level) {
        case Level::l1: return "L1";
        case Level::l2: return "L2";
        case Level::l3: return "L3";
        case Level::dram: return "memory";
    }
    return "?";
}

PortRates ports_of(double fma, double load, double cycle) noexcept {
    return {.fma = fma,
            .narrow_fma = fma,
            .fma_latency = 4 * cycle,
            .load = load,
            .broadcast = load,
            .embedded = load,
            .store = 2 * load,
            .instruction = cycle / 5};
}

double block_call(const PortRates& port) noexcept {
    constexpr double instructions = 20;
    return instructions * port.instruction;
}

MachineRates default_rates(const Machine& machine) {
    const bool wide = is_avx512(machine.isa);
    const double lanes = wide ? 16 : 8;
    MachineRates rates;
    rates.caches = machine.caches;
    // Two FMAs and two loads a cycle at the clock of a server core that multiplies; of 512 bits, too, on all
    // but those that are known to take two cycles for them (docs/machines).
    constexpr double cycle = 1 / 3.5;
    rates.port = ports_of(cycle / 2, cycle / 2, cycle);
    const double gflops = 2 * lanes / rates.port.fma;
    for (const Dot dot : all_dots)
        rates.dot_gflops[static_cast<std::size_t>(dot)] = gflops * dot_speed(dot);
    if (machine.slow_bf16) rates.dot_gflops[static_cast<std::size_t>(Dot::bf16)] = gflops / 2;
    // As probes report them of Ice Lake and Emerald Rapids servers, and what lies between for others.
    rates.gb_per_s = wide ? std::array{350.0, 90.0, 25.0, 13.0} : std::array{200.0, 80.0, 25.0, 13.0};
    // Fitted on Zen 4, to all candidates of 33 layers.
    rates.near = {.rows = 0.01, .pixels = 0.01, .weights = 0.01, .output = 0.01};
    rates.far = {.rows = 0.65, .pixels = 0.1, .weights = 0.04, .output = 0.1};
    rates.transform = rates.port.fma;
    rates.tile_seconds = 230e-9;
    return rates;
}

MachineRates rates_of(const Machine& machine) {
    if (machine.measured) {
        const auto& found = is_avx512(machine.isa) ? machine.measured->zmm : machine.measured->ymm;
        if (found) {
            MachineRates rates = *found;
            rates.caches = machine.caches;
            return rates;
        }
    }
    return default_rates(machine);
}

std::string rates_source(const Machine& machine) {
    if (machine.measured && (is_avx512(machine.isa) ? machine.measured->zmm : machine.measured->ymm))
        return machine.measured->source;
    return "derived from the features of the CPU";
}

double dense_step(const MachineRates& rates, double pixels, double vectors, bool embedded, double slowness) {
    const double ports = step_ports(rates.port, pixels, vectors, embedded, slowness);
    const std::optional<double> slowdown = interpolate(
        rates, pixels, static_cast<int>(std::ceil(vectors)), embedded, [&](const DenseBodyRate& body) {
            return body.step / step_ports(rates.port, body.pixels, body.vectors, embedded, 1);
        });
    return ports * slowdown.value_or(1);
}

double dense_fixed(const MachineRates& rates, double pixels, int vectors, bool embedded) {
    const std::optional<double> measured =
        interpolate(rates, pixels, vectors, embedded, [](const DenseBodyRate& body) { return body.fixed; });
    if (measured) return *measured;
    return pixels * vectors * rates.port.store + block_call(rates.port);
}

bool has_depthwise_body(const MachineRates& rates, int kernel, int stride, int rows) noexcept {
    return std::ranges::any_of(rates.depthwise, [&](const DepthwiseBodyRate& body) {
        return body.kernel == kernel && body.stride == stride && body.rows == rows;
    });
}

double depthwise_slowdown(const MachineRates& rates, int kernel, int stride, int rows) {
    // From L1, depthwise blocks reach 80 to 90 % of the FMA peak wherever they were measured.
    constexpr double typical = 1.2;
    const auto distance = [&](const DepthwiseBodyRate& body) {
        return 100 * std::abs(body.stride - stride) + 10 * std::abs(body.rows - rows) +
               std::abs(body.kernel - kernel);
    };
    const auto nearest = std::ranges::min_element(rates.depthwise, {}, distance);
    return nearest == rates.depthwise.end() ? typical : nearest->output / nearest->ports;
}

double depthwise_ports(const PortRates& port, const DepthwiseBlock& block) noexcept {
    const double instructions = block.products + block.loads + block.outputs;
    // The next block begins before this one's last sum is there.
    const double overlapped_chain = block.chain / 2;
    return std::max({block.products * port.fma, block.loads * port.load, block.outputs * port.store,
                     instructions * port.instruction, overlapped_chain * port.fma_latency});
}

double machine_balance(const MachineRates& rates, Dot dot, Level level) noexcept {
    return rates.peak(dot) / rates.bandwidth(level);
}

Level level_of(double bytes, const CacheSizes& caches) noexcept {
    if (bytes <= usable_share * static_cast<double>(caches.l1)) return Level::l1;
    if (bytes <= usable_share * static_cast<double>(caches.l2)) return Level::l2;
    if (bytes <= usable_share * static_cast<double>(caches.l3)) return Level::l3;
    return Level::dram;
}

}  // namespace tandem
