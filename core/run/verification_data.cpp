#include "core/run/verification_data.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "core/plan/post_op_traits.hpp"

namespace tandem {

namespace {

// Integer data. 2^22 leaves two bits of a float's 24 for partial sums; 2^11 in the middle of the chain
// splits that evenly between the stages. Few shapes reach either: those get zeros among their weights until
// they keep within them.
constexpr double max_input = 4, max_factor = 2, max_weight = 2, max_bias = 8;
constexpr double f16_max = 65504;

/// What the numbers of integer data are multiples of, and how many of it. Types of few bits get fractions
/// in their inputs: sums then have more bits than the type, and are rounded as exactly as they were added
/// up. f16's stay within its range, and where they may be added up in f16, within the integers that it has.
struct Grid {
    double quantum, middle_limit, output_limit, exact_limit = 1 << 24;

    /// Of stage i's output: from 1 at the input over the middle's to the output's by equal factors.
    double limit(int i, int stage_count) const {
        const double at = 2.0 * (i + 1) / stage_count;
        const double bits = at <= 1 ? at * std::log2(middle_limit)
                                    : std::lerp(std::log2(middle_limit), std::log2(output_limit), at - 1);
        return std::floor(std::exp2(bits));
    }
};

Grid grid_of(const Problem& problem) {
    switch (problem.dtype) {
        case DataType::bf16: return {0x1p-4, 1 << 13, 1 << 22};
        case DataType::f16:
            return problem.math == Math::f16 ? Grid{1, 1 << 6, 1 << 11, 1 << 11}
                                             : Grid{0x1p-7, 1 << 15, 1 << 22};
        default: return {1, 1 << 11, 1 << 22};
    }
}

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
        for (int i = 0; i < 4; ++i)
            sum += static_cast<double>(bits >> (16 * i) & 0xffff);
        return static_cast<float>((sum / 65536 - 2) * std::sqrt(3.0));
    }
    float uniform(float low, float high) {
        return low + (high - low) * static_cast<float>(engine_() >> 40) * 0x1p-24f;
    }
    int between(int low, int high) {
        return low + static_cast<int>(engine_() % static_cast<std::uint64_t>(high - low + 1));
    }
    bool chance(double probability) { return static_cast<double>(engine_() >> 11) * 0x1p-53 < probability; }

private:
    std::mt19937_64 engine_;
};

template <class Make>
std::vector<float> filled(std::int64_t count, Make make) {
    std::vector<float> values(static_cast<std::size_t>(count));
    std::ranges::generate(values, make);
    return values;
}

/// A tensor as `view` has it with `padding` in its padding channels and gaps.
template <class Make>
std::vector<float> activations(const TensorShape& shape, const TensorView& view, Make make,
                               float padding = std::numeric_limits<float>::quiet_NaN()) {
    std::vector<float> values(static_cast<std::size_t>(element_count(shape, view)), padding);
    for (std::int64_t n = 0; n < shape.n; ++n)
        for (std::int64_t c = 0; c < shape.c; ++c)
            for (std::int64_t y = 0; y < shape.h; ++y)
                for (std::int64_t x = 0; x < shape.w; ++x)
                    values[static_cast<std::size_t>(element_index(shape, view, n, c, y, x))] = make();
    return values;
}

/// Largest |number| of a post-op's tensor on integer data.
double largest_of(PostOpTensor tensor) {
    switch (tensor) {
        case PostOpTensor::none: return 0;
        case PostOpTensor::addends: return max_bias;
        case PostOpTensor::slopes:
        case PostOpTensor::factors: return max_weight;
        case PostOpTensor::residual: return max_input;
    }
    return 0;
}

/// Largest |value| at any point of a stage's chain.
struct ChainBound {
    double highest, last;
};

ChainBound chain_bound(const Conv& conv, double bound) {
    ChainBound result{bound, bound};
    for (const PostOp& op : conv.chain()) {
        result.last = bound_after(op, result.last, largest_of(traits(op).tensor));
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
double make_integer_stage(const Problem& problem, int i, double input_bound, Numbers& numbers,
                          VerificationData& data) {
    const Stage& stage = problem.stage(i);
    const Grid grid = grid_of(problem);
    const double limit = grid.quantum * grid.limit(i, problem.stage_count);
    const double taps = static_cast<double>(fan_in(stage));
    const double growth = std::max(1.0, chain_bound(stage.conv, limit).highest / limit);
    const double allowance =
        std::max(max_weight, std::min(max_weight * taps, std::floor(limit / growth / input_bound)));
    const ChainBound bound = chain_bound(stage.conv, allowance * input_bound);
    data.exact = data.exact && bound.highest <= grid.exact_limit * grid.quantum &&
                 (problem.dtype != DataType::f16 || bound.last <= f16_max);
    const auto per_channel = [&](PostOpKind kind, double magnitude) {
        return filled(stage.conv.has(kind) ? stage.out_channels : 0,
                      [&] { return numbers.integer(magnitude); });
    };
    auto& weights = data.stages[static_cast<std::size_t>(i)];
    weights.weights = integer_weights(stage, allowance, numbers);
    weights.bias = per_channel(PostOpKind::bias, max_bias);
    weights.prelu = per_channel(PostOpKind::prelu, max_weight);
    weights.scale = per_channel(PostOpKind::scale, max_weight);
    return bound.last;
}

void make_integers(const Problem& problem, Numbers& numbers, VerificationData& data) {
    const double quantum = grid_of(problem).quantum;
    const auto multiple = [&] {
        return numbers.integer(max_input / quantum) * static_cast<float>(quantum);
    };
    data.exact = true;
    data.input = activations(problem.input_shape(), problem.input_view, multiple);
    double bound = problem.input.factors ? max_input * max_factor : max_input;
    for (int i = 0; i < problem.stage_count; ++i) {
        bound = make_integer_stage(problem, i, std::max(bound, 1.0), numbers, data);
        data.residual[static_cast<std::size_t>(i)] =
            activations(problem.residual_shape(i), problem.residual_view(i), multiple);
    }
    data.exact_intermediate = data.exact;
    data.exact = data.exact && std::ranges::all_of(problem.last().conv.chain(), exact_on_integers);
}

void make_random_params(const Stage& stage, Numbers& numbers, VerificationData::Weights& weights) {
    const auto per_channel = [&](PostOpKind kind, float mean, float deviation) {
        return filled(stage.conv.has(kind) ? stage.out_channels : 0,
                      [&] { return mean + deviation * numbers.normal(); });
    };
    weights.bias = per_channel(PostOpKind::bias, 0, 0.5f);
    weights.prelu = per_channel(PostOpKind::prelu, 0.25f, 0.125f);
    weights.scale = per_channel(PostOpKind::scale, 1, 0.125f);
}

void make_random(const Problem& problem, Numbers& numbers, VerificationData& data) {
    const auto normal = [&] {
        return rounded(problem.dtype, numbers.normal());
    };
    data.input = activations(problem.input_shape(), problem.input_view, normal);
    for (int i = 0; i < problem.stage_count; ++i) {
        const Stage& stage = problem.stage(i);
        const float weight_scale = 1 / std::sqrt(static_cast<float>(fan_in(stage)));
        auto& weights = data.stages[static_cast<std::size_t>(i)];
        weights.weights = filled(stage.weight_count(), [&] { return weight_scale * numbers.normal(); });
        make_random_params(stage, numbers, weights);
        data.residual[static_cast<std::size_t>(i)] =
            activations(problem.residual_shape(i), problem.residual_view(i), normal);
    }
}

// --- quantised problems: real numbers of about mean 0 and variance 1 everywhere, so that post-ops and
// clamping are seen at work ------

struct IntegerRange {
    int lowest, highest;
};
constexpr IntegerRange range_of(DataType type) {
    return type == DataType::u8 ? IntegerRange{0, 255} : IntegerRange{-128, 127};
}

/// Any integer of the range; with `extremes`, every second one is an end of it.
int any_integer(IntegerRange range, bool extremes, Numbers& numbers) {
    if (extremes && numbers.chance(0.5)) return numbers.chance(0.5) ? range.lowest : range.highest;
    return numbers.between(range.lowest, range.highest);
}

/// Root mean square of integers spread over a range around a zero point.
float deviation_from(int zero_point, IntegerRange range, bool extremes) {
    const auto square = [zero_point](int x) {
        return static_cast<double>(x - zero_point) * (x - zero_point);
    };
    double mean = 0;
    for (int x = range.lowest; x <= range.highest; ++x)
        mean += square(x) / 256;
    if (extremes) mean = (mean + (square(range.lowest) + square(range.highest)) / 2) / 2;
    return static_cast<float>(std::sqrt(mean));
}

/// Zero points are anywhere, and every eighth time at an end: that of outputs of relu, and of symmetric
/// quantisation.
int any_zero_point(DataType type, Numbers& numbers) {
    const IntegerRange range = range_of(type);
    return numbers.chance(0.125) ? (numbers.chance(0.5) ? range.lowest : range.highest)
                                 : numbers.between(range.lowest, range.highest);
}

/// Of a tensor of integers that are spread over the whole range: real numbers of variance 1.
Quantization quantization_of_input(DataType type, bool extremes, Numbers& numbers) {
    const int zero_point = any_zero_point(type, numbers);
    return {1 / deviation_from(zero_point, range_of(type), extremes), zero_point};
}

/// The range of the type comes to 4 to 8 standard deviations, so that few numbers are clamped where the
/// zero point is not near an end.
Quantization quantization_of_output(DataType type, Numbers& numbers) {
    return is_quantized(type) ? Quantization{numbers.uniform(4, 8) / 255, any_zero_point(type, numbers)}
                              : Quantization{};
}

std::vector<float> quantized_activations(const TensorShape& shape, const TensorView& view, DataType type,
                                         bool extremes, Numbers& numbers) {
    const auto make = [&] {
        return static_cast<float>(any_integer(range_of(type), extremes, numbers));
    };
    std::vector<float> values = activations(shape, view, make);
    for (float& value : values)
        if (std::isnan(value)) value = make();  // padding channels
    return values;
}

void make_quantized_stage(const Problem& problem, int i, bool extremes, Numbers& numbers,
                          VerificationData& data) {
    const Stage& stage = problem.stage(i);
    auto& weights = data.stages[static_cast<std::size_t>(i)];
    constexpr IntegerRange range = range_of(DataType::s8);
    weights.quantized_weights.resize(static_cast<std::size_t>(stage.weight_count()));
    for (std::int8_t& weight : weights.quantized_weights)
        weight = static_cast<std::int8_t>(any_integer(range, extremes, numbers));
    const float scale =
        1 / (deviation_from(0, range, extremes) * std::sqrt(static_cast<float>(fan_in(stage))));
    weights.weight_scales = filled(stage.out_channels, [&] { return scale * numbers.uniform(0.5f, 1.5f); });
    make_random_params(stage, numbers, weights);
    const DataType output = problem.output_dtype(i);
    weights.output = quantization_of_output(output, numbers);
    const TensorShape residual = problem.residual_shape(i);
    const auto at = static_cast<std::size_t>(i);
    if (is_quantized(output)) {
        weights.residual =
            stage.sums_input() ? data.input_quantization : quantization_of_input(output, extremes, numbers);
        data.residual[at] =
            quantized_activations(residual, problem.residual_view(i), output, extremes, numbers);
    } else {
        data.residual[at] = activations(residual, problem.residual_view(i), [&] { return numbers.normal(); });
    }
}

void make_quantized(const Problem& problem, bool extremes, Numbers& numbers, VerificationData& data) {
    data.input =
        quantized_activations(problem.input_shape(), problem.input_view, problem.dtype, extremes, numbers);
    data.input_quantization = quantization_of_input(problem.dtype, extremes, numbers);
    data.exact_intermediate = data.exact = true;
    for (int i = 0; i < problem.stage_count; ++i) {
        if (i > 0) data.exact_intermediate = data.exact;
        make_quantized_stage(problem, i, extremes, numbers, data);
        data.exact = data.exact && std::ranges::none_of(problem.stage(i).conv.chain(), transcendental);
    }
}

bool exact_before_last(const Problem& problem) {
    for (int i = 0; i + 1 < problem.stage_count; ++i)
        if (!std::ranges::all_of(problem.stage(i).conv.chain(), exact_on_integers)) return false;
    return true;
}

}  // namespace

const char* to_string(DataKind kind) noexcept { return kind == DataKind::integers ? "integers" : "random"; }

std::int64_t fan_in(const Stage& stage) noexcept { return stage.weight_count() / stage.out_channels; }

std::vector<StageWeights> VerificationData::views(int stage_count) const {
    std::vector<StageWeights> result;
    for (int i = 0; i < stage_count; ++i)
        result.push_back(stages[static_cast<std::size_t>(i)].view());
    return result;
}

ReferenceArgs VerificationData::reference_args(std::span<const StageWeights> views) const noexcept {
    ReferenceArgs args{.input = input,
                       .stages = views,
                       .input_quantization = input_quantization,
                       .input_factors = input_factors};
    std::ranges::copy(residual, args.residual.begin());
    return args;
}

VerificationData make_verification_data(const Problem& problem, DataKind kind, std::uint64_t seed) {
    VerificationData data;
    Numbers numbers(seed);
    const bool integers = kind == DataKind::integers;
    if (problem.quantized())
        make_quantized(problem, integers, numbers, data);
    else if (integers && exact_before_last(problem))
        make_integers(problem, numbers, data);
    else
        make_random(problem, numbers, data);
    const std::int64_t factors = problem.input.factors ? problem.input.n * problem.input.c : 0;
    data.input_factors = filled(
        factors, [&] { return data.exact ? numbers.integer(max_factor) : numbers.uniform(-0.5f, 1.5f); });
    return data;
}

}  // namespace tandem
