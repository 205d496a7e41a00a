#include "core/run/reference_chain.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>

#include "core/plan/arithmetic.hpp"

namespace tandem {

namespace {

std::size_t as_index(std::int64_t value) { return static_cast<std::size_t>(value); }

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double hsigmoid(double x) { return std::clamp(x + 3, 0.0, 6.0) / 6; }

/// x * gate, whose limit at -inf is 0 where the gate's is.
double gated(double x, double gate) { return gate == 0 ? 0 : x * gate; }

}  // namespace

double activate(const PostOp& op, double x) {
    constexpr double sqrt_2_over_pi = std::numbers::sqrt2 * std::numbers::inv_sqrtpi;
    switch (op.kind) {
        case PostOpKind::relu: return std::max(x, 0.0);
        case PostOpKind::relu6: return std::clamp(x, 0.0, 6.0);
        case PostOpKind::leaky: return x < 0 ? op.alpha * x : x;
        case PostOpKind::clip: return std::clamp<double>(x, op.alpha, op.beta);
        case PostOpKind::sigmoid: return sigmoid(x);
        case PostOpKind::tanh: return std::tanh(x);
        case PostOpKind::swish: return gated(x, sigmoid(x));
        case PostOpKind::hsigmoid: return hsigmoid(x);
        case PostOpKind::hswish: return gated(x, hsigmoid(x));
        case PostOpKind::elu: return x < 0 ? op.alpha * std::expm1(x) : x;
        case PostOpKind::gelu_erf: return gated(x, (1 + std::erf(x / std::numbers::sqrt2)) / 2);
        case PostOpKind::gelu_tanh:
            return gated(x, (1 + std::tanh(sqrt_2_over_pi * (x + 0.044715 * x * x * x))) / 2);
        case PostOpKind::mish: return gated(x, std::tanh(std::log1p(std::exp(x))));
        case PostOpKind::bias:
        case PostOpKind::prelu:
        case PostOpKind::scale:
        case PostOpKind::sum: break;
    }
    return x;
}

namespace {

/// Applies one post-op to all channels of a pixel; `residual` is the residual tensor's pixel.
void apply(const PostOp& op, const StageWeights& params, const double* residual, std::span<double> pixel) {
    switch (op.kind) {
        case PostOpKind::bias:
            for (std::size_t o = 0; o < pixel.size(); ++o)
                pixel[o] += params.bias[o];
            return;
        case PostOpKind::prelu:
            for (std::size_t o = 0; o < pixel.size(); ++o)
                pixel[o] *= pixel[o] < 0 ? params.prelu[o] : 1.0;
            return;
        case PostOpKind::scale:
            for (std::size_t o = 0; o < pixel.size(); ++o)
                pixel[o] *= params.scale[o];
            return;
        case PostOpKind::sum:
            for (std::size_t o = 0; o < as_index(op.channels); ++o)
                pixel[o] += residual[o];
            return;
        default:
            for (double& value : pixel)
                value = activate(op, value);
    }
}

// --- quantised stages: every operation rounds to f32, in the order in which generated code does them
// -----------------------

constexpr float sixth = 1.0f / 6;

/// As activate(). What has no exact value is rounded from double.
float activate_f32(const PostOp& op, float x) {
    switch (op.kind) {
        case PostOpKind::relu: return std::max(x, 0.0f);
        case PostOpKind::relu6: return std::clamp(x, 0.0f, 6.0f);
        case PostOpKind::leaky: return x < 0 ? op.alpha * x : x;
        case PostOpKind::clip: return std::clamp(x, op.alpha, op.beta);
        case PostOpKind::hsigmoid: return std::clamp(x + 3.0f, 0.0f, 6.0f) * sixth;
        case PostOpKind::hswish: {
            const float floored = std::max(x, -3.0f);
            return floored * (std::min(floored + 3.0f, 6.0f) * sixth);
        }
        default: return static_cast<float>(activate(op, x));
    }
}

/// The chain of one channel of a quantised stage.
class QuantizedChannel {
public:
    QuantizedChannel(const Problem& problem, int i, const StageWeights& params, std::size_t channel)
        : conv_(problem.stage(i).conv), dtype_(problem.output_dtype(i)), params_(params), channel_(channel) {}

    /// From the sum of (input - zero point) * weight to what is stored. `residual`: the stored number; null
    /// where it has no such channel.
    double finish(double sum, const double* residual) const {
        const auto chain = conv_.chain();
        const bool starts_with_bias = !chain.empty() && chain.front().kind == PostOpKind::bias;
        const float factor = params_.input.scale * params_.weight_scales[channel_],
                    integer = static_cast<float>(sum);
        float x = starts_with_bias ? std::fma(integer, factor, params_.bias[channel_]) : integer * factor;
        for (const PostOp& op : chain.subspan(starts_with_bias ? 1 : 0))
            x = apply(op, x, residual);
        return is_quantized(dtype_) ? quantized(x) : x;
    }

private:
    float apply(const PostOp& op, float x, const double* residual) const {
        switch (op.kind) {
            case PostOpKind::bias: return x + params_.bias[channel_];
            case PostOpKind::scale: return x * params_.scale[channel_];
            case PostOpKind::prelu: return x < 0 ? params_.prelu[channel_] * x : x;
            case PostOpKind::sum: return residual ? added(x, static_cast<float>(*residual)) : x;
            default: return activate_f32(op, x);
        }
    }

    float added(float x, float residual) const {
        if (!is_quantized(dtype_)) return x + residual;
        return std::fma(residual - static_cast<float>(params_.residual.zero_point), params_.residual.scale,
                        x);
    }

    // A NaN becomes the lowest number that a closing clamp lets through.
    float quantized(float x) const {
        if (const std::optional<Clamp> clamp = final_clamp(conv_); clamp && std::isnan(x)) x = clamp->low;
        const float stored =
            std::fma(x, 1.0f / params_.output.scale, static_cast<float>(params_.output.zero_point));
        return rounded(dtype_, std::isnan(stored) ? -HUGE_VALF : stored);
    }

    const Conv& conv_;
    DataType dtype_;
    const StageWeights& params_;
    std::size_t channel_;
};

}  // namespace

void finish_pixel(const Problem& problem, int i, const StageWeights& params, const double* residual,
                  std::span<double> pixel) {
    const Stage& stage = problem.stage(i);
    if (problem.quantized()) {
        for (std::size_t o = 0; o < pixel.size(); ++o)
            pixel[o] =
                QuantizedChannel(problem, i, params, o)
                    .finish(pixel[o], o < as_index(stage.residual_channels()) ? residual + o : nullptr);
        return;
    }
    for (const PostOp& op : stage.conv.chain())
        apply(op, params, residual, pixel);
    if (problem.output_dtype(i) == DataType::f32) return;
    for (double& value : pixel)
        value = rounded(problem.output_dtype(i), static_cast<float>(value));
}

}  // namespace tandem
