// Kernel and reference differ by what f32 arithmetic loses, e. Where a tensor is rounded to a type of fewer
// bits, that is too little to see, except that it can turn the rounding of a number near the middle of two
// the other way: a flip, by one step of the type.
//
//   output        one flip: a step, which is at most 2 u |y|, u the type's unit roundoff
//   intermediate  of two stages, flips are rare: a fraction of about e / step, below 2^-7 for f16, the finest
//   type. Of the
//                 n products of an output of the second stage, two may have flipped; more, on average n /
//                 2^7, add up like sqrt(n) / 8 as their signs differ. So (2 + sqrt(n) / 8) * step * max|w|
//                 times the steepest slope of the post-ops after it. Behind further stages they are no
//                 longer rare: an error e of the typical number, a fourth of the largest, makes e / step of
//                 them flip, which has a variance of e * (e + step); five deviations of the sum of n of them.
//
// That leaves room for a rounding too few or too many: of weights, say. But then most outputs differ, while
// flips are rare: 8 % of the outputs of f16 at most, in a thousand random pairs, and usually none. So not
// more than a sixth of the outputs may differ; a kernel that does not round its weights, or truncates its
// intermediate, fails that on every second pair. Chains of more stages may differ everywhere.
#include "core/run/tolerance.hpp"

#include <algorithm>
#include <cmath>

#include "core/plan/post_op_traits.hpp"

namespace tandem {

namespace {

constexpr double relative_tolerance = 1e-5;
/// Math mode bf16, a stage: both operands of each product are off by up to 2^-8; of max|ref|, and of terms
/// that cancel.
constexpr double bf16_tolerance = 0.01;

/// Half the distance of neighbours, relative to the number.
double unit_roundoff(DataType type) noexcept {
    return type == DataType::bf16 ? 0x1p-8 : type == DataType::f16 ? 0x1p-11 : 0;
}

/// What f32 arithmetic may lose, beside 1e-5 of max|ref|: rounding of a sum of n terms of variance 1/n
/// grows like sqrt(n), however small the largest output happens to be; and the kernels' exp, tanh and erf
/// are polynomials.
double f32_tolerance(const Problem& problem) {
    double tolerance = 0;
    for (int i = 0; i < problem.stage_count; ++i) {
        const Stage& stage = problem.stage(i);
        tolerance = std::max(tolerance, 1e-7 * std::sqrt(static_cast<double>(fan_in(stage))));
        if (std::ranges::any_of(stage.conv.chain(), transcendental)) tolerance += 2e-6;
    }
    return tolerance;
}

/// Math mode f16, of max|ref|: every addition in f16 rounds a sum that grows like the square root of its
/// terms, half of them in each of two chains, so that errors do, too, on data of both signs. Measured are
/// 0.41 u sqrt(n) at most (docs/math-modes.md).
double f16_sums_tolerance(const Problem& problem) {
    double tolerance = 0;
    for (int i = 0; i < problem.stage_count && problem.math == Math::f16; ++i)
        if (!problem.stage(i).depthwise())
            tolerance +=
                unit_roundoff(DataType::f16) * std::sqrt(static_cast<double>(fan_in(problem.stage(i))));
    return tolerance;
}

double max_abs(std::span<const float> values) {
    double largest = 0;
    for (const float value : values)
        largest = std::max(largest, std::abs(static_cast<double>(value)));
    return largest;
}

double steepest_slope(const PostOp& op, const VerificationData::Weights& weights) {
    const double largest = op.kind == PostOpKind::prelu   ? max_abs(weights.prelu)
                           : op.kind == PostOpKind::scale ? max_abs(weights.scale)
                                                          : 0;
    return steepest_slope(op, largest);
}

/// In real numbers.
double largest_weight(const VerificationData::Weights& weights) {
    double largest = 0;
    for (const std::int8_t weight : weights.quantized_weights)
        largest = std::max(largest, std::abs(static_cast<double>(weight)));
    return weights.quantized_weights.empty() ? max_abs(weights.weights)
                                             : largest * max_abs(weights.weight_scales);
}

/// How a difference of 1 in some inputs of a stage, of either sign, shows in its output: the largest
/// Euclidean norm of an output channel's weights, in real numbers.
double largest_norm(const Stage& stage, const VerificationData::Weights& weights) {
    double largest = 0;
    const auto taps = static_cast<std::size_t>(fan_in(stage));
    for (std::size_t o = 0; o < static_cast<std::size_t>(stage.out_channels); ++o) {
        double squares = 0;
        for (std::size_t at = o * taps; at < (o + 1) * taps; ++at) {
            const double weight = weights.quantized_weights.empty()
                                      ? weights.weights[at]
                                      : weights.quantized_weights[at] * weights.weight_scales[o];
            squares += weight * weight;
        }
        largest = std::max(largest, std::sqrt(squares));
    }
    return largest;
}

/// What flips in the intermediates come to in the output, in real numbers.
double flip_tolerance(const Problem& problem, const VerificationData& data, const Magnitudes& magnitudes) {
    double error = 0;  // of the largest in the tensor between two stages, before it is rounded
    for (int i = 1; i < problem.stage_count; ++i) {
        const auto at = static_cast<std::size_t>(i);
        const auto& weights = data.stages[at];
        const double step = problem.quantized() ? data.input_of(i).scale
                                                : 2 * unit_roundoff(problem.output_dtype(i - 1)) *
                                                      magnitudes.intermediates[at - 1];
        const double slope = steepest_slope(problem.stage(i).conv.chain(), weights);
        const double products = static_cast<double>(fan_in(problem.stage(i)));
        const double rare = (2 + std::sqrt(products) / 8) * step * largest_weight(weights);
        const double typical = error / 4;
        const double common =
            error == 0 ? 0
                       : 5 * std::sqrt(typical * (typical + step)) * largest_norm(problem.stage(i), weights);
        error = (rare + common) * slope;
    }
    return error;
}

}  // namespace

double steepest_slope(std::span<const PostOp> post_ops, const VerificationData::Weights& weights) {
    double slope = 1;
    for (const PostOp& op : post_ops)
        slope *= steepest_slope(op, weights);
    return slope;
}

bool rounds_intermediates(const Problem& problem, const VerificationData& data) noexcept {
    return problem.stage_count > 1 && problem.output_dtype(0) != DataType::f32 && !data.exact_intermediate;
}

std::size_t most_different(const Problem& problem, std::size_t count) noexcept {
    constexpr std::size_t few = 16;  // which says nothing of a small tensor
    const bool hides_differences = problem.output_dtype(problem.stage_count - 1) != DataType::f32 &&
                                   problem.math != Math::f16 && problem.stage_count <= 2;
    return hides_differences ? few + count / 6 : count;
}

Tolerance tolerance_of(const Problem& problem, const VerificationData& data, const Magnitudes& magnitudes) {
    const DataType type = problem.output_dtype(problem.stage_count - 1);
    const double flips = rounds_intermediates(problem, data) ? flip_tolerance(problem, data, magnitudes) : 0;
    if (is_quantized(type))
        return {1 + std::floor(flips /
                               data.stages[static_cast<std::size_t>(problem.stage_count - 1)].output.scale),
                0};
    const double u = unit_roundoff(type);
    if (problem.math == Math::bf16)
        return {bf16_tolerance * std::max(2, problem.stage_count) * std::max(1.0, magnitudes.output), 0};
    const double sums = f16_sums_tolerance(problem) * std::max(1.0, magnitudes.output);
    return {(relative_tolerance * magnitudes.output + f32_tolerance(problem) + flips + sums) / (1 - u),
            2 * u / (1 - u)};
}

double rough_agreement(const Problem& problem) noexcept {
    switch (problem.dtype) {
        case DataType::f32: return problem.math == Math::bf16 ? 1.0 / 16 : 1e-3;
        case DataType::f16: return problem.math == Math::f16 ? 1.0 / 16 : 1.0 / 128;
        case DataType::bf16:
        case DataType::u8:
        case DataType::s8: return 1.0 / 16;
    }
    return 0;
}

}  // namespace tandem
