#include "tools/cpu_text.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/cpu/core_pairs.hpp"
#include "core/plan/isa_text.hpp"

namespace tandem::tool {
namespace {

constexpr std::size_t most_doubts = 6;

std::string number_text(double value) {
    const double size = std::abs(value);
    return size >= 1000  ? fmt::format("{:.0f}", value)
           : size >= 100 ? fmt::format("{:.1f}", value)
                         : fmt::format("{:.2f}", value);
}

std::string features_text(const CpuReport& report) {
    std::vector<std::string> running, other;
    for (const ExecutedFeature& feature : report.features) {
        const bool runs = feature.outcome == "runs";
        if (feature.advertised && runs)
            running.push_back(feature.name);
        else if (runs)
            other.push_back(feature.name + " runs without being advertised");
        else if (feature.advertised)
            other.push_back(fmt::format("{} is advertised: {}", feature.name, feature.outcome));
    }
    std::string text = fmt::format("executed    {}\n", fmt::join(running, ", "));
    for (const std::string& line : other)
        text += fmt::format("            {}\n", line);
    return text;
}

/// The readings of a table by name, in their order, each with the numbers of threads.
std::vector<std::pair<std::string, std::vector<const Reading*>>> by_name(const ReportTable& table) {
    std::vector<std::pair<std::string, std::vector<const Reading*>>> groups;
    for (const Reading& reading : table.readings) {
        auto group = std::ranges::find(groups, reading.name, [](const auto& g) { return g.first; });
        if (group == groups.end()) group = groups.insert(groups.end(), {reading.name, {}});
        group->second.push_back(&reading);
    }
    return groups;
}

std::string threads_text(const std::vector<const Reading*>& readings, const std::string& unit) {
    std::string text;
    for (const Reading* const reading : readings)
        text += reading->threads == 1
                    ? fmt::format("{} {}, one thread", figure_text(reading->figure), unit)
                    : fmt::format(", {} with {}", figure_text(reading->figure), reading->threads);
    return text;
}

/// Reads a line a level, and under each what writes and copies do.
std::string bandwidths_text(const CpuReport& report) {
    const ReportTable* const table = report.table("bandwidth");
    if (!table) return "";
    const auto groups = by_name(*table);
    std::string text;
    for (const auto& [name, readings] : groups) {
        if (!name.starts_with("read ")) continue;
        const std::string level = name.substr(name.find(' ') + 1);
        text += fmt::format("{:<11} {}; each reading {:.0f} KB\n", level, threads_text(readings, "GB/s"),
                            readings.front()->x);
        std::vector<std::string> others;
        for (const auto& [other, figures] : groups)
            if (other == "write " + level || other == "copy " + level)
                others.push_back(other.substr(0, other.find(' ')) + " " + threads_text(figures, "GB/s"));
        if (!others.empty()) text += fmt::format("            {}\n", fmt::join(others, "; "));
    }
    return text;
}

const char* peak_unit(const std::string& name) {
    static constexpr const char* integer[] = {"vpdpb", "vpmadd", "tdpbu"};
    const bool sums_integers =
        std::ranges::any_of(integer, [&](const char* start) { return name.starts_with(start); });
    return sums_integers ? "GOP/s" : "GFLOP/s";
}

bool shown(const std::string& name) {
    static const std::set<std::string> words{
        "vfmadd231ps", "vdpbf16ps", "vpdpbusd",   "vfmadd231ph", "vpmaddwd+vpaddd", "vbroadcastss",
        "vmovups",     "vpermps",   "vpermb",     "vmaxps",      "vaddps",          "vcvtneps2bf16",
        "vcvtph2ps",   "tileloadd", "tilestored", "tdpbf16ps",   "tdpbusd",         "prefetcht0"};
    return words.contains(name.substr(0, name.find(' ')));
}

// The inner loops' instructions, at the widest registers; all of them are in the file and on the page.
std::string instructions_text(const CpuReport& report) {
    const ReportTable* const throughput = report.table("throughput");
    if (!throughput) return "";
    const bool wide = report.reading("throughput", "vfmadd231ps zmm, zmm, zmm") != nullptr;
    std::string text =
        fmt::format("{:<44}{:>12}{:>10}{:>16}\n", "cycles", "between two", "latency", "ports of FMAs");
    for (const Reading& reading : throughput->readings) {
        const bool narrow =
            reading.name.find("zmm") == std::string::npos && reading.name.find("ymm") != std::string::npos;
        if (!shown(reading.name) || (wide && narrow)) continue;
        const Reading* const latency = report.reading("latency", reading.name);
        const Reading* const share = report.reading("fma_share", reading.name);
        text += fmt::format("  {:<42}{:>12}{:>10}{:>16}\n", reading.name, figure_text(reading.figure),
                            latency ? figure_text(latency->figure) : "-",
                            share ? fmt::format("{:.0f} %", share->figure.median * 100) : "-");
    }
    return text;
}

/// A table in one paragraph: "heading  x: figure, x: figure ... unit".
std::string paragraph(const CpuReport& report, const std::string& name, const std::string& heading,
                      std::size_t every = 1) {
    const ReportTable* const table = report.table(name);
    if (!table) return "";
    std::string text;
    for (const auto& [series, readings] : by_name(*table)) {
        std::vector<std::string> parts;
        for (std::size_t i = 0; i < readings.size(); i += every) {
            const Reading& reading = *readings[i];
            const std::string x = table->x.empty() ? fmt::format("{} thread{}", reading.threads,
                                                                 reading.threads == 1 ? "" : "s")
                                                   : number_text(reading.x);
            parts.push_back(fmt::format("{} {}", table->x.empty() ? x : fmt::format("{:.0f}:", reading.x),
                                        figure_text(reading.figure)));
        }
        text +=
            fmt::format("{}{}: {}\n", text.empty() ? fmt::format("{:<12}", heading) : std::string(12, ' '),
                        series, fmt::join(parts, "  "));
    }
    const std::string unit = table->x.empty() ? table->unit : fmt::format("{} by {}", table->unit, table->x);
    return unit.empty() ? text : text + fmt::format("{:12}({})\n", "", unit);
}

/// One line a reading.
std::string list(const CpuReport& report, const std::string& name, const std::string& heading) {
    const ReportTable* const table = report.table(name);
    if (!table) return "";
    std::string text;
    for (const Reading& reading : table->readings)
        text += fmt::format("{:<12}{:<48}{:>10} {}\n", text.empty() ? heading : "", reading.name,
                            figure_text(reading.figure), table->unit);
    return text;
}

/// The steps ahead from which on a prefetch hides memory: within a tenth of the best.
std::string prefetch_text(const CpuReport& report) {
    const ReportTable* const table = report.table("prefetch");
    if (!table || table->readings.empty()) return "";
    double best = table->readings.front().figure.median;
    for (const Reading& reading : table->readings)
        best = std::min(best, reading.figure.median);
    for (const Reading& reading : table->readings)
        if (reading.figure.median <= best * 1.1)
            return fmt::format("{:<12}{:.0f} steps ahead hide memory: {} ns a line in place of {}\n",
                               "prefetch", reading.x, figure_text(reading.figure),
                               figure_text(table->readings.front().figure));
    return "";
}

std::string pairs_text(const CpuReport& report) {
    const ReportTable *const trips = report.table("core_to_core"), *const shares = report.table("contention");
    if (!trips || !shares || trips->readings.empty()) return "";
    std::vector<double> ns;
    std::vector<std::string> siblings;
    for (const Reading& reading : trips->readings)
        ns.push_back(reading.figure.median);
    for (const Reading& reading : shares->readings)
        if (reading.figure.median < shared_core_limit) siblings.push_back(reading.name);
    return fmt::format(
        "{:<12}{} measured: {} to {} ns for a line there and back; sharing a core's FMAs: {}\n", "CPU pairs",
        ns.size(), number_text(quantile(ns, 0)), number_text(quantile(ns, 1)),
        siblings.empty() ? "none" : fmt::format("{}", fmt::join(siblings, ", ")));
}

std::string layers_text(const CpuReport& report) {
    const ReportTable* const table = report.table("layers");
    if (!table || table->readings.empty()) return "";
    std::vector<double> rates;
    for (const Reading& reading : table->readings)
        rates.push_back(reading.figure.median);
    return fmt::format("{:<12}suite paper, {} layers, one thread: {} to {} GFLOP/s, geometric mean {}\n",
                       "layers", rates.size(), number_text(quantile(rates, 0)),
                       number_text(quantile(rates, 1)), number_text(geometric_mean(rates)));
}

std::string doubts_text(const CpuReport& report) {
    std::size_t all = 0, doubtful = 0;
    std::string text;
    for (const ReportTable& table : report.tables) {
        for (const Reading& reading : table.readings) {
            ++all;
            if (reading.figure.trusted()) continue;
            if (++doubtful > most_doubts) continue;
            text += fmt::format("  {} {}{}: {}\n", table.name, reading.name,
                                reading.x > 0 ? fmt::format(" {:.0f}", reading.x) : "", reading.figure.doubt);
        }
    }
    if (doubtful == 0) return fmt::format("trust       all {} figures\n", all);
    if (doubtful > most_doubts)
        text += fmt::format("  and {} more, in the file of --json\n", doubtful - most_doubts);
    return fmt::format("trust       {} of {} figures are in doubt, which a ? marks\n{}", doubtful, all, text);
}

}  // namespace

std::string figure_text(const Figure& figure) {
    return number_text(figure.median) + (figure.trusted() ? "" : "?");
}

std::string identity_text(const Machine& machine, const CpuReport& report, const std::string& placement) {
    const CpuIdentity& id = machine.identity;
    std::string text =
        fmt::format("CPU         {}; {} family {} model {} stepping {}; {}\n", machine.cpu_name, id.vendor,
                    id.family, id.model, id.stepping,
                    report.hypervisor.empty() ? "no hypervisor" : "hypervisor " + report.hypervisor);
    text += fmt::format("ISAs        {}; generating for {}\n", list_of(isas_of(machine.features)),
                        to_string(machine.isa));
    text += features_text(report);
    text += fmt::format(
        "            XCR0 {:#x}; AMX {}{}\n", report.xcr0, report.amx,
        report.palettes.empty() ? ", no palette" : fmt::format(", {}", fmt::join(report.palettes, ", ")));
    if (machine.slow_bf16)
        text += "            vdpbf16ps multiplies at half the rate of f32 FMAs, which are used instead\n";
    text += fmt::format("caches      L1i {} KB, L1d {} KB, L2 {} KB a core, L3 {} KB over {} cores\n",
                        report.l1_instructions / 1024, machine.caches.l1 / 1024, machine.caches.l2 / 1024,
                        machine.caches.l3 / 1024, machine.caches.l3_cores);
    if (!machine.core_kind.empty())
        text += fmt::format(
            "hybrid      cores of kind '{}'; another kind's: taskset -c $(cat "
            "/sys/devices/cpu_{}/cpus) tandem cpu\n",
            machine.core_kind, machine.core_kind == "core" ? "atom" : "core");
    return text + placement;
}

std::string peaks_text(const Machine& machine, const CpuReport& report) {
    std::string text;
    if (const ReportTable* const table = report.table("peaks")) {
        const std::string fma = is_avx512(machine.isa) ? "vfmadd231ps zmm" : "vfmadd231ps ymm";
        for (const auto& [name, readings] : by_name(*table))
            text += fmt::format("{:<11} {}; {}\n", name.starts_with(fma) ? "FMA peak" : "peak",
                                threads_text(readings, peak_unit(name)), name);
    }
    return text + bandwidths_text(report);
}

std::string details_text(const CpuReport& report) {
    std::string text = instructions_text(report);
    text += list(report, "front_end", "front end");
    text += paragraph(report, "footprint", "code", 2);
    text += list(report, "accesses", "accesses");
    text += paragraph(report, "tile_loads", "tileloadd");
    text += paragraph(report, "clock", "clock");
    text += paragraph(report, "timeline", "1st second", 6);
    text += paragraph(report, "memory_latency", "latency", 2);
    text += prefetch_text(report);
    text += pairs_text(report);
    text += list(report, "runtime", "runtime");
    text += layers_text(report);
    return text + doubts_text(report) +
           fmt::format("measured    {} in {:.1f} s\n", report.date, report.seconds);
}

}  // namespace tandem::tool
