#include "tools/cpu_html.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "tools/cpu_text.hpp"
#include "tools/svg_plot.hpp"

namespace tandem::tool {
namespace {

constexpr const char* head = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<title>{}</title>
<style>
body {{ font-family: sans-serif; margin: 2em; max-width: 1600px; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: 0.1em 0.7em; text-align: right; border-bottom: 1px solid #ddd; }}
th:first-child, td:first-child {{ text-align: left; font-family: monospace; }}
.doubt {{ color: #a00; }}
pre {{ background: #f6f6f6; padding: 1em; overflow-x: auto; }}
</style>
</head>
<body>
)";

/// The readings of a table as one series a name.
std::vector<PlotSeries> series_of(const ReportTable& table) {
    std::vector<PlotSeries> all;
    for (const Reading& reading : table.readings) {
        auto series = std::ranges::find(all, reading.name, &PlotSeries::name);
        if (series == all.end()) series = all.insert(all.end(), PlotSeries{reading.name});
        series->points.emplace_back(reading.x, reading.figure.median);
        series->labels.push_back(fmt::format("{} {}: {} {}{}", reading.x, table.x,
                                             figure_text(reading.figure), table.unit,
                                             reading.figure.trusted() ? "" : "; " + reading.figure.doubt));
    }
    return all;
}

std::string plot_of(const CpuReport& report, const char* name, const char* title, bool log_x, bool log_y) {
    const ReportTable* const table = report.table(name);
    if (!table) return "";
    Plot plot{title, table->x, table->unit};
    plot.log_x = log_x;
    plot.log_y = log_y;
    plot.series = series_of(*table);
    return to_svg(plot);
}

/// Of one thread: the FMAs' peak, or 0.
double fma_peak(const CpuReport& report) {
    double peak = 0;
    for (const char* const name : {"vfmadd231ps zmm, zmm, zmm", "vfmadd231ps ymm, ymm, ymm"})
        if (const Reading* const reading = report.reading("peaks", name))
            peak = std::max(peak, reading->figure.median);
    return peak;
}

std::string roofline(const CpuReport& report) {
    const ReportTable *const layers = report.table("layers"), *const bandwidth = report.table("bandwidth");
    const double peak = fma_peak(report);
    if (!bandwidth || peak <= 0) return "";
    Plot plot{"Roofline of one thread, f32, with the layers of suite paper", "FLOP/byte", "GFLOP/s"};
    plot.log_x = plot.log_y = true;
    constexpr double least = 0.1, most = 1000;
    for (const Reading& reading : bandwidth->readings) {
        const double rate = reading.figure.median;
        if (reading.threads != 1 || !reading.name.starts_with("read ") || rate <= 0) continue;
        plot.series.push_back(
            {fmt::format("{}: {} GB/s", reading.name.substr(5), figure_text(reading.figure)),
             {{least, least * rate}, {std::max(least, peak / rate), peak}, {most, peak}}});
    }
    if (layers) {
        PlotSeries dots{"layers"};
        dots.line = false;
        for (const Reading& reading : layers->readings) {
            dots.points.emplace_back(reading.x, reading.figure.median);
            dots.labels.push_back(fmt::format("{}: {} GFLOP/s, {:.0f} % of the FMAs' peak", reading.name,
                                              figure_text(reading.figure),
                                              100 * reading.figure.median / peak));
        }
        plot.series.push_back(std::move(dots));
    }
    return to_svg(plot);
}

std::string cell(const Reading* reading) {
    if (!reading) return "<td>-</td>";
    const Figure& figure = reading->figure;
    const std::string spread =
        fmt::format("quartiles {:.4g} to {:.4g}, {} rounds", figure.low, figure.high, figure.rounds);
    return fmt::format("<td title=\"{}\"{}>{}</td>",
                       escaped(figure.trusted() ? spread : spread + "; " + figure.doubt),
                       figure.trusted() ? "" : " class=\"doubt\"", figure_text(figure));
}

std::string instruction_table(const CpuReport& report) {
    const ReportTable* const table = report.table("throughput");
    if (!table) return "";
    std::string text =
        "<h2>Instructions</h2>\n<p>Cycles between two independent ones, from source to result, and the share "
        "of its time that "
        "FMAs beside it lose (1: it uses their ports, 0: others).</p>\n"
        "<table><tr><th>form</th><th>between two</th><th>latency</th><th>lost by FMAs</th></tr>\n";
    for (const Reading& reading : table->readings)
        text += fmt::format("<tr><td>{}</td>{}{}{}</tr>\n", escaped(reading.name), cell(&reading),
                            cell(report.reading("latency", reading.name)),
                            cell(report.reading("fma_share", reading.name)));
    return text + "</table>\n";
}

/// Every other table, as numbers.
std::string plain_table(const ReportTable& table) {
    std::string text =
        fmt::format("<h3>{}</h3>\n<table><tr><th>what</th><th>{}</th><th>threads</th><th>{}</th></tr>\n",
                    escaped(table.name), escaped(table.x), escaped(table.unit));
    for (const Reading& reading : table.readings)
        text += fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td>{}</tr>\n", escaped(reading.name),
                            table.x.empty() ? "" : fmt::format("{:.4g}", reading.x), reading.threads,
                            cell(&reading));
    return text + "</table>\n";
}

bool is_about_instructions(const std::string& name) {
    return name == "throughput" || name == "latency" || name == "fma_share";
}

}  // namespace

std::string cpu_page(const Machine& machine, const CpuReport& report, const std::string& text) {
    const std::string title = escaped(machine.cpu_name + ", measured by tandem cpu");
    std::string page = fmt::format(fmt::runtime(head), title) + "<h1>" + title + "</h1>\n<pre>" +
                       escaped(text) + "</pre>\n<div>\n";
    page += roofline(report);
    page += plot_of(report, "memory_latency", "Latency of a load that waits for the one before", true, true);
    page += plot_of(report, "read_by_size", "Bandwidth of reading, one thread", true, true);
    page += plot_of(report, "timeline", "The clock over the first second", false, false);
    page += plot_of(report, "footprint", "FMAs a cycle by the size of straight code", true, false);
    page += plot_of(report, "prefetch", "A dependent line from memory by the steps its prefetch is ahead",
                    false, false);
    page += "</div>\n" + instruction_table(report) + "<h2>All other figures</h2>\n";
    for (const ReportTable& table : report.tables)
        if (!is_about_instructions(table.name)) page += plain_table(table);
    return page + "</body>\n</html>\n";
}

}  // namespace tandem::tool
