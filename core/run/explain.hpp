// explain(): a kernel's plan and what it means on this machine, in sentences and numbers.
#pragma once

#include <optional>
#include <string>

#include "core/plan/machine_rates.hpp"
#include "core/run/kernel_code.hpp"

namespace tandem {

/// What the model says of a kernel: pure text. `measured_seconds`: a time to set against it.
std::string explain(const KernelImpl& kernel, const MachineRates& rates,
                    std::optional<double> measured_seconds = std::nullopt);

/// The same for this machine, its rates measured (once a process; see measured_rates.hpp). A kernel that was
/// made for another: with typical rates of that.
std::string explain(const KernelImpl& kernel, std::optional<double> measured_seconds = std::nullopt);

}  // namespace tandem
