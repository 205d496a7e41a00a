// Two measured machines against each other: the figures that differ, and the plans.
#pragma once

#include <string>

#include "core/cpu/report_json.hpp"

namespace tandem::tool {

/// As text. Figures count as different beyond 5 %, and beyond both spreads.
Result<std::string> compare_machines(const MeasuredMachine& a, const MeasuredMachine& b);

}  // namespace tandem::tool
