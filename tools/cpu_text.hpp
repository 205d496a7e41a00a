// A CpuReport as text: what `tandem machine` and `tandem cpu` print.
#pragma once

#include <string>

#include "core/cpu/report.hpp"

namespace tandem::tool {

/// Who the CPU is and what it runs. `placement`: lines on where a pool's workers go, or nothing.
std::string identity_text(const Machine& machine, const CpuReport& report, const std::string& placement);
/// Peaks and bandwidths of one thread and of all.
std::string peaks_text(const Machine& machine, const CpuReport& report);
/// The rest of a full report, about a page, and which figures are in doubt.
std::string details_text(const CpuReport& report);

/// A number with its unit's usual digits, and a ? behind one that is not to be trusted.
std::string figure_text(const Figure& figure);

}  // namespace tandem::tool
