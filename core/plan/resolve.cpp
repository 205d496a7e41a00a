#include "core/plan/resolve.hpp"

#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "core/plan/as_result.hpp"
#include "core/plan/float_state.hpp"
#include "core/plan/post_op_traits.hpp"

namespace tandem {

namespace {

constexpr std::int64_t max_kernel = 15;
constexpr std::int64_t max_stride = 8;
// Generated code addresses an image with 32-bit displacements.
constexpr std::int64_t image_limit = std::int64_t{1} << 31;
constexpr std::int64_t no_limit = std::numeric_limits<std::int64_t>::max();
// Packed weights are padded to the widest vector, whatever the layout of the activations.
constexpr std::int64_t weight_block = 16;

/// Overflow-checked product of sizes that are not negative.
class Product {
public:
    Product& times(std::int64_t factor) noexcept {
        overflow_ |= __builtin_mul_overflow(value_, factor, &value_);
        return *this;
    }
    Product& times_padded(std::int64_t factor, std::int64_t block) noexcept {
        std::int64_t raised = 0;
        overflow_ |= __builtin_add_overflow(factor, block - 1, &raised);
        return times(raised & -block);
    }
    bool overflow() const noexcept { return overflow_; }
    bool below(std::int64_t limit) const noexcept { return !overflow_ && value_ < limit; }
    std::string text() const { return overflow_ ? "more than 2^63" : std::to_string(value_); }

private:
    std::int64_t value_ = 1;
    bool overflow_ = false;
};

// Tile shapes are enumerated when a kernel is made, and taps become displacements in code: both stay small
// within these.
constexpr std::int64_t side_limit = std::int64_t{1} << 20, dilation_limit = 4096;

// The widest element of a panel: f32 where a CPU has no instruction for the data type, which depthwise stages
// never ask for; s16 where it multiplies no bytes.
std::int64_t packed_element_bytes(const Stage& stage, DataType dtype) noexcept {
    return is_quantized(dtype) && !stage.depthwise() ? 2 : 4;
}

constexpr const char* stage_names[max_stages] = {"convs[0]", "convs[1]", "convs[2]", "convs[3]"};

/// Checks fields of one part of the descriptor ("input", "convs[0]", ...) and keeps the first failure.
class Checks {
public:
    explicit Checks(const char* part) : part_(part) {}
    bool ok() const noexcept { return error_.ok(); }
    Status status() && { return std::move(error_); }

    /// `accepted` completes "... is accepted".
    void range(const char* field, std::int64_t value, std::int64_t low, std::int64_t high,
               const char* accepted) {
        if (value < low || value > high) [[unlikely]]
            fail(ErrorCode::invalid_argument, "{}.{} is {}; {} is accepted", part_, field, value, accepted);
    }

    void bytes(const char* tensor, const Product& size) {
        if (!size.below(image_limit)) [[unlikely]]
            fail(ErrorCode::overflow,
                 "{}: {} takes {} bytes; less than {} is accepted, so that offsets fit a 32-bit displacement",
                 part_, tensor, size.text(), image_limit);
    }

    void activations(const char* tensor, const TensorShape& shape, Layout layout, DataType dtype) {
        Product size;
        bytes(tensor, size.times(element_bytes(dtype))
                          .times_padded(shape.c, channel_block(layout))
                          .times(shape.h)
                          .times(shape.w));
        if (ok() && size.times(shape.n).overflow())
            fail(ErrorCode::overflow,
                 "{}: {} of a batch of {} takes {} bytes; a size that fits 64 bits is accepted", part_,
                 tensor, shape.n, size.text());
    }

    template <class... Values>
    [[gnu::noinline, gnu::cold]] void fail(ErrorCode code,
                                           fmt::format_string<const char*&, const Values&...> format,
                                           const char* part, const Values&... values) {
        if (ok()) error_ = Error{code, fmt::format(format, part, values...)};
    }

    const char* part() const noexcept { return part_; }

private:
    const char* part_;
    Status error_;
};

void check_fields(Checks& check, const Conv& conv) {
    check.range("kind", static_cast<int>(conv.kind), 0, 1, "depthwise or dense");
    check.range("kernel.h", conv.kernel.h, 1, max_kernel, "a kernel from 1 to 15");
    check.range("kernel.w", conv.kernel.w, 1, max_kernel, "a kernel from 1 to 15");
    check.range("stride.h", conv.stride.h, 1, max_stride, "a stride from 1 to 8");
    check.range("stride.w", conv.stride.w, 1, max_stride, "a stride from 1 to 8");
    check.range("dilation.h", conv.dilation.h, 1, dilation_limit, "a dilation from 1 to 4096");
    check.range("dilation.w", conv.dilation.w, 1, dilation_limit, "a dilation from 1 to 4096");
    if (conv.kind == ConvKind::dense) {
        check.range("out_channels", conv.out_channels, 1, no_limit, "at least 1 output channel");
        check.range("multiplier", conv.multiplier, 1, 1, "1, as the stage is dense,");
    } else {
        check.range("out_channels", conv.out_channels, 0, 0,
                    "0, as a depthwise stage has a multiplier instead,");
        check.range("multiplier", conv.multiplier, 1, no_limit, "a multiplier of at least 1");
    }
    check.range("post_op_count", conv.post_op_count, 0, max_post_ops, "a chain of 0 to 4 post-ops");
}

/// One spatial dimension of a convolution, with the names that messages need.
struct Axis {
    const char* before_name;
    const char* after_name;
    const char* extent_name;
    std::int64_t in, kernel, stride, dilation, before, after;

    std::int64_t extent() const noexcept { return (kernel - 1) * dilation + 1; }
    std::int64_t padded() const noexcept { return in + before + after; }
    std::int64_t out() const noexcept {
        return (stride == 1 ? padded() - extent() : (padded() - extent()) / stride) + 1;
    }
};

void check_axis(Checks& check, const Axis& axis) {
    const std::int64_t extent = axis.extent();
    check.range(axis.before_name, axis.before, 0, side_limit, "a padding from 0 to 2^20");
    check.range(axis.after_name, axis.after, 0, side_limit, "a padding from 0 to 2^20");
    if (check.ok() && extent > axis.padded()) [[unlikely]]
        check.fail(
            ErrorCode::invalid_argument,
            "{}.kernel spans {} {} with its dilation; at most {}, those of the padded input, is accepted",
            check.part(), extent, axis.extent_name, axis.padded());
}

void resolve_geometry(Checks& check, Stage& stage, Layout layout, DataType dtype) {
    const Conv& conv = stage.conv;
    stage.padding = conv.resolved_padding();
    const Padding& pad = stage.padding;
    const Axis rows{"padding.top", "padding.bottom", "rows",  stage.in_h, conv.kernel.h,
                    conv.stride.h, conv.dilation.h,  pad.top, pad.bottom};
    const Axis columns{"padding.left", "padding.right", "columns", stage.in_w, conv.kernel.w,
                       conv.stride.w,  conv.dilation.w, pad.left,  pad.right};
    check_axis(check, rows);
    check_axis(check, columns);
    if (!check.ok()) return;
    check.bytes("the padded input image", Product()
                                              .times(element_bytes(dtype))
                                              .times_padded(stage.in_channels, channel_block(layout))
                                              .times(rows.padded())
                                              .times(columns.padded()));
    stage.out_h = rows.out();
    stage.out_w = columns.out();
}

void resolve_channels(Checks& check, Stage& stage, DataType dtype) {
    const Conv& conv = stage.conv;
    stage.out_channels = conv.out_channels;
    if (stage.depthwise() &&
        __builtin_mul_overflow(stage.in_channels, conv.multiplier, &stage.out_channels)) {
        check.fail(
            ErrorCode::overflow,
            "{}.multiplier is {}; one for which {} input channels give a number of output channels that fits "
            "64 bits is accepted",
            check.part(), conv.multiplier, stage.in_channels);
        return;
    }
    Product weights;
    weights.times(packed_element_bytes(stage, dtype))
        .times(conv.kernel.h * conv.kernel.w)
        .times_padded(stage.out_channels, weight_block);
    if (!stage.depthwise()) weights.times_padded(stage.in_channels, weight_block);
    check.bytes("the packed weight tensor", weights);
}

void check_bounds(Checks& check, int index, const PostOp& op) {
    if (!std::isfinite(op.alpha))
        check.fail(ErrorCode::invalid_argument, "{}.post_ops[{}].alpha is {}; a finite number is accepted",
                   check.part(), index, op.alpha);
    if (traits(op).parameters == PostOpParameters::bounds && !std::isfinite(op.beta))
        check.fail(ErrorCode::invalid_argument, "{}.post_ops[{}].beta is {}; a finite number is accepted",
                   check.part(), index, op.beta);
    if (traits(op).parameters == PostOpParameters::bounds && op.alpha > op.beta)
        check.fail(
            ErrorCode::invalid_argument,
            "{}.post_ops[{}] clips from {} to {}; a lower bound that is not above the upper one is accepted",
            check.part(), index, op.alpha, op.beta);
}

/// The op with every parameter that its kind does not use at zero, and the residual's channels spelled out.
PostOp normalized(const PostOp& op, std::int64_t out_channels) noexcept {
    PostOp result{.kind = op.kind};
    const PostOpParameters parameters = traits(op).parameters;
    const bool bounds = parameters == PostOpParameters::bounds;
    // Adding zero turns -0 into +0, which compare equal and so have to hash equal.
    if (bounds || parameters == PostOpParameters::slope) result.alpha = op.alpha + 0.0f;
    if (bounds) result.beta = op.beta + 0.0f;
    if (parameters == PostOpParameters::channels) {
        result.channels = op.channels == 0 || op.of_input ? out_channels : op.channels;
        result.of_input = op.of_input;
    }
    return result;
}

void resolve_post_ops(Checks& check, const Conv& conv, Stage& stage) {
    stage.conv.post_op_count = 0;
    for (int i = 0; i < conv.post_op_count; ++i) {
        const PostOp& op = conv.post_ops[static_cast<std::size_t>(i)];
        if (static_cast<int>(op.kind) >= post_op_kinds) [[unlikely]] {
            check.fail(ErrorCode::invalid_argument, "{}.post_ops[{}].kind is {}; 0 to {} is accepted",
                       check.part(), i, static_cast<int>(op.kind), post_op_kinds - 1);
            return;
        }
        if (reads_tensor(op.kind) && stage.conv.has(op.kind)) [[unlikely]]
            check.fail(ErrorCode::invalid_argument,
                       "{}.post_ops[{}] is a second {}; at most one a stage is accepted", check.part(), i,
                       to_string(op.kind));
        const PostOpParameters parameters = traits(op).parameters;
        if (parameters == PostOpParameters::slope || parameters == PostOpParameters::bounds)
            check_bounds(check, i, op);
        if (parameters == PostOpParameters::channels && (op.channels < 0 || op.channels > stage.out_channels))
            [[unlikely]]
            check.fail(ErrorCode::invalid_argument,
                       "{}.post_ops[{}].channels is {}; 0 to {}, the stage's output channels, is accepted",
                       check.part(), i, op.channels, stage.out_channels);
        stage.conv.post_ops[static_cast<std::size_t>(i)] = normalized(op, stage.out_channels);
        stage.conv.post_op_count = i + 1;
    }
}

/// Sums of products of a quantised stage are 32-bit integers.
void check_sums(Checks& check, const Stage& stage) {
    constexpr std::int64_t most_terms = (std::int64_t{1} << 31) / (255 * 128);
    const std::int64_t terms = stage.weight_count() / stage.out_channels;
    if (terms > most_terms)
        check.fail(ErrorCode::invalid_argument,
                   "{} adds up {} products; at most {} are accepted for a quantised data type", check.part(),
                   terms, most_terms);
}

Status resolve_stage(const char* name, const Conv& conv, Problem& problem, int i) {
    const Layout layout = problem.layout;
    const TensorShape in = i == 0 ? problem.input_shape() : problem.output_shape(i - 1);
    Stage& stage = problem.stage(i);
    Checks check(name);
    check_fields(check, conv);
    if (!check.ok()) return std::move(check).status();
    Conv& resolved = stage.conv;
    resolved.kind = conv.kind;
    resolved.kernel = conv.kernel;
    resolved.stride = conv.stride;
    resolved.dilation = conv.dilation;
    resolved.padding = conv.padding;
    resolved.out_channels = conv.out_channels;
    resolved.multiplier = conv.multiplier;
    stage.in_channels = in.c;
    stage.in_h = in.h;
    stage.in_w = in.w;
    resolve_geometry(check, stage, layout, problem.input_dtype(i));
    if (check.ok()) resolve_channels(check, stage, problem.dtype);
    if (check.ok())
        check.activations("the output tensor", problem.output_shape(i), layout, problem.output_dtype(i));
    if (check.ok() && problem.quantized()) check_sums(check, stage);
    if (check.ok()) resolve_post_ops(check, conv, stage);
    resolved.padding = stage.padding;
    return std::move(check).status();
}

/// A stage's output type follows the input's, or is one of a quantised stage's choices.
void resolve_dtype(Checks& check, const ConvChain& chain, int i, Problem& problem) {
    const DataType input = chain.dtype;
    const DataType stated = chain.output_dtypes[static_cast<std::size_t>(i)].value_or(input);
    const bool last = i + 1 == problem.stage_count;
    const bool accepted =
        is_quantized(input) ? is_quantized(stated) || (last && stated == DataType::f32) : stated == input;
    if (!accepted)
        check.fail(ErrorCode::invalid_argument,
                   "{}.output_dtypes[{}] is {}; {} is accepted where dtype is {}", check.part(), i,
                   to_string(stated),
                   !is_quantized(input) ? to_string(input)
                   : last               ? "u8, s8 or f32"
                                        : "u8 or s8",
                   to_string(input));
    problem.output_dtypes[static_cast<std::size_t>(i)] = stated;
}

Status resolve_input(const ConvChain& descriptor, Problem& problem) {
    Checks options("descriptor");
    options.range("dtype", static_cast<int>(descriptor.dtype), 0, static_cast<int>(DataType::s8),
                  "f32, bf16, f16, u8 or s8");
    if (descriptor.layout == Layout::nchw) [[unlikely]]
        options.fail(ErrorCode::invalid_argument,
                     "descriptor.layout is {}; nhwc, nchw16c or nchw8c is accepted (input and output have "
                     "views of their own: /in=nchw, /out=nchw)",
                     to_string(descriptor.layout));
    options.range("layout", static_cast<int>(descriptor.layout), 0, 3, "nhwc, nchw16c or nchw8c");
    options.range("math", static_cast<int>(descriptor.math), 0, static_cast<int>(Math::f16),
                  "fast, strict, bf16 or f16");
    const Math of_type = descriptor.dtype == DataType::f32   ? Math::bf16
                         : descriptor.dtype == DataType::f16 ? Math::f16
                                                             : Math::fast;
    if ((descriptor.math == Math::bf16 || descriptor.math == Math::f16) && descriptor.math != of_type)
        options.fail(ErrorCode::invalid_argument,
                     "{}.math is {}; fast{} strict is accepted where dtype is {}", options.part(),
                     to_string(descriptor.math),
                     of_type == Math::fast ? " or" : std::string(", ") + to_string(of_type) + " or",
                     to_string(descriptor.dtype));
    if (!options.ok()) return std::move(options).status();
    const InputShape& input = descriptor.input;
    Checks check("input");
    check.range("n", input.n, 1, no_limit, "a batch of at least 1");
    check.range("c", input.c, 1, no_limit, "at least 1 channel");
    check.range("h", input.h, 1, no_limit, "a height of at least 1");
    check.range("w", input.w, 1, no_limit, "a width of at least 1");
    if (check.ok())
        check.activations("the input tensor", {input.n, input.c, input.h, input.w}, descriptor.layout,
                          descriptor.dtype);
    check.range("h", input.h, 1, side_limit, "a height of at most 2^20");
    check.range("w", input.w, 1, side_limit, "a width of at most 2^20");
    if (input.factors && is_quantized(descriptor.dtype))
        check.fail(ErrorCode::invalid_argument,
                   "{}.factors is set; f32, bf16 or f16 is accepted with it, as the product of a quantised "
                   "input has a quantisation of its own",
                   check.part());
    problem.input = input;
    problem.dtype = descriptor.dtype;
    problem.layout = descriptor.layout;
    problem.math = descriptor.math;
    return std::move(check).status();
}

}  // namespace

Status resolve(const ConvChain& chain, Problem& problem) {
    if (Status status = resolve_input(chain, problem); !status) return status;
    Checks check("descriptor");
    check.range("conv_count", chain.conv_count, 1, max_stages, "a chain of 1 to 4 convolutions");
    problem.stage_count = chain.conv_count;
    for (int i = 0; check.ok() && i < problem.stage_count; ++i)
        resolve_dtype(check, chain, i, problem);
    if (!check.ok()) return std::move(check).status();
    TensorShape tensor = problem.input_shape();
    for (int i = 0; i < problem.stage_count; ++i) {
        if (Status status = resolve_stage(stage_names[i], chain.conv(i), problem, i); !status) return status;
        tensor = problem.output_shape(i);
    }
    return resolve_views(chain, problem);
}

Status validate(const ConvChain& chain) noexcept {
    const DefaultFloatState float_state;
    return as_result([&] {
        Problem problem;
        return resolve(chain, problem);
    });
}

}  // namespace tandem
