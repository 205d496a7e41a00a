// Profiles of CPUs that Tandem has met: docs/machines/*.json, compiled in.
#pragma once

#include <memory>
#include <vector>

#include "core/plan/machine_rates.hpp"

namespace tandem {

/// All of them, in the order of their files' names.
const std::vector<Machine>& known_machines();

/// The rates of a known machine of the same vendor, family and model, else of one of the same family with the
/// same features, L1 and L2: cores of one design, most likely. Of hybrid processors the same kind of core.
/// Null where there is none.
std::shared_ptr<const MeasuredRates> known_rates(const Machine& machine);

}  // namespace tandem
