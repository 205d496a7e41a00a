// Every tensor is held as NHWC doubles and every weight tensor as [h][w][in][out], so that the innermost loop runs over
// contiguous output channels; taps in the padding are skipped. The intermediate of a pair is not rounded to float.
#include "tandem/reference.hpp"

#include <algorithm>
#include <cmath>
#include <new>
#include <numbers>

#include <fmt/format.h>

#include "core/plan/problem.hpp"

namespace tandem {

namespace {

using Tensor = std::vector<double>;  // NHWC

std::size_t as_index(std::int64_t value) { return static_cast<std::size_t>(value); }

/// Calls visit(index in NHWC, index in `layout`) for every element that is not padding.
template <class Visit>
void for_each_element(const TensorShape& shape, Layout layout, Visit visit) {
    std::size_t nhwc = 0;
    for (std::int64_t n = 0; n < shape.n; ++n)
        for (std::int64_t y = 0; y < shape.h; ++y)
            for (std::int64_t x = 0; x < shape.w; ++x)
                for (std::int64_t c = 0; c < shape.c; ++c) visit(nhwc++, as_index(element_index(shape, layout, n, c, y, x)));
}

Tensor to_nhwc(std::span<const float> values, const TensorShape& shape, Layout layout) {
    Tensor result(as_index(element_count(shape, Layout::nhwc)));
    for_each_element(shape, layout, [&](std::size_t nhwc, std::size_t index) { result[nhwc] = values[index]; });
    return result;
}

std::vector<double> from_nhwc(const Tensor& tensor, const TensorShape& shape, Layout layout) {
    std::vector<double> result(as_index(element_count(shape, layout)), 0.0);
    for_each_element(shape, layout, [&](std::size_t nhwc, std::size_t index) { result[index] = tensor[nhwc]; });
    return result;
}

/// [out][in][h][w] to [h][w][in][out]; depthwise weights have one `in`.
std::vector<double> reorder_weights(const Stage& stage, std::span<const float> weights) {
    const std::size_t outs = as_index(stage.out_channels);
    const std::size_t ins = stage.depthwise() ? 1 : as_index(stage.in_channels);
    const std::size_t taps = as_index(stage.conv.kernel.h * stage.conv.kernel.w);
    std::vector<double> result(weights.size());
    for (std::size_t o = 0; o < outs; ++o)
        for (std::size_t i = 0; i < ins; ++i)
            for (std::size_t t = 0; t < taps; ++t) result[(t * ins + i) * outs + o] = weights[(o * ins + i) * taps + t];
    return result;
}

/// sums[o] += sum over i of pixel[i] * weights[i][o]
void add_dense_tap(const Stage& stage, const double* pixel, const double* weights, double* sums) {
    const std::int64_t outs = stage.out_channels;
    for (std::int64_t i = 0; i < stage.in_channels; ++i) {
        const double value = pixel[i];
        const double* row = weights + i * outs;
        for (std::int64_t o = 0; o < outs; ++o) sums[o] += value * row[o];
    }
}

/// sums[o] += pixel[o / multiplier] * weights[o]
void add_depthwise_tap(const Stage& stage, const double* pixel, const double* weights, double* sums) {
    const std::int64_t multiplier = stage.conv.multiplier;
    if (multiplier == 1) {
        for (std::int64_t o = 0; o < stage.out_channels; ++o) sums[o] += pixel[o] * weights[o];
        return;
    }
    for (std::int64_t i = 0; i < stage.in_channels; ++i)
        for (std::int64_t m = 0; m < multiplier; ++m) sums[i * multiplier + m] += pixel[i] * weights[i * multiplier + m];
}

/// All output channels of output pixel (y, x) of the image at `image`, before post-ops.
void convolve_pixel(const Stage& stage, const double* image, const double* weights, std::int64_t y, std::int64_t x, double* sums) {
    const Conv& conv = stage.conv;
    const std::int64_t tap_size = stage.out_channels * (stage.depthwise() ? 1 : stage.in_channels);
    for (std::int64_t ky = 0; ky < conv.kernel.h; ++ky) {
        const std::int64_t in_y = y * conv.stride.h - stage.padding.top + ky * conv.dilation.h;
        if (in_y < 0 || in_y >= stage.in_h) continue;
        for (std::int64_t kx = 0; kx < conv.kernel.w; ++kx) {
            const std::int64_t in_x = x * conv.stride.w - stage.padding.left + kx * conv.dilation.w;
            if (in_x < 0 || in_x >= stage.in_w) continue;
            const double* pixel = image + (in_y * stage.in_w + in_x) * stage.in_channels;
            const double* tap = weights + (ky * conv.kernel.w + kx) * tap_size;
            if (stage.depthwise()) add_depthwise_tap(stage, pixel, tap, sums);
            else add_dense_tap(stage, pixel, tap, sums);
        }
    }
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double hsigmoid(double x) { return std::clamp(x + 3, 0.0, 6.0) / 6; }
double gelu_erf(double x) { return x / 2 * (1 + std::erf(x / std::numbers::sqrt2)); }
double gelu_tanh(double x) {
    const double sqrt_2_over_pi = std::numbers::sqrt2 * std::numbers::inv_sqrtpi;
    return x / 2 * (1 + std::tanh(sqrt_2_over_pi * (x + 0.044715 * x * x * x)));
}

/// The post-ops that need nothing but the value.
double activate(const PostOp& op, double x) {
    switch (op.kind) {
        case PostOpKind::relu: return std::max(x, 0.0);
        case PostOpKind::relu6: return std::clamp(x, 0.0, 6.0);
        case PostOpKind::leaky: return x < 0 ? op.alpha * x : x;
        case PostOpKind::clip: return std::clamp<double>(x, op.alpha, op.beta);
        case PostOpKind::sigmoid: return sigmoid(x);
        case PostOpKind::tanh: return std::tanh(x);
        case PostOpKind::swish: return x * sigmoid(x);
        case PostOpKind::hsigmoid: return hsigmoid(x);
        case PostOpKind::hswish: return x * hsigmoid(x);
        case PostOpKind::elu: return x < 0 ? op.alpha * std::expm1(x) : x;
        case PostOpKind::gelu_erf: return gelu_erf(x);
        case PostOpKind::gelu_tanh: return gelu_tanh(x);
        case PostOpKind::bias:
        case PostOpKind::prelu:
        case PostOpKind::scale:
        case PostOpKind::sum: break;
    }
    return x;
}

/// Applies one post-op to all channels of a pixel; `residual` is the residual tensor's pixel.
void apply(const PostOp& op, const StageWeights& params, const double* residual, std::span<double> pixel) {
    switch (op.kind) {
        case PostOpKind::bias:
            for (std::size_t o = 0; o < pixel.size(); ++o) pixel[o] += params.bias[o];
            return;
        case PostOpKind::prelu:
            for (std::size_t o = 0; o < pixel.size(); ++o) pixel[o] *= pixel[o] < 0 ? params.prelu[o] : 1.0;
            return;
        case PostOpKind::scale:
            for (std::size_t o = 0; o < pixel.size(); ++o) pixel[o] *= params.scale[o];
            return;
        case PostOpKind::sum:
            for (std::size_t o = 0; o < as_index(op.channels); ++o) pixel[o] += residual[o];
            return;
        default:
            for (double& value : pixel) value = activate(op, value);
    }
}

Tensor run_stage(const Stage& stage, std::int64_t batch, const Tensor& input, const StageWeights& params, const Tensor& residual) {
    const std::vector<double> weights = reorder_weights(stage, params.weights);
    const std::int64_t image_size = stage.in_h * stage.in_w * stage.in_channels;
    const std::int64_t residual_channels = stage.residual_channels();
    Tensor output(as_index(batch * stage.out_h * stage.out_w * stage.out_channels), 0.0);
    std::int64_t pixel = 0;
    for (std::int64_t n = 0; n < batch; ++n)
        for (std::int64_t y = 0; y < stage.out_h; ++y)
            for (std::int64_t x = 0; x < stage.out_w; ++x, ++pixel) {
                double* sums = output.data() + pixel * stage.out_channels;
                convolve_pixel(stage, input.data() + n * image_size, weights.data(), y, x, sums);
                for (const PostOp& op : stage.conv.chain())
                    apply(op, params, residual.data() + pixel * residual_channels, {sums, as_index(stage.out_channels)});
            }
    return output;
}

Status check_span(const std::string& name, std::size_t size, std::int64_t accepted) {
    if (size == as_index(accepted)) return {};
    return Error{ErrorCode::invalid_argument, fmt::format("{} has {} elements; {} is accepted", name, size, accepted)};
}

Status check_stage(const Problem& problem, int i, const ReferenceArgs& args) {
    const Stage& stage = problem.stage(i);
    const StageWeights& params = args.stages[static_cast<std::size_t>(i)];
    const auto per_channel = [&](PostOpKind kind) { return stage.conv.has(kind) ? stage.out_channels : 0; };
    const struct {
        std::string name;
        std::size_t size;
        std::int64_t accepted;
    } spans[] = {
        {fmt::format("stages[{}].weights", i), params.weights.size(), stage.weight_count()},
        {fmt::format("stages[{}].bias", i), params.bias.size(), per_channel(PostOpKind::bias)},
        {fmt::format("stages[{}].prelu", i), params.prelu.size(), per_channel(PostOpKind::prelu)},
        {fmt::format("stages[{}].scale", i), params.scale.size(), per_channel(PostOpKind::scale)},
        {fmt::format("residual[{}]", i), args.residual[static_cast<std::size_t>(i)].size(),
         element_count(problem.residual_shape(i), problem.layout)},
    };
    for (const auto& span : spans)
        if (Status status = check_span(span.name, span.size, span.accepted); !status) return status;
    return {};
}

Status check_args(const Problem& problem, const ReferenceArgs& args) {
    if (Status status = check_span("input", args.input.size(), element_count(problem.input_shape(), problem.layout)); !status)
        return status;
    if (Status status = check_span("stages", args.stages.size(), problem.stage_count); !status) return status;
    for (int i = 0; i < problem.stage_count; ++i)
        if (Status status = check_stage(problem, i, args); !status) return status;
    return {};
}

Result<std::vector<double>> run(const Result<Problem>& resolved, const ReferenceArgs& args) {
    if (!resolved) return resolved.error();
    const Problem& problem = *resolved;
    if (Status status = check_args(problem, args); !status) return status.error();
    Tensor tensor = to_nhwc(args.input, problem.input_shape(), problem.layout);
    for (int i = 0; i < problem.stage_count; ++i) {
        const auto at = static_cast<std::size_t>(i);
        const Tensor residual = to_nhwc(args.residual[at], problem.residual_shape(i), problem.layout);
        tensor = run_stage(problem.stage(i), problem.input.n, tensor, args.stages[at], residual);
    }
    return from_nhwc(tensor, problem.output_shape(problem.stage_count - 1), problem.layout);
}

Result<std::vector<double>> run_within_memory(const Result<Problem>& problem, const ReferenceArgs& args) try {
    return run(problem, args);
} catch (const std::bad_alloc&) {
    return Error{ErrorCode::system, "The reference ran out of memory; more is needed for its tensors of doubles."};
}

}  // namespace

Result<std::vector<double>> reference(const ConvPair& pair, const ReferenceArgs& args) { return run_within_memory(make_problem(pair), args); }

Result<std::vector<double>> reference(const SingleConv& single, const ReferenceArgs& args) {
    return run_within_memory(make_problem(single), args);
}

}  // namespace tandem
