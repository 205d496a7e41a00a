// What `tandem bench` found, and how it is written: a table, JSON, CSV.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/run/measure.hpp"
#include "tools/contender.hpp"

namespace tandem::tool {

/// One contender on one layer, beside Tandem's own kernel.
struct ContenderResult {
    std::string name;
    std::string problem;                   // why it is not comparable; empty if it is
    std::vector<std::string> description;  // kernels or implementations that ran
    Series series{};
    Ratio ratio{};  // its time / Tandem's
};

/// The rounds in which the probe was fast, or slow, or all of them (core/run/phases.hpp).
struct PhaseResult {
    const char* name = "only";
    int rounds = 0;
    double peak_gflops = 0;
    std::vector<Ratio> ratios;  // of LayerResult::others
};

struct LayerResult {
    Item item;
    Settings settings{};  // its own: what its text says, and else the run's
    std::string error;    // nothing was measured: why
    std::string kernel;
    bool fused = false;
    double flops = 0;
    double fused_intensity = 0,
           separate_intensity = 0;  // FLOP/byte of tensors, without and with the intermediate's traffic
    Series ours{};
    std::string peak_of;     // the instruction of the kernel's dot, as in dot_instruction()
    double peak_gflops = 0;  // its probe, taken in the same rounds
    double fma_gflops = 0;   // the probe of f32 FMAs: the same, where the dot is that
    std::vector<PhaseResult> phases;
    int dropped = 0;  // samples, the probe's and all contenders' together
    std::vector<ContenderResult> others;

    /// Too much was going on on the machine: few samples were kept, or a ratio of medians is outside its
    /// rounds' quartiles by far.
    bool disturbed() const;
    double gflops() const { return ours.median > 0 ? flops / ours.median * 1e-9 : 0; }
    double peak_fraction() const { return peak_gflops > 0 ? gflops() / peak_gflops : 0; }
};

struct BenchReport {
    BenchSetup setup{};
    std::vector<std::string> against;
    std::vector<LayerResult> layers;

    /// Geometric mean of a contender's ratios over the layers where it is comparable, and how many those
    /// are: of one suite's layers, or, with an empty name, of all.
    std::pair<double, int> geomean(const std::string& contender, const std::string& suite = {}) const;
    /// The same in the "fast" or the "slow" phase, over the layers that had both.
    std::pair<double, int> phase_geomean(const std::string& contender, const std::string& phase) const;
    /// Those that layers came from, in order.
    std::vector<std::string> suites() const;
    int dropped() const;
};

void print_header(const BenchReport& report);
/// One line, with columns as print_header() names them, and one for each contender that is not comparable.
void print_layer(const LayerResult& layer);
void print_summary(const BenchReport& report);

nlohmann::json machine_json(const Settings& settings);
nlohmann::json to_json(const BenchReport& report);
std::string to_csv(const BenchReport& report);

}  // namespace tandem::tool
