// The part of explain() that says how dense stages multiply, and why.
#pragma once

#include <string>

#include "core/plan/machine_rates.hpp"
#include "core/run/kernel_code.hpp"

namespace tandem {

/// For each dense stage: algorithm and dot, who chose them, what else the math mode allows with the time
/// that the cost model expects of it; and the error bound of the kernel.
std::string arithmetic_lines(const KernelImpl& kernel, const MachineRates& rates);

}  // namespace tandem
