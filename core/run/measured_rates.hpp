// MachineRates of this machine, by the probes.
#pragma once

#include "core/plan/machine_rates.hpp"

namespace tandem {

/// default_rates() with every rate measured on the calling thread: some 150 ms the first time for an ISA,
/// cached for the process. Thread-safe. Measured on a busy machine the rates are those of a busy machine.
const MachineRates& measured_rates(const Machine& machine);

}  // namespace tandem
