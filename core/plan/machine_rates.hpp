// MachineRates: how fast one core is, as a plain value. The cost model turns work into time with it.
// default_rates() derives them from what a machine's features say; a profile (core/run/profile_measurement.*)
// has them measured with the emitter's own kernels.
//
// Vocabulary. Step: one dot group of every pixel of a dense block times its vectors of weights. Port: a
// resource that executes so many instructions a second whatever they are for.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/plan/arithmetic.hpp"

namespace tandem {

/// Where bytes come from or go to.
enum class Level : std::uint8_t { l1, l2, l3, dram };
inline constexpr std::size_t level_count = 4;
const char* to_string(Level level) noexcept;

/// One instruction of many independent ones on full vectors, in ns, at the clock that the core has under
/// such a load.
struct PortRates {
    double fma = 0;
    double narrow_fma = 0;   // on vectors of half the width
    double fma_latency = 0;  // of one that depends on another
    double load = 0;         // from L1
    double broadcast = 0;    // of a number in L1 to a register
    double embedded = 0;     // what a FMA with an embedded broadcast takes of the load ports
    double store = 0;
    double instruction = 0;  // whatever it is: the front end
    bool operator==(const PortRates&) const = default;
};

/// A dense block as measured, its operands in L1.
struct DenseBodyRate {
    int vectors = 0, pixels = 0;
    bool embedded = false;  // broadcasts, as embeds_broadcast() has it (register_budget.hpp)
    double step = 0;        // ns, by f32 FMAs
    double fixed = 0;       // ns: start, stores and call
    bool operator==(const DenseBodyRate&) const = default;
};

/// A depthwise block as measured, its operands in L1.
struct DepthwiseBodyRate {
    int kernel = 0, stride = 0, rows = 0;
    double output = 0;  // ns an output vector
    double ports = 0;   // the same, of the busiest port
    bool operator==(const DepthwiseBodyRate&) const = default;
};

/// Shares of the shorter of computing and moving that do not overlap, by what is moved.
struct ExposedShares {
    double rows = 0;     // read by depthwise blocks, and by transforms: many short streams
    double pixels = 0;   // read by dense blocks, again for every group of vectors
    double weights = 0;  // a panel is read from end to end
    double output = 0;   // what is written
    bool operator==(const ExposedShares&) const = default;
};

struct MachineRates {
    PortRates port{};
    std::array<double, all_dots.size()>
        dot_gflops{};  // multiplications and additions of each dot, by Dot; those of AMX in effective f32
                       // operations for x3 and x6
    std::array<double, level_count> gb_per_s{};  // one core reading from each level, GB/s (1e9 bytes)
    ExposedShares near{}, far{};                 // of L2; of L3 and memory
    double transform = 0;                        // ns of a vector instruction of Winograd's transforms
    double tile_seconds = 0;                     // row tables, the call, cold branches
    std::vector<DenseBodyRate> dense{};          // by vectors, form and pixels; empty: not measured
    std::vector<DepthwiseBodyRate> depthwise{};
    CacheSizes caches{};
    bool measured = false;  // on this kind of machine, by its own kernels

    /// f32 FMAs of one core, GFLOP/s: a multiplication and an addition count as two.
    double gflops() const noexcept { return peak(Dot::f32); }
    double peak(Dot dot) const noexcept { return dot_gflops[static_cast<std::size_t>(dot)]; }
    double bandwidth(Level level) const noexcept { return gb_per_s[static_cast<std::size_t>(level)]; }
    bool operator==(const MachineRates&) const = default;
};

/// What was measured of a machine: with registers of each width that it has.
struct MeasuredRates {
    std::optional<MachineRates> ymm{}, zmm{};
    std::string source{};  // where they are from, for explain(): "measured 2026-11-28 by tandem cpu"
    bool operator==(const MeasuredRates&) const = default;
};

/// What follows from three numbers on every core that was ever measured: a store takes two loads' time, a
/// FMA's latency is four cycles, five instructions start in one. Broadcasts count as loads: where their forms
/// differ, measured blocks show it. All in ns.
PortRates ports_of(double fma, double load, double cycle) noexcept;
/// ns of calling a block: its arguments, and what returns.
double block_call(const PortRates& port) noexcept;

/// Rates that a server core with these features typically has; sizes are the machine's own.
MachineRates default_rates(const Machine& machine);

/// What is known of the machine: measured rates for its ISA's registers, else default_rates().
MachineRates rates_of(const Machine& machine);
/// And from where, without a full stop.
std::string rates_source(const Machine& machine);

/// ns of a step of a dense block: as measured, between and beyond what was measured by the ports that limit
/// it. `vectors` may count a half-empty vector by what it costs; `slowness`: of the dot's instruction against
/// a FMA.
double dense_step(const MachineRates& rates, double pixels, double vectors, bool embedded, double slowness);
/// ns to start a block's accumulators, to store them, and of the call.
double dense_fixed(const MachineRates& rates, double pixels, int vectors, bool embedded);
/// A depthwise block of these rows was measured.
bool has_depthwise_body(const MachineRates& rates, int kernel, int stride, int rows) noexcept;
/// How much longer than its busiest port takes the depthwise block that is nearest to this one.
double depthwise_slowdown(const MachineRates& rates, int kernel, int stride, int rows);

/// What a depthwise block asks of the ports.
struct DepthwiseBlock {
    double products = 0, loads = 0, outputs = 0;  // vector instructions; outputs are stored
    double chain = 0;                             // products of an output, one after the other
};
/// ns of the busiest port.
double depthwise_ports(const PortRates& port, const DepthwiseBlock& block) noexcept;

/// FLOP/byte from which on one core is limited by the units that execute `dot` rather than by `level`.
double machine_balance(const MachineRates& rates, Dot dot, Level level) noexcept;

/// The nearest level that holds `bytes` beside the other things that pass through it. L3 counts whole.
Level level_of(double bytes, const CacheSizes& caches) noexcept;

}  // namespace tandem
