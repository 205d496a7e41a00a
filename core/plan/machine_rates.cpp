#include "core/plan/machine_rates.hpp"

namespace tandem {
namespace {

// A level holds a working set up to this share of its size: the rest goes to what streams through it.
constexpr double usable_share = 0.75;

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

MachineRates default_rates(const Machine& machine) noexcept {
    MachineRates rates;
    rates.caches = machine.caches;
    rates.fast_ymm = machine.fast_ymm;
    rates.slow_bf16 = machine.slow_bf16;
    // 3.5 GHz; two 256-bit FMAs a cycle, or two 512-bit ones where they are not double-pumped. Bandwidths
    // as the probes report
    // them: Ice Lake and Emerald Rapids servers, Zen 4 (whose L3 belongs to eight cores), and what lies
    // between for the others.
    const bool wide = is_avx512(machine.isa) && !machine.fast_ymm;
    rates.gflops = wide ? 180 : 112;
    for (const Dot dot : all_dots)
        rates.dot_gflops[static_cast<std::size_t>(dot)] = rates.gflops * dot_speed(dot);
    if (machine.slow_bf16) rates.dot_gflops[static_cast<std::size_t>(Dot::bf16)] = rates.gflops / 2;
    if (wide)
        rates.gb_per_s = {350, 90, 25, 13};
    else if (machine.fast_ymm)
        rates.gb_per_s = {200, 110, 80, 15};
    else
        rates.gb_per_s = {200, 80, 25, 13};
    // Fitted on Zen 4, whose 512-bit instructions take two slots each; full blocks were as good as any on
    // Emerald Rapids.
    if (machine.fast_ymm) rates.hidden_accumulators = 13;
    return rates;
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
