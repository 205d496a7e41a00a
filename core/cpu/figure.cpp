#include "core/cpu/figure.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/run/phases.hpp"

namespace tandem {
namespace {

// What a quiet machine shows between two looks at the same loop is below half a per cent; a turbo step of a
// server is 2 to 3 %.
constexpr double clock_change = 0.03, halves_differ = 0.03, wide_spread = 0.08;
constexpr double much_steal = 0.01;
constexpr int fewest_rounds = 3;

double relative(double a, double b) { return std::abs(a / b - 1); }

std::string about_phases(const std::vector<double>& values) {
    Series series;
    series.seconds = values;
    series.kept.assign(values.size(), 1);
    summarise(series);
    const std::vector<Phase> phases = split_phases(series);
    if (phases.size() < 2) return "";
    return fmt::format("two phases, {:.2f}x apart, in {} and {} rounds",
                       phases[1].seconds / phases[0].seconds, phases[0].count, phases[1].count);
}

std::string about_clock(const Circumstances& seen) {
    std::vector<double> changes;
    for (std::size_t i = 0; i < std::min(seen.before.size(), seen.after.size()); ++i)
        changes.push_back(relative(seen.after[i], seen.before[i]));
    const double change = quantile(changes, 0.5);
    return change > clock_change ? fmt::format("the clock changed by {:.0f} % during samples", change * 100)
                                 : "";
}

std::string about_halves(const std::vector<double>& values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    const double first = quantile({values.begin(), middle}, 0.5),
                 second = quantile({middle, values.end()}, 0.5);
    if (values.size() < 2 * fewest_rounds || relative(second, first) <= halves_differ) return "";
    return fmt::format("the halves of the rounds are {:.0f} % apart", relative(second, first) * 100);
}

std::string doubt_of(const std::vector<double>& values, const Figure& figure, const Circumstances& seen) {
    if (figure.rounds < fewest_rounds)
        return fmt::format("{} undisturbed rounds, {} dropped", figure.rounds, seen.dropped);
    if (seen.dropped > figure.rounds)
        return fmt::format("switched out in {} of {} rounds", seen.dropped, seen.dropped + figure.rounds);
    if (seen.steal > much_steal) return fmt::format("{:.0f} % of the time was stolen", seen.steal * 100);
    for (const std::string& doubt : {about_phases(values), about_clock(seen), about_halves(values)})
        if (!doubt.empty()) return doubt;
    const double spread = (figure.high - figure.low) / figure.median;
    return spread > wide_spread ? fmt::format("quartiles {:.0f} % apart", spread * 100) : "";
}

}  // namespace

Figure judge(const std::vector<double>& values, const Circumstances& circumstances) {
    Figure figure{.median = quantile(values, 0.5),
                  .low = quantile(values, 0.25),
                  .high = quantile(values, 0.75),
                  .rounds = static_cast<int>(values.size())};
    figure.doubt = doubt_of(values, figure, circumstances);
    return figure;
}

Figure exact_figure(double value) { return {.median = value, .low = value, .high = value, .rounds = 1}; }

Figure scaled(Figure figure, double factor) {
    figure.median *= factor, figure.low *= factor, figure.high *= factor;
    return figure;
}

Figure inverse(Figure figure, double factor) {
    const auto of = [&](double value) {
        return value > 0 ? factor / value : 0;
    };
    return {of(figure.median), of(figure.high), of(figure.low), figure.rounds, std::move(figure.doubt)};
}

}  // namespace tandem
