#include "core/run/verification_data.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace tandem {

namespace {

// Integer data. 2^22 leaves two bits of a float's 24 for partial sums; 2^11 for the intermediate splits that evenly between
// the stages. Few shapes reach either: those get zeros among their weights until they keep within them.
constexpr double max_input = 4, max_weight = 2, max_bias = 8;
constexpr double intermediate_limit = 1 << 11, output_limit = 1 << 22, exact_limit = 1 << 24;

class Numbers {
public:
    explicit Numbers(std::uint64_t seed) : engine_(seed) {}

    float integer(double limit) {
        const auto span = static_cast<std::uint64_t>(2 * limit + 1);
        return static_cast<float>(static_cast<double>(engine_() % span) - limit);
    }
    /// Mean 0, variance 1, in +-3.5: four 16-bit uniforms added up.
    float normal() {
        const std::uint64_t bits = engine_();
        double sum = 0;
        for (int i = 0; i < 4; ++i) sum += static_cast<double>(bits >> (16 * i) & 0xffff);
        return static_cast<float>((sum / 65536 - 2) * std::sqrt(3.0));
    }
    bool chance(double probability) { return static_cast<double>(engine_() >> 11) * 0x1p-53 < probability; }

private:
    std::mt19937_64 engine_;
};

bool is_integer(float value) { return std::trunc(value) == value; }

std::int64_t fan_in(const Stage& stage) { return stage.weight_count() / stage.out_channels; }

template <class Make>
std::vector<float> filled(std::int64_t count, Make make) {
    std::vector<float> values(static_cast<std::size_t>(count));
    std::ranges::generate(values, make);
    return values;
}

/// A tensor in `layout` whose padding channels are NaN.
template <class Make>
std::vector<float> activations(const TensorShape& shape, Layout layout, Make make) {
    std::vector<float> values(static_cast<std::size_t>(element_count(shape, layout)), std::numeric_limits<float>::quiet_NaN());
    for (std::int64_t n = 0; n < shape.n; ++n)
        for (std::int64_t c = 0; c < shape.c; ++c)
            for (std::int64_t y = 0; y < shape.h; ++y)
                for (std::int64_t x = 0; x < shape.w; ++x)
                    values[static_cast<std::size_t>(element_index(shape, layout, n, c, y, x))] = make();
    return values;
}

/// Largest |value| after one post-op on integer data of at most `bound`.
double bound_after(const PostOp& op, double bound) {
    switch (op.kind) {
        case PostOpKind::bias: return bound + max_bias;
        case PostOpKind::sum: return bound + max_input;
        case PostOpKind::prelu:
        case PostOpKind::scale: return bound * max_weight;
        case PostOpKind::leaky: return bound * std::max(1.0, std::abs(static_cast<double>(op.alpha)));
        case PostOpKind::relu6: return std::min(bound, 6.0);
        case PostOpKind::clip: return std::max(std::abs(op.alpha), std::abs(op.beta));
        default: return bound;
    }
}

/// Largest |value| at any point of a stage's chain.
struct ChainBound {
    double highest, last;
};

ChainBound chain_bound(const Conv& conv, double bound) {
    ChainBound result{bound, bound};
    for (const PostOp& op : conv.chain()) {
        result.last = bound_after(op, result.last);
        result.highest = std::max(result.highest, result.last);
    }
    return result;
}

/// Integer weights whose magnitudes add up to at most `allowance` an output channel.
std::vector<float> integer_weights(const Stage& stage, double allowance, Numbers& numbers) {
    constexpr double mean_weight = 1.2;  // of |integer(2)|
    const auto taps = static_cast<std::size_t>(fan_in(stage));
    const double density = std::min(1.0, 0.8 * allowance / (mean_weight * static_cast<double>(taps)));
    std::vector<float> weights(static_cast<std::size_t>(stage.weight_count()));
    double used = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
        if (i % taps == 0) used = 0;
        const float weight = numbers.chance(density) ? numbers.integer(max_weight) : 0.0f;
        if (used + std::abs(weight) > allowance) continue;
        weights[i] = weight;
        used += std::abs(weight);
    }
    return weights;
}

/// Returns the largest |value| that the stage may put out.
double make_integer_stage(const Stage& stage, double input_bound, double limit, Numbers& numbers, VerificationData& data, int i) {
    const double taps = static_cast<double>(fan_in(stage));
    const double growth = std::max(1.0, chain_bound(stage.conv, limit).highest / limit);
    const double allowance = std::max(max_weight, std::min(max_weight * taps, std::floor(limit / growth / input_bound)));
    const ChainBound bound = chain_bound(stage.conv, allowance * input_bound);
    data.exact = data.exact && bound.highest < exact_limit;
    const auto per_channel = [&](PostOpKind kind, double magnitude) {
        return filled(stage.conv.has(kind) ? stage.out_channels : 0, [&] { return numbers.integer(magnitude); });
    };
    auto& weights = data.stages[static_cast<std::size_t>(i)];
    weights.weights = integer_weights(stage, allowance, numbers);
    weights.bias = per_channel(PostOpKind::bias, max_bias);
    weights.prelu = per_channel(PostOpKind::prelu, max_weight);
    weights.scale = per_channel(PostOpKind::scale, max_weight);
    return bound.last;
}

void make_integers(const Problem& problem, Numbers& numbers, VerificationData& data) {
    const auto integer = [&] { return numbers.integer(max_input); };
    data.exact = true;
    data.input = activations(problem.input_shape(), problem.layout, integer);
    double bound = max_input;
    for (int i = 0; i < problem.stage_count; ++i) {
        const bool last = i + 1 == problem.stage_count;
        bound = make_integer_stage(problem.stage(i), std::max(bound, 1.0), last ? output_limit : intermediate_limit, numbers, data, i);
        data.residual[static_cast<std::size_t>(i)] = activations(problem.residual_shape(i), problem.layout, integer);
    }
    data.exact = data.exact && std::ranges::all_of(problem.last().conv.chain(), exact_on_integers);
}

void make_random(const Problem& problem, Numbers& numbers, VerificationData& data) {
    const auto normal = [&] { return numbers.normal(); };
    data.input = activations(problem.input_shape(), problem.layout, normal);
    for (int i = 0; i < problem.stage_count; ++i) {
        const Stage& stage = problem.stage(i);
        const float weight_scale = 1 / std::sqrt(static_cast<float>(fan_in(stage)));
        const auto per_channel = [&](PostOpKind kind, float mean, float deviation) {
            return filled(stage.conv.has(kind) ? stage.out_channels : 0, [&] { return mean + deviation * numbers.normal(); });
        };
        auto& weights = data.stages[static_cast<std::size_t>(i)];
        weights.weights = filled(stage.weight_count(), [&] { return weight_scale * numbers.normal(); });
        weights.bias = per_channel(PostOpKind::bias, 0, 0.5f);
        weights.prelu = per_channel(PostOpKind::prelu, 0.25f, 0.125f);
        weights.scale = per_channel(PostOpKind::scale, 1, 0.125f);
        data.residual[static_cast<std::size_t>(i)] = activations(problem.residual_shape(i), problem.layout, normal);
    }
}

bool transcendental(const PostOp& op) {
    using enum PostOpKind;
    return op.kind == sigmoid || op.kind == tanh || op.kind == swish || op.kind == elu || op.kind == gelu_erf || op.kind == gelu_tanh;
}

/// What is allowed beside 1e-5 of max|ref|: rounding of a sum of n terms of variance 1/n grows like sqrt(n), however small the
/// largest output happens to be; and the kernels' exp, tanh and erf are polynomials.
double absolute_tolerance(const Problem& problem) {
    double tolerance = 0;
    for (int i = 0; i < problem.stage_count; ++i) {
        const Stage& stage = problem.stage(i);
        tolerance = std::max(tolerance, 1e-7 * std::sqrt(static_cast<double>(fan_in(stage))));
        if (std::ranges::any_of(stage.conv.chain(), transcendental)) tolerance += 2e-6;
    }
    return tolerance;
}

bool exact_before_last(const Problem& problem) {
    for (int i = 0; i + 1 < problem.stage_count; ++i)
        if (!std::ranges::all_of(problem.stage(i).conv.chain(), exact_on_integers)) return false;
    return true;
}

}  // namespace

const char* to_string(DataKind kind) noexcept { return kind == DataKind::integers ? "integers" : "random"; }

bool exact_on_integers(const PostOp& op) noexcept {
    using enum PostOpKind;
    switch (op.kind) {
        case leaky: return is_integer(op.alpha);
        case clip: return is_integer(op.alpha) && is_integer(op.beta);
        case sigmoid:
        case tanh:
        case swish:
        case hsigmoid:
        case hswish:
        case elu:
        case gelu_erf:
        case gelu_tanh: return false;
        case bias:
        case relu:
        case relu6:
        case prelu:
        case scale:
        case sum: return true;
    }
    return false;
}

VerificationData make_verification_data(const Problem& problem, DataKind kind, std::uint64_t seed) {
    VerificationData data;
    Numbers numbers(seed);
    if (kind == DataKind::integers && exact_before_last(problem)) make_integers(problem, numbers, data);
    else make_random(problem, numbers, data);
    data.tolerance = absolute_tolerance(problem);
    return data;
}

}  // namespace tandem
