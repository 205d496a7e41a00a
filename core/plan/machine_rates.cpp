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
    // 3.5 GHz; two 256-bit FMAs a cycle, or two 512-bit ones where they are not double-pumped. Bandwidths: middle of Zen 3, Zen 4,
    // Ice Lake and Emerald Rapids servers, as the probes report them.
    const bool wide = is_avx512(machine.isa) && !machine.fast_ymm;
    rates.gflops = wide ? 180 : 112;
    rates.gb_per_s = {wide ? 350.0 : 200.0, wide ? 90.0 : 80.0, 25, 13};
    return rates;
}

double machine_balance(const MachineRates& rates, Level level) noexcept { return rates.gflops / rates.bandwidth(level); }

Level level_of(double bytes, const CacheSizes& caches) noexcept {
    if (bytes <= usable_share * static_cast<double>(caches.l1)) return Level::l1;
    if (bytes <= usable_share * static_cast<double>(caches.l2)) return Level::l2;
    if (bytes <= usable_share * static_cast<double>(caches.l3)) return Level::l3;
    return Level::dram;
}

}  // namespace tandem
