#include "core/plan/problem.hpp"

#include <bit>

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
        if (op.channels != 0) hash.add(static_cast<std::uint64_t>(op.channels));
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

/// "f32", or the input's and every stage's output where they differ: "u8-u8-f32".
std::string dtypes_text(const Problem& problem) {
    std::string text = to_string(problem.dtype);
    bool equal = true;
    for (int i = 0; i < problem.stage_count; ++i)
        equal = equal && problem.output_dtype(i) == problem.dtype;
    for (int i = 0; i < problem.stage_count && !equal; ++i)
        text += std::string("-") + to_string(problem.output_dtype(i));
    return text;
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

TensorShape Problem::input_shape() const noexcept { return {input.n, input.c, input.h, input.w}; }

TensorShape Problem::output_shape(int i) const noexcept {
    const Stage& s = stage(i);
    return {input.n, s.out_channels, s.out_h, s.out_w};
}

TensorShape Problem::residual_shape(int i) const noexcept {
    const Stage& s = stage(i);
    const std::int64_t channels = s.residual_channels();
    if (channels == 0) return {0, 0, 0, 0};
    return {input.n, channels, s.out_h, s.out_w};
}

double Problem::flops() const noexcept {
    double image = 0;
    for (int i = 0; i < stage_count; ++i)
        image += stage(i).flops();
    return image * static_cast<double>(input.n);
}

std::string Problem::text() const {
    ConvChain chain;
    chain.input = input;
    for (int i = 0; i < stage_count; ++i)
        chain = chain.then(written(stage(i)));
    return to_string(chain);
}

std::string Problem::name() const {
    return text() + '/' + to_string(layout) + '/' + dtypes_text(*this) + '/' + to_string(math);
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
    part.output_dtypes = {};
    part.stage_count = count;
    part.stages = {};
    for (int i = 0; i < count; ++i) {
        part.stage(i) = problem.stage(first + i);
        part.output_dtypes[static_cast<std::size_t>(i)] = problem.output_dtype(first + i);
    }
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
    for (int i = 0; i < problem.stage_count; ++i)
        add_stage(hash, problem.stage(i));
    return hash.value();
}

}  // namespace tandem
