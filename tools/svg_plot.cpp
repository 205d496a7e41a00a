#include "tools/svg_plot.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include <fmt/format.h>

namespace tandem::tool {
namespace {

constexpr double width = 760, height = 360, left = 70, right = 140, top = 34, bottom = 48;
// Okabe and Ito's colours, which the colour-blind tell apart.
constexpr const char* colours[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"};

/// From numbers to pixels.
struct Axis {
    double least = 0, most = 1, from = 0, to = 1;  // numbers, pixels
    bool log = false;
    bool has(double value) const { return !log || value > 0; }
    double at(double value) const {
        const double share =
            log ? std::log(value / least) / std::log(most / least) : (value - least) / (most - least);
        return from + (to - from) * share;
    }
};

Axis axis_of(const std::vector<double>& values, bool log, double from, double to) {
    Axis axis{std::numeric_limits<double>::max(), std::numeric_limits<double>::lowest(), from, to, log};
    for (const double value : values) {
        if (!axis.has(value)) continue;
        axis.least = std::min(axis.least, value);
        axis.most = std::max(axis.most, value);
    }
    if (log) axis.least /= 1.2, axis.most *= 1.2;
    if (!(axis.most > axis.least)) axis.most = axis.least + 1;
    return axis;
}

std::vector<double> ticks_of(const Axis& axis) {
    std::vector<double> ticks;
    if (axis.log) {
        const bool few = axis.most / axis.least < 200;
        for (double decade = std::pow(10, std::floor(std::log10(axis.least))); decade <= axis.most;
             decade *= 10)
            for (const double digit : {1.0, 2.0, 5.0})
                if (const double tick = decade * digit;
                    (few || digit == 1) && tick >= axis.least && tick <= axis.most)
                    ticks.push_back(tick);
        return ticks;
    }
    const double raw = (axis.most - axis.least) / 5, decade = std::pow(10, std::floor(std::log10(raw)));
    const double step = raw / decade < 2 ? 2 * decade : raw / decade < 5 ? 5 * decade : 10 * decade;
    for (double tick = std::ceil(axis.least / step) * step; tick <= axis.most * (1 + 1e-9); tick += step)
        ticks.push_back(tick);
    return ticks;
}

std::string tick_text(double value) {
    if (value >= 1e6) return fmt::format("{:.3g}M", value * 1e-6);
    return value >= 1e4 ? fmt::format("{:.3g}k", value * 1e-3)
                        : fmt::format("{:.4g}", std::abs(value) < 1e-12 ? 0 : value);
}

class Drawing {
public:
    explicit Drawing(const Plot& plot) : plot_(plot) {
        std::vector<double> xs, ys;
        if (!plot.log_y && plot.from_zero) ys.push_back(0);
        for (const PlotSeries& series : plot.series)
            for (const auto& [x, y] : series.points)
                xs.push_back(x), ys.push_back(y);
        x_ = axis_of(xs, plot.log_x, left, width - right);
        y_ = axis_of(ys, plot.log_y, height - bottom, top);
    }

    std::string text() {
        add("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" role=\"img\" width=\"{}\" "
            "height=\"{}\">\n",
            width, height, width, height);
        add("<title>{}</title>\n<rect width=\"{}\" height=\"{}\" fill=\"white\"/>\n", escaped(plot_.title),
            width, height);
        add("<text x=\"{}\" y=\"18\" font-size=\"14\" font-weight=\"bold\">{}</text>\n", left,
            escaped(plot_.title));
        draw_axes();
        for (std::size_t i = 0; i < plot_.series.size(); ++i)
            draw_series(plot_.series[i], colours[i % std::size(colours)]);
        draw_legend();
        return text_ + "</svg>\n";
    }

private:
    template <class... Values>
    void add(fmt::format_string<Values...> format, Values&&... values) {
        fmt::format_to(std::back_inserter(text_), format, std::forward<Values>(values)...);
    }

    void draw_axes() {
        for (const double tick : ticks_of(x_)) {
            add("<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\" stroke=\"#ddd\"/>\n", x_.at(tick),
                top, height - bottom);
            add("<text x=\"{:.1f}\" y=\"{}\" font-size=\"11\" text-anchor=\"middle\">{}</text>\n",
                x_.at(tick), height - bottom + 15, tick_text(tick));
        }
        for (const double tick : ticks_of(y_)) {
            add("<line x1=\"{1}\" x2=\"{2}\" y1=\"{0:.1f}\" y2=\"{0:.1f}\" stroke=\"#ddd\"/>\n", y_.at(tick),
                left, width - right);
            add("<text x=\"{}\" y=\"{:.1f}\" font-size=\"11\" text-anchor=\"end\">{}</text>\n", left - 5,
                y_.at(tick) + 4, tick_text(tick));
        }
        add("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#444\"/>\n", left, top,
            width - left - right, height - top - bottom);
        add("<text x=\"{}\" y=\"{}\" font-size=\"12\" text-anchor=\"middle\">{}</text>\n",
            (left + width - right) / 2, height - 10, escaped(plot_.x_label));
        add("<text transform=\"translate(16 {}) rotate(-90)\" font-size=\"12\" "
            "text-anchor=\"middle\">{}</text>\n",
            (top + height - bottom) / 2, escaped(plot_.y_label));
    }

    void draw_series(const PlotSeries& series, const char* colour) {
        std::string line;
        for (std::size_t i = 0; i < series.points.size(); ++i) {
            const auto [x, y] = series.points[i];
            if (!x_.has(x) || !y_.has(y)) continue;
            line += fmt::format("{:.1f},{:.1f} ", x_.at(x), y_.at(y));
            if (series.line && series.labels.empty()) continue;
            add("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\">", x_.at(x), y_.at(y), colour);
            if (i < series.labels.size()) add("<title>{}</title>", escaped(series.labels[i]));
            add("</circle>\n");
        }
        if (series.line && !line.empty())
            add("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.6\"/>\n", line, colour);
    }

    // To the right of the plot, where it hides nothing.
    void draw_legend() {
        double at = top + 14;
        for (std::size_t i = 0; i < plot_.series.size(); ++i) {
            if (!plot_.series[i].in_legend) continue;
            add("<rect x=\"{}\" y=\"{}\" width=\"10\" height=\"10\" fill=\"{}\"/>\n", width - right + 10,
                at - 9, colours[i % std::size(colours)]);
            add("<text x=\"{}\" y=\"{}\" font-size=\"11\">{}</text>\n", width - right + 25, at,
                escaped(plot_.series[i].name));
            at += 14;
        }
    }

    const Plot& plot_;
    Axis x_, y_;
    std::string text_;
};

}  // namespace

std::string to_svg(const Plot& plot) {
    const bool any =
        std::ranges::any_of(plot.series, [](const PlotSeries& series) { return !series.points.empty(); });
    return any ? Drawing(plot).text() : "";
}

std::string escaped(const std::string& text) {
    std::string result;
    for (const char c : text) {
        switch (c) {
            case '&': result += "&amp;"; break;
            case '<': result += "&lt;"; break;
            case '>': result += "&gt;"; break;
            case '"': result += "&quot;"; break;
            default: result += c;
        }
    }
    return result;
}

}  // namespace tandem::tool
