// Every tensor is held as NHWC doubles and every weight tensor as [h][w][in][out], so that the innermost
// loop runs over contiguous output channels; taps in the padding are skipped. Rounding happens where
// kernels round: weights to the data type and each stage's output to its own, with the exception that f32
// stays double. The sums of quantised stages are integers, which double holds exactly.
#include "tandem/reference.hpp"

#include <cmath>
#include <new>
#include <utility>

#include <fmt/format.h>

#include "core/plan/as_result.hpp"
#include "core/plan/problem.hpp"
#include "core/plan/float_state.hpp"
#include "core/run/reference_chain.hpp"

namespace tandem {

namespace {

using Tensor = std::vector<double>;  // NHWC

std::size_t as_index(std::int64_t value) { return static_cast<std::size_t>(value); }

/// Calls visit(index in NHWC, index in the view) for every element that is not padding.
template <class Visit>
void for_each_element(const TensorShape& shape, const TensorView& view, Visit visit) {
    std::size_t nhwc = 0;
    for (std::int64_t n = 0; n < shape.n; ++n)
        for (std::int64_t y = 0; y < shape.h; ++y)
            for (std::int64_t x = 0; x < shape.w; ++x)
                for (std::int64_t c = 0; c < shape.c; ++c)
                    visit(nhwc++, as_index(element_index(shape, view, n, c, y, x)));
}

Tensor to_nhwc(std::span<const float> values, const TensorShape& shape, const TensorView& view) {
    Tensor result(as_index(element_count(shape, Layout::nhwc)));
    for_each_element(shape, view, [&](std::size_t nhwc, std::size_t index) { result[nhwc] = values[index]; });
    return result;
}

std::vector<double> from_nhwc(const Tensor& tensor, const TensorShape& shape, const TensorView& view) {
    std::vector<double> result(as_index(element_count(shape, view)), 0.0);
    for_each_element(shape, view, [&](std::size_t nhwc, std::size_t index) { result[index] = tensor[nhwc]; });
    return result;
}

/// [out][in][h][w] to [h][w][in][out]; depthwise weights have one `in`. `weight(index)` is what a kernel
/// multiplies by.
template <class Weight>
std::vector<double> reorder_weights(const Stage& stage, Weight weight) {
    const std::size_t outs = as_index(stage.out_channels);
    const std::size_t ins = stage.depthwise() ? 1 : as_index(stage.in_channels);
    const std::size_t taps = as_index(stage.conv.kernel.h * stage.conv.kernel.w);
    std::vector<double> result(as_index(stage.weight_count()));
    for (std::size_t o = 0; o < outs; ++o)
        for (std::size_t i = 0; i < ins; ++i)
            for (std::size_t t = 0; t < taps; ++t)
                result[(t * ins + i) * outs + o] = weight((o * ins + i) * taps + t);
    return result;
}

std::vector<double> multiplied_weights(const Problem& problem, int i, const StageWeights& params) {
    const Stage& stage = problem.stage(i);
    if (problem.quantized())
        return reorder_weights(stage, [&](std::size_t at) { return params.quantized_weights[at]; });
    return reorder_weights(stage, [&](std::size_t at) { return rounded(problem.dtype, params.weights[at]); });
}

/// sums[o] += sum over i of pixel[i] * weights[i][o]
void add_dense_tap(const Stage& stage, const double* pixel, const double* weights, double* sums) {
    const std::int64_t outs = stage.out_channels;
    for (std::int64_t i = 0; i < stage.in_channels; ++i) {
        const double value = pixel[i];
        const double* row = weights + i * outs;
        for (std::int64_t o = 0; o < outs; ++o)
            sums[o] += value * row[o];
    }
}

/// sums[o] += pixel[o / multiplier] * weights[o]
void add_depthwise_tap(const Stage& stage, const double* pixel, const double* weights, double* sums) {
    const std::int64_t multiplier = stage.conv.multiplier;
    if (multiplier == 1) {
        for (std::int64_t o = 0; o < stage.out_channels; ++o)
            sums[o] += pixel[o] * weights[o];
        return;
    }
    for (std::int64_t i = 0; i < stage.in_channels; ++i)
        for (std::int64_t m = 0; m < multiplier; ++m)
            sums[i * multiplier + m] += pixel[i] * weights[i * multiplier + m];
}

/// All output channels of output pixel (y, x) of the image at `image`, before post-ops.
void convolve_pixel(const Stage& stage, const double* image, const double* weights, std::int64_t y,
                    std::int64_t x, double* sums) {
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
            if (stage.depthwise())
                add_depthwise_tap(stage, pixel, tap, sums);
            else
                add_dense_tap(stage, pixel, tap, sums);
        }
    }
}

/// Stage i. A quantised input loses its zero point first: padding then counts as zero like everywhere else.
Tensor run_stage(const Problem& problem, int i, Tensor input, const Quantization& input_quantization,
                 const StageWeights& params, const Tensor& residual) {
    const Stage& stage = problem.stage(i);
    if (problem.quantized())
        for (double& value : input)
            value -= input_quantization.zero_point;
    const std::vector<double> weights = multiplied_weights(problem, i, params);
    const std::int64_t image_size = stage.in_h * stage.in_w * stage.in_channels;
    const std::int64_t residual_channels = stage.residual_channels();
    Tensor output(as_index(problem.input.n * stage.out_h * stage.out_w * stage.out_channels), 0.0);
    std::int64_t pixel = 0;
    for (std::int64_t n = 0; n < problem.input.n; ++n)
        for (std::int64_t y = 0; y < stage.out_h; ++y)
            for (std::int64_t x = 0; x < stage.out_w; ++x, ++pixel) {
                double* sums = output.data() + pixel * stage.out_channels;
                convolve_pixel(stage, input.data() + n * image_size, weights.data(), y, x, sums);
                finish_pixel(problem, i, params, input_quantization.scale,
                             residual.data() + pixel * residual_channels,
                             {sums, as_index(stage.out_channels)});
            }
    return output;
}

Status check_span(const std::string& name, std::size_t size, std::int64_t accepted) {
    if (size == as_index(accepted)) return {};
    return Error{ErrorCode::invalid_argument,
                 fmt::format("{} has {} elements; {} is accepted", name, size, accepted)};
}

Status check_quantization(const std::string& name, const Quantization& quantization, DataType dtype) {
    const auto [scale, zero_point] = quantization;
    if (!std::isfinite(scale) || scale <= 0)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("{}.scale is {}; a positive number is accepted", name, scale)};
    const int lowest = dtype == DataType::u8 ? 0 : -128, highest = lowest + 255;
    if (zero_point < lowest || zero_point > highest)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("{}.zero_point is {}; {} to {} is accepted for {}", name, zero_point, lowest,
                                 highest, to_string(dtype))};
    return {};
}

/// Those that have a meaning: none where the output is f32.
Status check_quantizations(const Problem& problem, int i, const StageWeights& params) {
    const auto check = [&](const char* what, const Quantization& quantization, DataType dtype) {
        return check_quantization(fmt::format("stages[{}].{}", i, what), quantization, dtype);
    };
    const DataType output = problem.output_dtype(i);
    if (!is_quantized(output)) return {};
    if (Status status = check("output", params.output, output); !status) return status;
    return problem.residual_shape(i).c > 0 ? check("residual", params.residual, output) : Status();
}

Status check_stage(const Problem& problem, int i, const ReferenceArgs& args) {
    const Stage& stage = problem.stage(i);
    const StageWeights& params = args.stages[static_cast<std::size_t>(i)];
    const auto per_channel = [&](PostOpKind kind) {
        return stage.conv.has(kind) ? stage.out_channels : 0;
    };
    const bool quantized = problem.quantized();
    const struct {
        std::string name;
        std::size_t size;
        std::int64_t accepted;
    } spans[] = {
        {fmt::format("stages[{}].weights", i), params.weights.size(), quantized ? 0 : stage.weight_count()},
        {fmt::format("stages[{}].quantized_weights", i), params.quantized_weights.size(),
         quantized ? stage.weight_count() : 0},
        {fmt::format("stages[{}].weight_scales", i), params.weight_scales.size(),
         quantized ? stage.out_channels : 0},
        {fmt::format("stages[{}].bias", i), params.bias.size(), per_channel(PostOpKind::bias)},
        {fmt::format("stages[{}].prelu", i), params.prelu.size(), per_channel(PostOpKind::prelu)},
        {fmt::format("stages[{}].scale", i), params.scale.size(), per_channel(PostOpKind::scale)},
        {fmt::format("residual[{}]", i), args.residual[static_cast<std::size_t>(i)].size(),
         element_count(problem.residual_shape(i), problem.residual_view(i))},
    };
    for (const auto& span : spans)
        if (Status status = check_span(span.name, span.size, span.accepted); !status) return status;
    return quantized ? check_quantizations(problem, i, params) : Status();
}

Status check_args(const Problem& problem, const ReferenceArgs& args) {
    if (Status status =
            check_span("input", args.input.size(), element_count(problem.input_shape(), problem.input_view));
        !status)
        return status;
    if (Status status = check_span("input_factors", args.input_factors.size(),
                                   problem.input.factors ? problem.input.n * problem.input.c : 0);
        !status)
        return status;
    if (Status status = check_span("stages", args.stages.size(), problem.stage_count); !status) return status;
    if (problem.quantized())
        if (Status status = check_quantization("input_quantization", args.input_quantization, problem.dtype);
            !status)
            return status;
    for (int i = 0; i < problem.stage_count; ++i)
        if (Status status = check_stage(problem, i, args); !status) return status;
    return {};
}

/// The first stage's input where it has factors: rounded as kernels round it.
void multiply(const Problem& problem, std::span<const float> factors, Tensor& input) {
    const auto channels = as_index(problem.input.c), pixels = as_index(problem.input.h * problem.input.w);
    for (std::size_t i = 0; i < input.size(); ++i) {
        const float factor = factors[i / (pixels * channels) * channels + i % channels];
        input[i] = problem.dtype == DataType::f32
                       ? input[i] * factor
                       : rounded(problem.dtype, static_cast<float>(input[i]) * factor);
    }
}

Result<std::vector<double>> run(const Result<Problem>& resolved, const ReferenceArgs& args) {
    if (!resolved) return resolved.error();
    const Problem& problem = *resolved;
    if (Status status = check_args(problem, args); !status) return status.error();
    const Tensor chain_input = to_nhwc(args.input, problem.input_shape(), problem.input_view);
    Tensor tensor = chain_input;
    if (problem.input.factors) multiply(problem, args.input_factors, tensor);
    for (int i = 0; i < problem.stage_count; ++i) {
        const auto at = static_cast<std::size_t>(i);
        const bool sums_input = problem.stage(i).sums_input();
        const Tensor residual =
            sums_input ? chain_input
                       : to_nhwc(args.residual[at], problem.residual_shape(i), problem.residual_view(i));
        StageWeights weights = args.stages[at];
        if (sums_input) weights.residual = args.input_quantization;
        const Quantization& input = i == 0 ? args.input_quantization : args.stages[at - 1].output;
        tensor = run_stage(problem, i, std::move(tensor), input, weights, residual);
    }
    return from_nhwc(tensor, problem.output_shape(), problem.output_view);
}

}  // namespace

Result<std::vector<double>> reference(const ConvChain& chain, const ReferenceArgs& args) noexcept {
    const DefaultFloatState float_state;
    return as_result([&] { return run(make_problem(chain), args); });
}

}  // namespace tandem
