// Core pairs: how long a line takes from one CPU to another and back, and whether two CPUs share a core,
// which virtual machines do not tell: on one core they share its FMA units too.
#pragma once

#include <span>

#include "core/cpu/load_run.hpp"
#include "core/cpu/report.hpp"

namespace tandem {

struct CpuPair {
    int one = 0, other = 0;
    bool operator==(const CpuPair&) const = default;
};
/// All pairs where there are at most `most`; else neighbours, those that are half of all apart (how siblings
/// are usually numbered), and others spread evenly.
std::vector<CpuPair> sample_pairs(std::span<const int> cpus, std::size_t most);

/// Below this share of both CPUs' own rates two CPUs are one core's.
inline constexpr double shared_core_limit = 0.75;

/// Two tables: ns there and back, and FMAs of both at once as a share of what they do alone.
Result<std::vector<ReportTable>> time_pairs(Isa isa, std::span<const CpuPair> pairs, const CycleClock& clock,
                                            const std::function<void(double)>& progress);
std::string to_string(CpuPair pair);

}  // namespace tandem
