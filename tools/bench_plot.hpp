// tandem bench --plot: one picture of a report. Above, the machine's roofline with every layer on it;
// below, how much longer each contender takes, layer by layer.
//
// Roofline: S. Williams, A. Waterman, D. Patterson: Roofline, CACM 52 (2009). A layer's FLOP/byte counts
// every tensor once, and the intermediate written and read where it goes through memory: fusing moves a
// layer to the right.
#pragma once

#include <array>
#include <string>

#include "core/plan/machine_rates.hpp"
#include "tools/bench_report.hpp"

namespace tandem::tool {

/// What the machine can do at best, on as many threads as the report.
struct Roofs {
    std::string peak_of = "FMA";
    double gflops = 0;
    std::array<double, level_count> gb_per_s{};  // reading from each level
};
Roofs measure_roofs(const BenchSetup& setup);

/// Ok if `path` has an ending that can be drawn and gnuplot is there. To be asked before anything is
/// measured.
Status check_plot(const std::string& path);
Status draw_plot(const BenchReport& report, const Roofs& roofs, const std::string& path);

}  // namespace tandem::tool
