// What the clock does under scalar code, AVX2, AVX-512 and AMX, and what each multiply instruction reaches on
// one thread and on many.
#pragma once

#include <span>

#include "core/cpu/load_run.hpp"
#include "core/cpu/report.hpp"

namespace tandem {

/// GHz by load and threads; `counts`: how many of `cpus`, each.
Result<ReportTable> time_clock(Isa isa, std::span<const int> cpus, std::span<const int> counts,
                               const CycleClock& clock, double seconds_each);
/// GHz over the first `seconds` of each load, after a pause. On the calling thread.
Result<ReportTable> time_first_seconds(Isa isa, const CycleClock& clock, double seconds);
/// GFLOP/s or GOP/s of every multiply instruction from registers, by threads.
Result<ReportTable> time_peaks(Isa isa, std::span<const int> cpus, std::span<const int> counts,
                               const CycleClock& clock, double seconds_each);

}  // namespace tandem
