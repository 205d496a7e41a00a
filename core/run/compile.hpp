// From a problem and a machine to code: what Context::dispatch does, less its cache and the host. Nothing
// here asks the host, so any machine's code can be made anywhere.
#pragma once

#include "core/run/kernel_code.hpp"
#include "core/run/planner.hpp"

namespace tandem {

/// Emits a problem (batch 1) under the planner's choice; where wisdom's plan fails, under the rules' own.
Result<std::shared_ptr<const KernelCode>> emit_choice(const PlanChoice& choice, const Problem& problem,
                                                      const Machine& machine,
                                                      const KernelCode::Options& options);

/// Plans and emits for a machine that need not be this one. The kernel is to be looked at: its calls are
/// errors. machine.isa: as it is to be used, e.g. by least_isa().
Result<Kernel> kernel_for(const Problem& problem, const Machine& machine, int threads);

}  // namespace tandem
