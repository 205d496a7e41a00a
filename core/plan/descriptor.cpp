// Descriptors as values: building them and taking them apart. Their text: descriptor_writer.cpp and
// descriptor_text.cpp. Checking: resolve.cpp.
#include "tandem/descriptor.hpp"

#include <algorithm>
#include <limits>

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

ConvChain stage_of(const ConvChain& chain, int i) {
    ConvChain alone;
    const Result<Problem> problem = make_problem(chain);
    if (!problem) return alone;
    const Stage& stage = problem->stage(i);
    alone.input = {chain.input.n, stage.in_channels, stage.in_h, stage.in_w, i == 0 && chain.input.factors};
    alone.convs[0] = chain.conv(i);
    alone.conv_count = 1;
    alone.dtype = problem->input_dtype(i);
    alone.layout = problem->layout;
    alone.math = chain.math;
    if (problem->output_dtype(i) != alone.dtype) alone.output_dtypes[0] = problem->output_dtype(i);
    // What the caller stated of a tensor; else the chain's layout, if the stage's own is another.
    const auto view = [&](const std::optional<TensorView>& stated) -> std::optional<TensorView> {
        if (stated || chain.layout == alone.layout) return stated;
        return TensorView(chain.layout);
    };
    if (i == 0) alone.input_view = view(chain.input_view);
    if (i + 1 == chain.conv_count) alone.output_view = view(chain.output_view);
    if (stage.sums_input() && i > 0)
        alone.residual_views[0] = view(chain.input_view);
    else if (problem->residual_shape(i).c > 0)
        alone.residual_views[0] = view(chain.residual_views[static_cast<std::size_t>(i)]);
    if (i > 0)
        for (PostOp& op : alone.convs[0].post_ops)
            op.of_input = false;
    return alone;
}

}  // namespace tandem
