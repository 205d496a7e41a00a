// Cost model: what a plan will compute, move and take, and which resource it will wait for. Pure functions.
// Formulas, constants and how well they do: docs/cost-model.md.
//
// Vocabulary. Traffic at a level: bytes that this level supplies or takes, each byte counted once a
// transfer; L1 counts what load and store instructions touch. Home of a tensor: the level that holds it
// between calls (all tensors together decide).
#pragma once

#include <array>
#include <vector>

#include "core/plan/machine_rates.hpp"
#include "core/plan/tile_geometry.hpp"

namespace tandem {

/// Bytes, by what they are for.
struct Traffic {
    double input = 0, intermediate = 0, weights = 0, output = 0;
    double total() const noexcept { return input + intermediate + weights + output; }
    Traffic operator+(const Traffic& other) const noexcept {
        return {input + other.input, intermediate + other.intermediate, weights + other.weights,
                output + other.output};
    }
};

/// What the time is spent waiting for.
enum class Resource : std::uint8_t {
    fma,     // multiply-add units
    blocks,  // loads, latency, post-ops and stores of the register blocks: everything of a core that is not
             // FMAs
    l2,
    l3,
    dram,
    tiles,  // setting tiles up
};
const char* to_string(Resource resource) noexcept;

struct CostEstimate {
    double flops = 0;         // of all threads; recomputation included, taps in the padding not
    double useful_flops = 0;  // the same without recomputation
    std::array<Traffic, level_count> bytes{};  // of all threads, by Level
    std::int64_t scratch_bytes = 0;            // the intermediate's buffer, a thread
    double seconds = 0;                        // of the busiest thread
    std::array<double, max_stages> stage_seconds{};
    double fma_seconds = 0;  // of it, what the FMAs alone would take at the peak
    Resource bound = Resource::fma;

    /// Share of the useful work done again; 0 also where tiles skip intermediate rows that a strided second
    /// stage never reads.
    double recomputation() const noexcept { return flops > useful_flops ? flops / useful_flops - 1 : 0; }
    const Traffic& at(Level level) const noexcept { return bytes[static_cast<std::size_t>(level)]; }
};

/// The plan must have passed check_plan(). `threads` >= 1: parts that run at once, each on a core of its
/// own.
CostEstimate estimate_cost(const Problem& problem, const Plan& plan, const MachineRates& rates, int threads);

struct RankedPlan {
    Plan plan{};
    CostEstimate cost{};
};
/// The plans with their costs, fastest first; equal ones keep their order.
std::vector<RankedPlan> rank_plans(const Problem& problem, const std::vector<Plan>& plans,
                                   const MachineRates& rates, int threads);

/// FLOP a byte of tensors, each counted as in Roofline::bytes.
double intensity(const Problem& problem, bool with_intermediate);

/// The floor that the machine sets: the longer of computing everything once, by the plan's dots, and of
/// moving every tensor once.
struct Roofline {
    double flops = 0;  // taps in the padding not counted
    double bytes =
        0;  // input, weights and output once; the intermediate written and read when `with_intermediate`
    Level home = Level::l1;  // where these tensors live between calls
    double seconds = 0;      // on `threads` cores
    bool compute_bound = true;
};
Roofline roofline(const Problem& problem, const Plan& plan, const MachineRates& rates, int threads,
                  bool with_intermediate);

}  // namespace tandem
