// explain(): a kernel's plan and what it means on this machine, in sentences and numbers.
#pragma once

#include <optional>
#include <string>

#include "core/plan/machine_rates.hpp"
#include "core/run/kernel_code.hpp"

namespace tandem {

/// What the model says of a kernel, with what is known of `machine`: pure text. `measured_seconds`: a time to
/// set against it.
std::string explain(const KernelImpl& kernel, const Machine& machine,
                    std::optional<double> measured_seconds = std::nullopt);

/// The same of the machine that the kernel was planned for.
std::string explain(const KernelImpl& kernel, std::optional<double> measured_seconds = std::nullopt);

}  // namespace tandem
