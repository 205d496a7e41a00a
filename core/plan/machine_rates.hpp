// MachineRates: what one core can do at best, as a plain value. The cost model turns work into time with
// it. default_rates() guesses from the ISA; core/run/measured_rates.* replaces the guesses by what the
// probes find here.
#pragma once

#include <array>
#include <cstdint>

#include "core/plan/arithmetic.hpp"

namespace tandem {

/// Where bytes come from or go to.
enum class Level : std::uint8_t { l1, l2, l3, dram };
inline constexpr std::size_t level_count = 4;
const char* to_string(Level level) noexcept;

struct MachineRates {
    double gflops = 0;  // f32 FMAs of one core, GFLOP/s; a multiplication and an addition count as two
    std::array<double, all_dots.size()>
        dot_gflops{};  // the same of each dot, by Dot; those of AMX in effective f32 operations for x3 and x6
    std::array<double, level_count> gb_per_s{};  // one core reading from each level, GB/s (1e9 bytes)
    // Accumulators of a register block whose start, post-ops and stores the core's reordering hides behind
    // the neighbouring blocks' FMAs.
    double hidden_accumulators = 28;
    CacheSizes caches{};
    bool fast_ymm = false, slow_bf16 = false;  // see Machine
    bool measured = false;                     // by the probes, on this machine

    double peak(Dot dot) const noexcept { return dot_gflops[static_cast<std::size_t>(dot)]; }
    double bandwidth(Level level) const noexcept { return gb_per_s[static_cast<std::size_t>(level)]; }
    bool operator==(const MachineRates&) const = default;
};

/// Typical rates of a server core with this ISA; sizes are the machine's own.
MachineRates default_rates(const Machine& machine) noexcept;

/// FLOP/byte from which on one core is limited by the units that execute `dot` rather than by `level`.
double machine_balance(const MachineRates& rates, Dot dot, Level level) noexcept;

/// The nearest level that holds `bytes` beside the other things that pass through it. L3 counts whole.
Level level_of(double bytes, const CacheSizes& caches) noexcept;

}  // namespace tandem
