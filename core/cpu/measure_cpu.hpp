// The whole measurement behind `tandem cpu`: what is measured, in which order, and for how long.
#pragma once

#include <functional>
#include <string>

#include "core/cpu/report.hpp"

namespace tandem {

enum class CpuEffort : std::uint8_t {
    quick,  // peaks, bandwidths and the forms that multiply, on one thread: below a second
    brief,  // what `tandem machine` prints: the same on all cores too
    full,   // everything: below a minute
};

struct CpuOptions {
    CpuEffort effort = CpuEffort::full;
    int threads = 0;  // most that are used; 0: a pool's default
    std::function<void(double fraction, const std::string& what)> progress{};
};
/// Of this machine, for machine.isa. The calling thread is bound to one CPU for most of it.
Result<CpuReport> measure_cpu(const Machine& machine, const CpuOptions& options);

/// The report without anything measured: what CPUID and the system say, and what executes.
CpuReport describe_cpu(const CpuQueries& cpu);

}  // namespace tandem
