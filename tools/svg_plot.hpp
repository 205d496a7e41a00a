// SvgPlot: a diagram of lines and points as one inline SVG element, so that a page needs neither scripts nor
// other files.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace tandem::tool {

struct PlotSeries {
    std::string name;
    std::vector<std::pair<double, double>> points{};
    std::vector<std::string> labels{};  // of the points, shown under the pointer; may be empty
    bool line = true;                   // joined, else dots
    bool in_legend = true;
};

struct Plot {
    std::string title, x_label, y_label;
    bool log_x = false, log_y = false;
    bool from_zero = true;  // a linear y axis begins at 0
    std::vector<PlotSeries> series{};
};

/// Points that a logarithmic axis does not have are left out; without any point the result is empty.
std::string to_svg(const Plot& plot);
/// Text as HTML and SVG have it.
std::string escaped(const std::string& text);

}  // namespace tandem::tool
