#include "tools/cpu_compare.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>

#include "tools/cpu_layers.hpp"
#include "tools/cpu_text.hpp"

namespace tandem::tool {
namespace {

constexpr double alike = 0.05;

bool differ(const Figure& a, const Figure& b) {
    const bool apart = a.low > b.high || b.low > a.high;
    return apart && std::abs(a.median - b.median) > alike * std::max(std::abs(a.median), std::abs(b.median));
}

std::string differing_figures(const CpuReport& a, const CpuReport& b) {
    std::string text;
    int same = 0, missing = 0;
    for (const ReportTable& table : a.tables) {
        for (const Reading& reading : table.readings) {
            // Times of a run's own choosing: nothing to find the other's by.
            if (table.name == "timeline") continue;
            const Reading* const other = b.reading(table.name, reading.name, reading.x, reading.threads);
            if (!other) {
                ++missing;
            } else if (!differ(reading.figure, other->figure)) {
                ++same;
            } else {
                const std::string ratio =
                    reading.figure.median > 0
                        ? fmt::format("{:.2f}x", other->figure.median / reading.figure.median)
                        : "";
                text += fmt::format("  {:<14}{:<46}{:>9}{:>4}{:>11}{:>11}{:>9}\n", table.name, reading.name,
                                    table.x.empty() ? "" : fmt::format("{:.4g}", reading.x), reading.threads,
                                    figure_text(reading.figure), figure_text(other->figure), ratio);
            }
        }
    }
    return fmt::format("figures that differ ({} do not; {} of A are not in B):\n{}", same, missing, text);
}

std::string features_of(const Machine& machine, const Machine& other) {
    std::string text;
    for (int i = 0; i < isa_feature_count; ++i) {
        const auto feature = static_cast<IsaFeature>(i);
        if (machine.features.has(feature) && !other.features.has(feature))
            text += fmt::format(" {}", to_string(feature));
    }
    return text.empty() ? " none" : text;
}

std::string cache_text(const char* name, const Machine& machine) {
    const CacheSizes& caches = machine.caches;
    return fmt::format("{}  {}; L1d {} KB, L2 {} KB, L3 {} KB over {} cores\n", name, machine.cpu_name,
                       caches.l1 / 1024, caches.l2 / 1024, caches.l3 / 1024, caches.l3_cores);
}

Result<std::string> differing_plans(const Machine& a, const Machine& b) {
    const Result<std::vector<LayerPlan>> one = layer_plans(a), other = layer_plans(b);
    if (!one) return one.error();
    if (!other) return other.error();
    std::string text;
    int changed = 0;
    for (std::size_t i = 0; i < one->size(); ++i) {
        if ((*one)[i].plan == (*other)[i].plan) continue;
        ++changed;
        text +=
            fmt::format("  {}\n    A  {}\n    B  {}\n", (*one)[i].layer, (*one)[i].plan, (*other)[i].plan);
    }
    return fmt::format("plans that change: {} of {}\n{}", changed, one->size(), text);
}

}  // namespace

Result<std::string> compare_machines(const MeasuredMachine& a, const MeasuredMachine& b) {
    std::string text = cache_text("A", a.machine) + cache_text("B", b.machine);
    text += fmt::format("features of A only:{}; of B only:{}\n", features_of(a.machine, b.machine),
                        features_of(b.machine, a.machine));
    text += differing_figures(a.report, b.report);
    const Result<std::string> plans = differing_plans(a.machine, b.machine);
    if (!plans) return plans.error();
    return text + *plans;
}

}  // namespace tandem::tool
