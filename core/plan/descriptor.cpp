// Descriptors as values: building them, naming them and taking them apart. Reading text:
// descriptor_text.cpp. Checking: resolve.cpp.
#include "tandem/descriptor.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <utility>

#include "core/plan/descriptor_text.hpp"
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
            if (op.of_input) out += "(in)";
            if (op.of_input || op.channels == 0) break;
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
    return input.factors ? out + '*' : out;
}

/// The strides that are stated, behind the layout where it is another than the chain's; empty: neither.
std::string text_of(const TensorView& view, Layout layout) {
    std::string out = view.layout == layout ? "" : to_string(view.layout);
    const std::pair<char, std::int64_t> strides[] = {
        {'p', view.pixel}, {'r', view.row}, {'b', view.block}, {'i', view.image}};
    for (const auto& [name, stride] : strides) {
        if (stride == 0) continue;
        if (!out.empty()) out += ',';
        out += name;
        append(out, stride);
    }
    return out;
}

void append_view(std::string& out, const std::string& name, const std::optional<TensorView>& view,
                 Layout layout) {
    const std::string text = view ? text_of(*view, layout) : "";
    if (!text.empty()) out += '/' + name + '=' + text;
}

std::string views_text(const ConvChain& chain) {
    std::string out;
    append_view(out, "in", chain.input_view, chain.layout);
    append_view(out, "out", chain.output_view, chain.layout);
    for (std::size_t i = 0; i < max_stages; ++i)
        append_view(out, "res" + std::to_string(i), chain.residual_views[i], chain.layout);
    return out;
}

/// "f32", or the input's and every stage's output where they differ: "u8-u8-f32".
std::string dtypes_text(const ConvChain& chain) {
    std::string all = to_string(chain.dtype);
    bool equal = true;
    for (int i = 0; i < static_cast<int>(chain.stages().size()); ++i) {
        const DataType output = chain.output_dtypes[static_cast<std::size_t>(i)].value_or(chain.dtype);
        equal = equal && output == chain.dtype;
        all += std::string("-") + to_string(output);
    }
    return equal ? to_string(chain.dtype) : all;
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

ConvChain ConvChain::of(const InputShape& input, std::initializer_list<Conv> convs) {
    ConvChain chain;
    chain.input = input;
    for (const Conv& conv : convs)
        chain = chain.then(conv);
    return chain;
}

ConvChain ConvChain::then(const Conv& conv) const {
    ConvChain copy = *this;
    if (conv_count >= 0 && conv_count < max_stages) copy.conv(conv_count) = conv;
    copy.conv_count = std::min(conv_count, max_stages) + 1;
    return copy;
}

std::span<const Conv> ConvChain::stages() const noexcept {
    return std::span(convs).first(static_cast<std::size_t>(std::clamp(conv_count, 0, max_stages)));
}

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

std::string convolutions_text(const ConvChain& chain) {
    std::string out = to_string(chain.input);
    for (const Conv& conv : chain.stages())
        out += ':' + to_string(conv);
    return out;
}

std::string options_text(const ConvChain& chain) {
    return std::string("/") + to_string(chain.layout) + '/' + dtypes_text(chain) + '/' +
           to_string(chain.math) + views_text(chain);
}

std::string to_string(const ConvChain& chain) {
    const std::string options = options_text(chain);
    return convolutions_text(chain) + (options == options_text(ConvChain()) ? "" : options);
}

const char* to_string(Layout layout) noexcept {
    switch (layout) {
        case Layout::nhwc: return "nhwc";
        case Layout::nchw16c: return "nchw16c";
        case Layout::nchw8c: return "nchw8c";
        case Layout::nchw: return "nchw";
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

ConvChain stage_of(const ConvChain& chain, int i) {
    ConvChain alone;
    const Result<Problem> problem = make_problem(chain);
    if (!problem) return alone;
    const Stage& stage = problem->stage(i);
    alone.input = {chain.input.n, stage.in_channels, stage.in_h, stage.in_w, i == 0 && chain.input.factors};
    alone.convs[0] = chain.conv(i);
    alone.conv_count = 1;
    alone.dtype = problem->input_dtype(i);
    alone.layout = chain.layout;
    alone.math = chain.math;
    if (problem->output_dtype(i) != alone.dtype) alone.output_dtypes[0] = problem->output_dtype(i);
    if (i == 0) alone.input_view = chain.input_view;
    if (i + 1 == chain.conv_count) alone.output_view = chain.output_view;
    alone.residual_views[0] = chain.residual_views[static_cast<std::size_t>(i)];
    if (i == 0 || !stage.sums_input()) return alone;
    for (PostOp& op : alone.convs[0].post_ops)
        op.of_input = false;
    alone.residual_views[0] = chain.input_view;
    return alone;
}

}  // namespace tandem
