// Figures: measured numbers with what tells whether to believe them. Pure functions.
//
// A machine that others use too gives wrong numbers that look like any others: another guest's turn on the
// core, a clock that moves, a unit that is fast for seconds and slow for seconds. So every figure carries its
// spread and, where there is one, the doubt.
#pragma once

#include <string>
#include <vector>

#include "core/run/measure.hpp"

namespace tandem {

struct Figure {
    double median = 0, low = 0, high = 0;  // the quartiles
    int rounds = 0;                        // samples that count
    std::string doubt{};                   // why not to trust it; empty: there is no reason known
    bool trusted() const noexcept { return doubt.empty(); }
    bool operator==(const Figure&) const = default;
};

/// What is known of the samples besides their values.
struct Circumstances {
    int dropped = 0;   // samples during which the thread was switched out, not among the values
    double steal = 0;  // share of the CPU time that the hypervisor gave to others
    std::vector<double> before{}, after{};  // seconds a cycle, beside each value; may be empty
};

/// The figure of `values`, in the order in which they were taken.
Figure judge(const std::vector<double>& values, const Circumstances& circumstances);

/// A figure that a single number is, e.g. a count.
Figure exact_figure(double value);
/// The figure in another unit: every number times `factor`.
Figure scaled(Figure figure, double factor);
/// `factor` / every number: time to rate.
Figure inverse(Figure figure, double factor = 1);

}  // namespace tandem
