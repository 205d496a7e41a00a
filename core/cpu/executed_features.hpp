// What really executes: guests advertise features that trap, and hide some that run. Each feature's own
// instruction is executed in a child process, whose end says what came of it.
#pragma once

#include "core/cpu/report.hpp"

namespace tandem {

std::vector<ExecutedFeature> execute_features(const CpuQueries& cpu);

/// What a child that ended with `status`, as waitpid() gave it, says of what it executed.
std::string outcome_text(int status);

}  // namespace tandem
