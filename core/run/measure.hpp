// Measuring: several functions timed against each other, A B C A B C ..., so that a slow moment of the
// machine hits all alike.
//
// Vocabulary: a sample is one timed stretch of `repetitions` calls of one function, about half a
// millisecond long; a round is one sample of every function. A sample during which the scheduler took a
// core away is dropped and counted: on a busy machine one such slice (4 ms and more) is worth dozens of
// samples. It does not: flush caches (each function is measured with the data it left there itself, unless
// `before_call` does something about that), pin threads, or set frequencies.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace tandem {

/// CLOCK_MONOTONIC in seconds.
double now_seconds() noexcept;
/// How often the scheduler took a core away from this thread, or from all of the process.
long involuntary_switches(bool whole_process) noexcept;

struct InterleaveOptions {
    double seconds = 0.5;            // time to spend, all functions together; warm-up comes on top
    double sample_seconds = 0.4e-3;  // a sample lasts at least about this long
    int min_rounds = 5;              // even if that takes longer than `seconds`
    int max_rounds = 2000;
    double idle_seconds =
        0;  // slept before each sample, so that another runtime's spinning threads can go to sleep
    std::function<void()> before_call{};  // untimed; samples are of one call then
    bool whole_process =
        false;  // drop a sample if any thread of the process was switched out, not just this one
};

/// The samples of one function. Times are seconds per call.
struct Series {
    double median = 0, lower_quartile = 0, upper_quartile = 0, fastest = 0;
    int samples = 0;               // kept
    int dropped = 0;               // switched out while being timed
    bool disturbed = false;        // too few samples were kept, so the statistics are over all of them
    std::int64_t repetitions = 1;  // calls in a sample
    std::vector<double> seconds;   // one a round, dropped ones included
    std::vector<char> kept;        // one a round
};

/// Fills in the statistics of `seconds` and `kept`.
void summarise(Series& series);

/// Times every function in turn until `options.seconds` have passed. The functions must not throw.
std::vector<Series> interleave(const std::vector<std::function<void()>>& functions,
                               const InterleaveOptions& options = {});

/// How much longer `numerator` takes than `denominator`.
struct Ratio {
    double of_medians = 0;
    double lower_quartile = 0,
           upper_quartile = 0;  // of the ratio within one round, over rounds where both samples were kept
    int rounds = 0;
};
Ratio ratio(const Series& numerator, const Series& denominator);

/// Value at `fraction` (0 to 1) of the sorted values, interpolated; 0 of nothing.
double quantile(std::vector<double> values, double fraction);
/// exp(mean(log)); 0 of nothing. All values must be positive.
double geometric_mean(const std::vector<double>& values);

}  // namespace tandem
