#include "core/plan/descriptor_writer.hpp"

#include <array>
#include <charconv>
#include <utility>

#include "core/plan/float_state.hpp"
#include "core/plan/post_op_traits.hpp"

namespace tandem {
namespace {

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

Conv with_same_padding(Conv conv) {
    conv.padding.reset();
    return conv;
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

std::string to_string(const Conv& conv) {
    const DefaultFloatState float_state;
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
    if (conv.padding && *conv.padding != with_same_padding(conv).resolved_padding()) {
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

}  // namespace tandem
