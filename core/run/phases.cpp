#include "core/run/phases.hpp"

#include <algorithm>

namespace tandem {
namespace {

constexpr double least_ratio = 1.2;  // of the two medians: what a clock does by itself is less
constexpr double least_gap = 0.5;  // between the groups' nearer tenths, of the distance of their medians: one
                                   // broad group cut in two has 0.2
constexpr std::size_t least_rounds = 5;
constexpr double least_share = 0.05;  // of the rounds: fewer are outliers

// How many of the sorted values are in the lower group of two: those with the least squares around their
// means. In one dimension the best groups are neighbours, so that every cut can be tried; by sums up to it,
// since all squares together are the same for every cut.
std::size_t best_cut(const std::vector<double>& sorted) {
    double all = 0;
    for (const double value : sorted)
        all += value;
    double below = 0, most = -1;
    std::size_t best = 0;
    for (std::size_t cut = 1; cut < sorted.size(); ++cut) {
        below += sorted[cut - 1];
        const double lower = static_cast<double>(cut), upper = static_cast<double>(sorted.size() - cut);
        const double distance = below / lower - (all - below) / upper,
                     between = lower * upper * distance * distance;
        if (between > most) {
            most = between;
            best = cut;
        }
    }
    return best;
}

// The least rate of the fast phase; 0: there is one phase. Rates, because however long a sample takes, its
// rate is not far below the others'.
double fast_limit(std::vector<double> rates) {
    std::sort(rates.begin(), rates.end());
    const std::size_t cut = best_cut(rates), smallest = std::min(cut, rates.size() - cut);
    if (smallest < least_rounds ||
        static_cast<double>(smallest) < least_share * static_cast<double>(rates.size()))
        return 0;
    const auto middle = rates.begin() + static_cast<std::ptrdiff_t>(cut);
    const std::vector<double> slow(rates.begin(), middle), fast(middle, rates.end());
    const double distance = quantile(fast, 0.5) - quantile(slow, 0.5),
                 gap = quantile(fast, 0.1) - quantile(slow, 0.9);
    const bool apart = quantile(fast, 0.5) > least_ratio * quantile(slow, 0.5) && gap > least_gap * distance;
    return apart ? *middle : 0;
}

template <class Belongs>
Phase phase_of(const Series& probe, const Belongs& belongs) {
    Phase phase;
    std::vector<double> seconds;
    for (std::size_t i = 0; i < probe.seconds.size(); ++i) {
        phase.rounds.push_back(belongs(i));
        if (phase.rounds.back()) seconds.push_back(probe.seconds[i]);
    }
    phase.count = static_cast<int>(seconds.size());
    phase.seconds = quantile(seconds, 0.5);
    return phase;
}

}  // namespace

std::vector<Phase> split_phases(const Series& probe) {
    std::vector<double> rates;
    for (std::size_t i = 0; i < probe.seconds.size(); ++i)
        if (probe.kept[i]) rates.push_back(1 / probe.seconds[i]);
    const double limit = fast_limit(rates);
    if (limit == 0) {
        Phase all = phase_of(probe, [](std::size_t) { return true; });
        all.seconds = probe.median;
        return {all};
    }
    return {phase_of(probe, [&](std::size_t i) { return probe.kept[i] && 1 / probe.seconds[i] >= limit; }),
            phase_of(probe, [&](std::size_t i) { return probe.kept[i] && 1 / probe.seconds[i] < limit; })};
}

Series during(const Phase& phase, const Series& series) {
    Series part;
    part.repetitions = series.repetitions;
    for (std::size_t i = 0; i < std::min(phase.rounds.size(), series.seconds.size()); ++i) {
        if (!phase.rounds[i]) continue;
        part.seconds.push_back(series.seconds[i]);
        part.kept.push_back(series.kept[i]);
    }
    summarise(part);
    return part;
}

}  // namespace tandem
