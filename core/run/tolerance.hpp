// How far a kernel's output may be from the reference's on data that is not exact. docs/math-modes.md has
// the reasons.
#pragma once

#include <array>
#include <span>

#include "core/plan/problem.hpp"
#include "core/run/verification_data.hpp"

namespace tandem {

/// |y - ref| <= absolute + relative |ref|, in the units of the output tensor: steps where that is
/// quantised.
struct Tolerance {
    double absolute = 0, relative = 0;
};

/// Largest absolute values of the reference.
struct Magnitudes {
    double output = 0;  // of the output, or of what a post-op then bounds, if that is more
    std::array<double, max_stages> intermediates{};  // of each stage before the last, where they are rounded
};

/// What these post-ops may make of a small difference in their operand.
double steepest_slope(std::span<const PostOp> post_ops, const VerificationData::Weights& weights);

/// Whether last bits of sums of a stage before the last can turn into whole steps of its output's data type.
bool rounds_intermediates(const Problem& problem, const VerificationData& data) noexcept;

/// Of so many outputs, how many may differ from the reference at all.
std::size_t most_different(const Problem& problem, std::size_t count) noexcept;

Tolerance tolerance_of(const Problem& problem, const VerificationData& data, const Magnitudes& magnitudes);

/// How far two implementations' outputs for a problem may be apart, of the largest: far above what rounding
/// comes to, in whatever order they scale and add, far below what a wrong result comes to. Where tensors
/// are rounded, a few steps of their type.
double rough_agreement(const Problem& problem) noexcept;

}  // namespace tandem
