#include "core/run/measure.hpp"

#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <cmath>

namespace tandem {

namespace {

constexpr int min_kept_samples = 3;  // fewer say nothing about quartiles

void idle(double seconds) noexcept {
    if (seconds <= 0) return;
    timespec wanted{};
    wanted.tv_sec = static_cast<time_t>(seconds);
    wanted.tv_nsec = static_cast<long>((seconds - static_cast<double>(wanted.tv_sec)) * 1e9);
    nanosleep(&wanted, nullptr);
}

double time_calls(const std::function<void()>& function, std::int64_t calls) {
    const double start = now_seconds();
    for (std::int64_t i = 0; i < calls; ++i)
        function();
    return now_seconds() - start;
}

// Doubles the number of calls until they last a quarter of a sample, which also warms caches and branch
// predictors up.
std::int64_t choose_repetitions(const std::function<void()>& function, double sample_seconds) {
    function();
    for (std::int64_t calls = 1;; calls *= 2) {
        const double seconds = time_calls(function, calls);
        if (seconds * 4 < sample_seconds && calls < (1 << 24)) continue;
        const double wanted =
            std::ceil(sample_seconds * static_cast<double>(calls) / std::max(seconds, 1e-9));
        return std::max<std::int64_t>(1, static_cast<std::int64_t>(wanted));
    }
}

void take_sample(const std::function<void()>& function, const InterleaveOptions& options, Series& series) {
    if (options.idle_seconds > 0) {
        idle(options.idle_seconds);
        function();  // wakes this function's threads and refills its caches, untimed
    }
    if (options.before_call) options.before_call();
    const long before = involuntary_switches(options.whole_process);
    const double seconds = time_calls(function, series.repetitions);
    const bool undisturbed = involuntary_switches(options.whole_process) == before;
    series.seconds.push_back(seconds / static_cast<double>(series.repetitions));
    series.kept.push_back(undisturbed);
}

}  // namespace

double now_seconds() noexcept {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

long involuntary_switches(bool whole_process) noexcept {
    rusage usage{};
    getrusage(whole_process ? RUSAGE_SELF : RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
}

std::vector<Series> interleave(const std::vector<std::function<void()>>& functions,
                               const InterleaveOptions& options) {
    std::vector<Series> all(functions.size());
    for (std::size_t i = 0; i < functions.size(); ++i) {
        idle(options.idle_seconds);
        if (options.before_call)
            functions[i]();
        else
            all[i].repetitions = choose_repetitions(functions[i], options.sample_seconds);
    }
    const double end = now_seconds() + options.seconds;
    for (int round = 0; round < options.max_rounds; ++round) {
        if (round >= options.min_rounds && now_seconds() >= end) break;
        for (std::size_t i = 0; i < functions.size(); ++i)
            take_sample(functions[i], options, all[i]);
    }
    for (Series& series : all)
        summarise(series);
    return all;
}

void summarise(Series& series) {
    std::vector<double> values;
    for (std::size_t i = 0; i < series.seconds.size(); ++i)
        if (series.kept[i]) values.push_back(series.seconds[i]);
    series.samples = static_cast<int>(values.size());
    series.dropped = static_cast<int>(series.seconds.size()) - series.samples;
    if (series.samples < min_kept_samples) {
        series.disturbed = true;
        values = series.seconds;
    }
    series.median = quantile(values, 0.5);
    series.lower_quartile = quantile(values, 0.25);
    series.upper_quartile = quantile(values, 0.75);
    series.fastest = quantile(values, 0);
}

Ratio ratio(const Series& numerator, const Series& denominator) {
    Ratio result;
    if (denominator.median > 0) result.of_medians = numerator.median / denominator.median;
    const bool all = numerator.disturbed || denominator.disturbed;
    std::vector<double> rounds;
    for (std::size_t i = 0; i < std::min(numerator.seconds.size(), denominator.seconds.size()); ++i)
        if ((all || (numerator.kept[i] && denominator.kept[i])) && denominator.seconds[i] > 0)
            rounds.push_back(numerator.seconds[i] / denominator.seconds[i]);
    result.rounds = static_cast<int>(rounds.size());
    result.lower_quartile = quantile(rounds, 0.25);
    result.upper_quartile = quantile(rounds, 0.75);
    return result;
}

double quantile(std::vector<double> values, double fraction) {
    if (values.empty()) return 0;
    std::sort(values.begin(), values.end());
    const double position = std::clamp(fraction, 0.0, 1.0) * static_cast<double>(values.size() - 1);
    const std::size_t below = static_cast<std::size_t>(position);
    const std::size_t above = std::min(below + 1, values.size() - 1);
    return values[below] + (position - static_cast<double>(below)) * (values[above] - values[below]);
}

double geometric_mean(const std::vector<double>& values) {
    if (values.empty()) return 0;
    double sum = 0;
    for (double value : values)
        sum += std::log(value);
    return std::exp(sum / static_cast<double>(values.size()));
}

}  // namespace tandem
