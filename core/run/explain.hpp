// explain(): a kernel's plan and what it means, in sentences and numbers.
#pragma once

#include <string>

#include "core/run/kernel_code.hpp"

namespace tandem {

std::string explain(const KernelImpl& kernel);

}  // namespace tandem
