// Descriptors as values: building them, naming them and taking a pair apart. Reading text:
// descriptor_text.cpp.
// Checking: resolve.cpp.
#include "tandem/descriptor.hpp"

#include <algorithm>
#include <charconv>
#include <limits>

#include "core/plan/post_op_traits.hpp"
#include "core/plan/problem.hpp"

namespace tandem {

namespace {

struct PaddingPair {
    std::int64_t before, after;
};

/// "Same" padding of one dimension. Saturates rather than overflows, as unvalidated descriptors come here
/// too.
PaddingPair same_padding(std::int64_t kernel, std::int64_t dilation) noexcept {
    std::int64_t taps = 0, total = 0;
    if (__builtin_sub_overflow(kernel, std::int64_t{1}, &taps) ||
        __builtin_mul_overflow(taps, dilation, &total))
        total = std::numeric_limits<std::int64_t>::max();
    return {total / 2, total - total / 2};
}

Padding same_padding(const Conv& conv) noexcept {
    const PaddingPair rows = same_padding(conv.kernel.h, conv.dilation.h);
    const PaddingPair columns = same_padding(conv.kernel.w, conv.dilation.w);
    return {rows.before, columns.before, rows.after, columns.after};
}

void append(std::string& out, std::int64_t value) { out += std::to_string(value); }

/// The shortest text that reads back as the same float.
void append(std::string& out, float value) {
    std::array<char, 32> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
    out.append(digits.data(), end);
}

void append(std::string& out, const Size2& size) {
    append(out, size.h);
    if (size.w == size.h) return;
    out += 'x';
    append(out, size.w);
}

void append(std::string& out, const Padding& p) {
    append(out, p.top);
    if (p.left == p.top && p.bottom == p.top && p.right == p.top) return;
    for (std::int64_t side : {p.left, p.bottom, p.right}) {
        out += 'x';
        append(out, side);
    }
}

void append(std::string& out, const PostOp& op) {
    out += '+';
    out += to_string(op.kind);
    switch (traits(op).parameters) {
        case PostOpParameters::none: break;
        case PostOpParameters::slope:
            out += '(';
            append(out, op.alpha);
            out += ')';
            break;
        case PostOpParameters::bounds:
            out += '(';
            append(out, op.alpha);
            out += ',';
            append(out, op.beta);
            out += ')';
            break;
        case PostOpParameters::channels:
            if (op.channels == 0) break;
            out += '(';
            append(out, op.channels);
            out += ')';
            break;
    }
}

std::string to_string(const InputShape& input) {
    std::string out;
    append(out, input.n);
    for (std::int64_t size : {input.c, input.h, input.w}) {
        out += 'x';
        append(out, size);
    }
    return out;
}

SingleConv alone(const InputShape& input, const Conv& conv, const ConvPair& pair) {
    return {.input = input,
            .conv = conv,
            .dtype = pair.dtype,
            .layout = pair.layout,
            .math = pair.math,
            .output_dtype = {}};
}

}  // namespace

Conv Conv::depthwise(std::int64_t k, std::int64_t stride) {
    Conv conv;
    conv.kind = ConvKind::depthwise;
    conv.kernel = {k, k};
    conv.stride = {stride, stride};
    return conv;
}

Conv Conv::dense(std::int64_t k, std::int64_t out_channels, std::int64_t stride) {
    Conv conv;
    conv.kernel = {k, k};
    conv.stride = {stride, stride};
    conv.out_channels = out_channels;
    return conv;
}

Conv Conv::with(PostOpKind kind, float alpha, float beta) const { return with(PostOp{kind, alpha, beta, 0}); }

Conv Conv::with(const PostOp& op) const {
    Conv copy = *this;
    if (post_op_count >= 0 && post_op_count < max_post_ops)
        copy.post_ops[static_cast<std::size_t>(post_op_count)] = op;
    copy.post_op_count = std::min(post_op_count, max_post_ops) + 1;
    return copy;
}

std::span<const PostOp> Conv::chain() const noexcept {
    return std::span(post_ops).first(static_cast<std::size_t>(std::clamp(post_op_count, 0, max_post_ops)));
}

bool Conv::has(PostOpKind kind) const noexcept {
    return std::ranges::any_of(chain(), [kind](const PostOp& op) { return op.kind == kind; });
}

Padding Conv::resolved_padding() const noexcept { return padding ? *padding : same_padding(*this); }

std::string to_string(const Conv& conv) {
    std::string out = conv.kind == ConvKind::depthwise ? "dw" : "conv";
    append(out, conv.kernel);
    if (conv.kind == ConvKind::dense) {
        out += 'o';
        append(out, conv.out_channels);
    } else if (conv.multiplier != 1) {
        out += 'm';
        append(out, conv.multiplier);
    }
    if (conv.stride != Size2{}) {
        out += 's';
        append(out, conv.stride);
    }
    if (conv.padding && *conv.padding != same_padding(conv)) {
        out += 'p';
        append(out, *conv.padding);
    }
    if (conv.dilation != Size2{}) {
        out += 'd';
        append(out, conv.dilation);
    }
    for (const PostOp& op : conv.chain())
        append(out, op);
    return out;
}

std::string to_string(const ConvPair& pair) {
    return to_string(pair.input) + ':' + to_string(pair.first) + ':' + to_string(pair.second);
}

std::string to_string(const SingleConv& single) {
    return to_string(single.input) + ':' + to_string(single.conv);
}

const char* to_string(Layout layout) noexcept {
    switch (layout) {
        case Layout::nhwc: return "nhwc";
        case Layout::nchw16c: return "nchw16c";
        case Layout::nchw8c: return "nchw8c";
    }
    return "unknown";
}

const char* to_string(Math math) noexcept {
    switch (math) {
        case Math::fast: return "fast";
        case Math::strict: return "strict";
        case Math::bf16: return "bf16";
        case Math::f16: return "f16";
    }
    return "unknown";
}

const char* to_string(PostOpKind kind) noexcept {
    return static_cast<int>(kind) < post_op_kinds ? traits(kind).name : "unknown";
}

SingleConv first_of(const ConvPair& pair) {
    SingleConv first = alone(pair.input, pair.first, pair);
    first.output_dtype = pair.intermediate_dtype;
    return first;
}

SingleConv second_of(const ConvPair& pair) {
    SingleConv second = alone({pair.input.n, 0, 0, 0}, pair.second, pair);
    second.dtype = pair.intermediate_dtype.value_or(pair.dtype);
    second.output_dtype = pair.output_dtype;
    if (!second.output_dtype && second.dtype != pair.dtype) second.output_dtype = pair.dtype;
    if (const Result<Problem> problem = make_problem(pair)) {
        const Stage& stage = problem->stage(1);
        second.input = {pair.input.n, stage.in_channels, stage.in_h, stage.in_w};
    }
    return second;
}

}  // namespace tandem
