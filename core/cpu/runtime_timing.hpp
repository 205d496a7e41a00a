// Runtime timing: what Tandem itself costs here: starting and joining a pool's parts, getting a kernel,
// emitting one.
#pragma once

#include "core/cpu/report.hpp"

namespace tandem {

/// Microseconds of each, and MB/s of emitted code.
Result<ReportTable> time_runtime(int threads);

}  // namespace tandem
