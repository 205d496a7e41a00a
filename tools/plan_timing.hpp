// Plan timing: many plans of one layer timed against each other, interleaved, on the same data.
#pragma once

#include <vector>

#include "core/plan/plan.hpp"
#include "core/run/measure.hpp"
#include "tools/contender.hpp"

namespace tandem::tool {

/// One series a plan, in order. An error if any plan's kernel cannot be made or run. Every sample starts
/// with an untimed call, so that no plan pays for what the one before left in the caches.
Result<std::vector<Series>> time_plans(const BenchSetup& setup, const ConvChain& chain,
                                       const std::vector<Plan>& plans, double seconds);

}  // namespace tandem::tool
