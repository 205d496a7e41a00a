// A CpuReport as one static page of HTML: plots as inline SVG, no scripts, nothing to be loaded.
#pragma once

#include <string>

#include "core/cpu/report.hpp"

namespace tandem::tool {

/// `text`: the report as text, which the page begins with.
std::string cpu_page(const Machine& machine, const CpuReport& report, const std::string& text);

}  // namespace tandem::tool
