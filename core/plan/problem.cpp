#include "core/plan/problem.hpp"

#include <algorithm>
#include <bit>

#include "core/plan/descriptor_writer.hpp"
#include "core/plan/post_op_traits.hpp"
#include "core/plan/resolve.hpp"

namespace tandem {

namespace {

/// Multiply-and-fold mixing of 64-bit words.
class Hash {
public:
    void add(std::uint64_t word) noexcept {
        state_ = (state_ ^ word) * 0x9e3779b97f4a7c15u;  // 2^64 / golden ratio
        state_ ^= state_ >> 32;
    }
    void add(std::int64_t high, std::int64_t low) noexcept {
        add(static_cast<std::uint64_t>(high) << 32 ^ static_cast<std::uint64_t>(low));
    }
    std::size_t value() const noexcept { return state_; }

private:
    std::uint64_t state_ = 0x2545f4914f6cdd1du;  // any odd number
};

/// Only what the rest of the stage follows from. Small numbers share words: whatever they are, equality
/// decides.
void add_stage(Hash& hash, const Stage& stage) noexcept {
    const Conv& conv = stage.conv;
    std::uint64_t sizes = static_cast<std::uint64_t>(conv.kind);
    for (std::int64_t size : {conv.kernel.h, conv.kernel.w, conv.stride.h, conv.stride.w})
        sizes = sizes << 8 | static_cast<std::uint64_t>(size);
    std::uint64_t kinds = 0;
    for (const PostOp& op : conv.chain())
        kinds = kinds << 8 | (static_cast<std::uint64_t>(op.kind) + 1);
    hash.add(sizes);
    hash.add(kinds);
    hash.add(conv.out_channels, conv.multiplier);
    hash.add(conv.dilation.h, conv.dilation.w);
    hash.add(stage.padding.top, stage.padding.left);
    hash.add(stage.padding.bottom, stage.padding.right);
    for (const PostOp& op : conv.chain()) {
        if (op.channels != 0) hash.add(op.of_input, op.channels);
        if (op.alpha != 0 || op.beta != 0)
            hash.add(std::bit_cast<std::uint32_t>(op.alpha), std::bit_cast<std::uint32_t>(op.beta));
    }
}

/// The stage's convolution as a descriptor would have it.
Conv written(const Stage& stage) {
    Conv conv = stage.conv;
    for (PostOp& op : conv.post_ops)
        if (op.kind == PostOpKind::sum && op.channels == stage.out_channels) op.channels = 0;
    return conv;
}

/// Without the strides that a tensor has anyway.
TensorView written(const TensorView& view, const TensorShape& shape) {
    TensorView left = view;
    for (const auto stride : {&TensorView::pixel, &TensorView::row, &TensorView::block, &TensorView::image}) {
        const std::int64_t value = left.*stride;
        left.*stride = 0;
        if (filled(left, shape).*stride != value) left.*stride = value;
    }
    return left;
}

/// The descriptor that the problem was made of, or an equal one.
ConvChain written(const Problem& problem) {
    ConvChain chain = ConvChain::of(problem.input);
    chain.dtype = problem.dtype;
    chain.layout = problem.layout;
    chain.math = problem.math;
    for (int i = 0; i < problem.stage_count; ++i) {
        const auto at = static_cast<std::size_t>(i);
        chain = chain.then(written(problem.stage(i)));
        chain.output_dtypes[at] = problem.output_dtype(i);
        if (const TensorShape shape = problem.residual_shape(i); shape.c > 0)
            chain.residual_views[at] = written(problem.residual_view(i), shape);
    }
    chain.input_view = written(problem.input_view, problem.input_shape());
    chain.output_view = written(problem.output_view, problem.output_shape());
    return chain;
}

void add_view(Hash& hash, const TensorView& view) noexcept {
    hash.add(static_cast<std::int64_t>(view.layout), view.pixel);
    hash.add(view.row, view.block);
    hash.add(static_cast<std::uint64_t>(view.image));
}

// Where a stage's Winograd tiles begin. Before another stage, in a tall image, it is where the fresh rows of
// a sliding window begin behind tiles of a multiple of four rows, so that each computes whole Winograd tiles
// and the window holds no rows ahead. That may cost a row of them, which is too much in lower images.
std::int64_t winograd_row(const Stage& stage, const Stage& next) noexcept {
    constexpr std::int64_t tile = 4, tall = 16 * tile;
    if (stage.out_h <= tall) return 0;
    const Conv& conv = next.conv;
    const std::int64_t end =
        (tile - 1) * conv.stride.h - next.padding.top + (conv.kernel.h - 1) * conv.dilation.h + 1;
    return (end % tile + tile) % tile;
}

}  // namespace

bool Stage::pointwise() const noexcept {
    return conv.kind == ConvKind::dense && conv.kernel == Size2{1, 1} && conv.stride == Size2{1, 1} &&
           padding == Padding{};
}

double Stage::flops() const noexcept {
    return 2.0 * static_cast<double>(weight_count()) * static_cast<double>(out_h * out_w);
}

std::int64_t Stage::weight_count() const noexcept {
    return out_channels * (depthwise() ? 1 : in_channels) * conv.kernel.h * conv.kernel.w;
}

std::int64_t Stage::residual_channels() const noexcept {
    for (const PostOp& op : conv.chain())
        if (op.kind == PostOpKind::sum) return op.channels;
    return 0;
}

bool Stage::sums_input() const noexcept { return std::ranges::any_of(conv.chain(), &PostOp::of_input); }

TensorShape Problem::input_shape() const noexcept { return {input.n, input.c, input.h, input.w}; }

TensorShape Problem::output_shape(int i) const noexcept {
    const Stage& s = stage(i);
    return {input.n, s.out_channels, s.out_h, s.out_w};
}

TensorShape Problem::residual_shape(int i) const noexcept {
    const Stage& s = stage(i);
    const std::int64_t channels = s.residual_channels();
    if (channels == 0 || s.sums_input()) return {0, 0, 0, 0};
    return {input.n, channels, s.out_h, s.out_w};
}

double Problem::flops() const noexcept {
    double image = 0;
    for (int i = 0; i < stage_count; ++i)
        image += stage(i).flops();
    return image * static_cast<double>(input.n);
}

std::string Problem::text() const { return convolutions_text(written(*this)); }

std::string Problem::name() const {
    const ConvChain chain = written(*this);
    return convolutions_text(chain) + options_text(chain);
}

bool residual_lies_on_output(const Problem& problem) noexcept {
    const int last = problem.stage_count - 1;
    const TensorShape shape = problem.residual_shape(last);
    const TensorView &a = problem.residual_view(last), &b = problem.output_view;
    return shape.c > 0 && a.layout == b.layout && (shape.w == 1 || a.pixel == b.pixel) &&
           (shape.h == 1 || a.row == b.row) && (shape.n == 1 || a.image == b.image) &&
           (shape.c <= channel_block(a.layout) || a.block == b.block);
}

Result<Problem> make_problem(const ConvChain& chain) {
    Result<Problem> result{std::in_place};
    if (Status status = resolve(chain, *result); !status)
        result = status.error();
    else
        for (int i = 0; i + 1 < result->stage_count; ++i)
            result->stage(i).winograd_row = winograd_row(result->stage(i), result->stage(i + 1));
    return result;  // the only return, so that nothing is copied
}

Problem stage_range(const Problem& problem, int first, int count) {
    Problem part = problem;
    const Stage& stage = problem.stage(first);
    part.input = {problem.input.n, stage.in_channels, stage.in_h, stage.in_w,
                  first == 0 && problem.input.factors};
    part.dtype = problem.input_dtype(first);
    part.stage_count = count;
    part.stages = {};
    part.output_dtypes = {};
    part.residual_views = {};
    for (int i = 0; i < count; ++i) {
        part.stage(i) = problem.stage(first + i);
        part.output_dtypes[static_cast<std::size_t>(i)] = problem.output_dtype(first + i);
        part.residual_view(i) = problem.residual_view(first + i);
    }
    if (first > 0) part.input_view = filled(problem.layout, part.input_shape());
    if (first + count < problem.stage_count) part.output_view = filled(problem.layout, part.output_shape());
    return part;
}

Problem stage_alone(const Problem& problem, int i) { return stage_range(problem, i, 1); }

std::size_t hash_value(const Problem& problem) noexcept {
    Hash hash;
    std::uint64_t options = static_cast<std::uint64_t>(problem.input.factors) << 12 |
                            static_cast<std::uint64_t>(problem.layout) << 8 |
                            static_cast<std::uint64_t>(problem.math) << 4 |
                            static_cast<std::uint64_t>(problem.stage_count);
    for (int i = 0; i <= problem.stage_count; ++i)
        options = options << 4 | static_cast<std::uint64_t>(problem.input_dtype(i));
    hash.add(static_cast<std::uint64_t>(problem.input.n));
    hash.add(problem.input.c, problem.input.h);
    hash.add(static_cast<std::int64_t>(options), problem.input.w);
    add_view(hash, problem.input_view);
    add_view(hash, problem.output_view);
    for (int i = 0; i < problem.stage_count; ++i) {
        add_stage(hash, problem.stage(i));
        if (problem.stage(i).residual_channels() > 0) add_view(hash, problem.residual_view(i));
    }
    return hash.value();
}

}  // namespace tandem
