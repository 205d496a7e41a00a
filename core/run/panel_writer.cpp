#include "core/run/panel_writer.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "core/plan/arithmetic.hpp"
#include "core/plan/post_op_traits.hpp"
#include "core/plan/strassen.hpp"

namespace tandem {
namespace {

std::span<const float> param_of(const StageWeights& w, PostOpKind kind) {
    if (kind == PostOpKind::bias) return w.bias;
    return kind == PostOpKind::prelu ? w.prelu : w.scale;
}

// The numbers that a quantised stage's panel holds besides weights (QuantNumber), and the factors of its
// sums.
struct QuantNumbers {
    std::array<std::uint32_t, quant_number_count> bits{};
    float input_zero = 0;
    std::int32_t read_zero = 0;  // of the source as the dot instruction reads it
    float input_scale = 1;
};

// What the generated code makes of a real number.
float quantized(DataType dtype, const Quantization& q, float value) {
    const float stored = std::fma(value, 1.0f / q.scale, static_cast<float>(q.zero_point));
    return rounded(dtype, std::isnan(stored) ? -HUGE_VALF : stored);
}

std::uint32_t four_bytes(std::int32_t value) { return 0x01010101u * static_cast<std::uint8_t>(value); }

QuantNumbers quant_numbers(const PanelSpec& spec, const Quantization& input, const StageWeights& w) {
    QuantNumbers numbers;
    if (!spec.quantized()) return numbers;
    const auto set_bits = [&](QuantNumber number, std::uint32_t value) {
        numbers.bits[static_cast<std::size_t>(number)] = value;
    };
    const auto set = [&](QuantNumber number, float value) {
        set_bits(number, std::bit_cast<std::uint32_t>(value));
    };
    numbers.input_zero = static_cast<float>(input.zero_point);
    numbers.read_zero = input.zero_point + spec.read_bias;
    numbers.input_scale = input.scale;
    set_bits(QuantNumber::input_fill, four_bytes(input.zero_point + spec.fill_bias));
    if (!is_quantized(spec.output_dtype)) return numbers;
    const Clamp bounds = final_clamp(spec.stage.conv).value_or(Clamp{-HUGE_VALF, HUGE_VALF});
    const float lowest = quantized(spec.output_dtype, w.output, bounds.low),
                highest = quantized(spec.output_dtype, w.output, bounds.high);
    set(QuantNumber::output_inverse_scale, 1.0f / w.output.scale);
    set(QuantNumber::output_zero, static_cast<float>(w.output.zero_point));
    set(QuantNumber::output_lowest, lowest);
    set(QuantNumber::output_highest, highest);
    set_bits(QuantNumber::output_lowest_bytes, four_bytes(static_cast<std::int32_t>(lowest)));
    set_bits(QuantNumber::output_highest_bytes, four_bytes(static_cast<std::int32_t>(highest)));
    set(QuantNumber::residual_scale, w.residual.scale);
    set(QuantNumber::residual_zero, static_cast<float>(w.residual.zero_point));
    return numbers;
}

// Writes a panel, a group at a time. `weight(channel, input, tap)` gives the weights where the layout has
// any.
class PanelWriter {
public:
    using Weight = std::function<float(std::int64_t channel, std::int64_t input, std::int64_t tap)>;

    PanelWriter(const Stage& stage, const PanelLayout& layout, const PanelOffsets& offsets,
                const StageWeights& params, const QuantNumbers& quant, Weight weight)
        : stage_(stage), layout_(layout), offsets_(offsets), params_(params), quant_(quant),
          weight_(std::move(weight)) {}

    void write(std::byte* panel) {
        for (const GroupRun& run : layout_.runs) {
            for (std::int64_t g = 0; g < run.count; ++g) {
                group_ = panel + run.offset + g * layout_.group_bytes(run);
                vectors_ = run.vectors;
                weight_vectors_ = layout_.weight_vectors(run);
                first_channel_ = (run.first_vector + g * run.vectors) * layout_.lanes;
                write_header(run);
                write_params();
                if (layout_.halves) write_upper_half(run);
                if (layout_.quantized) write_quantization();
                if (layout_.permute) write_permutation();
                if (layout_.taps > 0 && !by_windows()) write_weights();
                if (by_windows())
                    write_windows();
                else if (layout_.zero_point_taps > 0)
                    write_zero_points();
            }
        }
    }

private:
    std::int64_t channels() const {
        return std::min<std::int64_t>(std::int64_t{vectors_} * layout_.lanes,
                                      stage_.out_channels - first_channel_);
    }
    std::int64_t inputs() const {
        return stage_.depthwise() ? 1 : layout_.halves ? layout_.taps : stage_.in_channels;
    }
    bool by_windows() const { return stage_.depthwise() && layout_.dot == Dot::int8; }
    /// Lane, counted from the first vector's, of channel c of the group.
    std::int64_t place(std::int64_t c) const {
        return layout_.quads && vectors_ == quad_vectors ? quad_place(c) : c;
    }

    void write_header(const GroupRun& run) {
        GroupHeader header;
        const std::int64_t input_vector = first_channel_ / layout_.lanes / stage_.conv.multiplier;
        if (stage_.depthwise()) header.input = offsets_.in.of(input_vector * layout_.lanes);
        header.output = offsets_.out.of(first_channel_);
        if (run.residual_vectors > 0) header.residual = offsets_.residual.of(first_channel_);
        header.far = layout_.quantized && !outputs_fit_s32() ? 1 : 0;
        std::memcpy(group_, &header, sizeof header);
    }

    // Header and parameters of the group half the channels further.
    void write_upper_half(const GroupRun& run) {
        PanelWriter upper = *this;
        upper.group_ += layout_.upper_offset(vectors_);
        upper.first_channel_ += stage_.out_channels / 2;
        upper.write_header(run);
        upper.write_params();
    }

    // Whether no output of the group can leave the range of s32 before it is clamped, computed in f32 as the
    // generated code does it.
    bool outputs_fit_s32() const {
        constexpr double limit = 0x1p30;
        const double inverse_scale = static_cast<double>(1.0f / params_.output.scale);
        for (std::int64_t c = first_channel_; c < first_channel_ + channels(); ++c)
            if (!(largest_real(c) * inverse_scale < limit)) return false;
        return true;
    }

    // A bound on the magnitude of what channel c is before it is quantised; infinite where f32 may overflow
    // on the way.
    double largest_real(std::int64_t c) const {
        constexpr double steps = 255;
        const std::int64_t products = inputs() * stage_.conv.kernel.h * stage_.conv.kernel.w;
        double sum = 0;
        for (std::int64_t i = 0; i < products; ++i)
            sum += std::abs(
                static_cast<double>(params_.quantized_weights[static_cast<std::size_t>(c * products + i)]));
        double real =
            steps * sum * quant_.input_scale * std::abs(params_.weight_scales[static_cast<std::size_t>(c)]);
        double highest = real;
        for (const PostOp& op : stage_.conv.chain()) {
            const double tensor = is_per_channel(op.kind)
                                      ? std::abs(param_of(params_, op.kind)[static_cast<std::size_t>(c)])
                                      : steps * params_.residual.scale;
            highest = std::max(highest, real);
            real = bound_after(op, real, tensor);
        }
        constexpr double below_overflow = 0x1p126;
        return std::max(highest, real) < below_overflow ? real : HUGE_VAL;
    }

    void write_params() {
        for (int op = 0; op < stage_.conv.post_op_count; ++op) {
            const PostOpKind kind = stage_.conv.post_ops[static_cast<std::size_t>(op)].kind;
            if (!is_per_channel(kind)) continue;
            float* to = numbers<float>(layout_.params_offset() +
                                       param_index(stage_.conv, op) * vectors_ * layout_.vector_bytes);
            for (std::int64_t c = 0; c < channels(); ++c)
                to[place(c)] = param_of(params_, kind)[static_cast<std::size_t>(first_channel_ + c)];
        }
    }

    void write_quantization() {
        std::fill_n(numbers<float>(layout_.input_zero_offset()), layout_.lanes, quant_.input_zero);
        std::memcpy(numbers<std::uint32_t>(layout_.quant_offset(QuantNumber{})), quant_.bits.data(),
                    sizeof quant_.bits);
        for (std::int64_t c = 0; c < channels(); ++c)
            numbers<float>(layout_.factors_offset(vectors_))[place(c)] =
                quant_.input_scale * params_.weight_scales[static_cast<std::size_t>(first_channel_ + c)];
    }

    // Lane of the input vector that each output lane reads.
    void write_permutation() {
        auto* to = numbers<std::int32_t>(layout_.permute_offset(vectors_));
        for (std::int64_t lane = 0; lane < layout_.lanes; ++lane)
            to[lane] =
                static_cast<std::int32_t>((first_channel_ + lane) / stage_.conv.multiplier % layout_.lanes);
    }

    // Where the first part of a weight is, in numbers from the first weight on; c: its lane in a group's
    // vectors.
    std::int64_t number_of(std::int64_t ic, std::int64_t k, std::int64_t c) const {
        const std::int64_t columns = stage_.conv.kernel.w, kh = k / columns, kw = k % columns,
                           per_group = dot_channels(layout_.dot), group = ic / per_group,
                           row = kh * layout_.row_taps + layout_.zero_point_taps,
                           parts = dot_parts(layout_.dot);
        const auto number = [&](std::int64_t vector, std::int64_t lane) {
            return (vector * layout_.lanes + lane) * per_group + ic % per_group;
        };
        switch (layout_.order) {
            case WeightOrder::column_channel: return number((k * inputs() + ic) * weight_vectors_, c);
            case WeightOrder::channel_column:
                return number((row + (group * columns + kw) * parts) * weight_vectors_, c);
            case WeightOrder::tiles: break;
        }
        const std::int64_t tile =
            (group / amx_rows * columns + kw) * parts * weight_vectors_ + c / layout_.lanes;
        return number(row * weight_vectors_ + tile * amx_rows + group % amx_rows, c % layout_.lanes);
    }

    void write_weights() {
        const std::int64_t kernel = stage_.conv.kernel.h * stage_.conv.kernel.w;
        for (std::int64_t ic = 0; ic < inputs(); ++ic)
            for (std::int64_t k = 0; k < kernel; ++k)
                for (std::int64_t c = 0; c < channels(); ++c)
                    for (const std::int64_t lane : weight_lanes(c))
                        write_parts(number_of(ic, k, lane), weight_(first_channel_ + c, ic, k));
    }

    // Of channel c of the group in its vectors of weights: two where pixels lie in pairs.
    std::vector<std::int64_t> weight_lanes(std::int64_t c) const {
        if (!layout_.pixel_pairs) return {c};
        const bool last = c / layout_.lanes == vectors_ - 1;
        const std::int64_t lane = pixel_pair_lane(c, layout_.lanes, last && weight_vectors_ < 2 * vectors_);
        return {lane, lane + 1};
    }

    // Each part is the nearest bf16 to what the parts before it leave.
    void write_parts(std::int64_t at, float value) {
        const std::int64_t rows = layout_.order == WeightOrder::tiles ? amx_rows : 1,
                           step = rows * weight_vectors_ * layout_.lanes * dot_channels(layout_.dot);
        for (std::int64_t part = 0; part < dot_parts(layout_.dot); ++part) {
            write_weight(at + part * step, value);
            value -= rounded(DataType::bf16, value);
        }
    }

    void write_weight(std::int64_t at, float value) {
        const std::int64_t offset = layout_.weights_offset(vectors_);
        switch (dot_weight(layout_.dot)) {
            case Element::bf16:
            case Element::bf16x2:
            case Element::bf16x3: numbers<std::uint16_t>(offset)[at] = to_bf16(value); break;
            case Element::f16: numbers<std::uint16_t>(offset)[at] = to_f16(value); break;
            case Element::s8: numbers<std::int8_t>(offset)[at] = static_cast<std::int8_t>(value); break;
            case Element::s16: numbers<std::int16_t>(offset)[at] = static_cast<std::int16_t>(value); break;
            default: numbers<float>(offset)[at] = value; break;
        }
    }

    void write_zero_points() {
        const std::int64_t columns = stage_.conv.kernel.w,
                           row = std::int64_t{weight_vectors_} * layout_.lanes;
        for (std::int64_t kh = 0; kh < stage_.conv.kernel.h; ++kh) {
            auto* to =
                numbers<std::int32_t>(layout_.weights_offset(vectors_) + kh * layout_.row_taps * row * 4);
            for (std::int64_t kw = 0; kw < columns; ++kw) {
                for (std::int64_t c = 0; c < channels(); ++c) {
                    std::int32_t sum = 0;
                    for (std::int64_t ic = 0; ic < inputs(); ++ic)
                        sum += static_cast<std::int32_t>(weight_(first_channel_ + c, ic, kh * columns + kw));
                    for (const std::int64_t lane : weight_lanes(c)) {
                        to[lane] -= quant_.read_zero * sum;
                        if (columns > 1) to[(1 + kw) * row + lane] = -quant_.read_zero * sum;
                    }
                }
            }
        }
    }

    // Kernel rows as windows of columns, and what their sums owe to the zero point.
    void write_windows() {
        const std::int64_t columns = stage_.conv.kernel.w, rows = stage_.conv.kernel.h,
                           lanes = vectors_ * layout_.lanes, row_numbers = layout_.row_taps * lanes;
        auto* sums = numbers<std::int32_t>(layout_.weights_offset(vectors_));
        auto* weights = numbers<std::int8_t>(layout_.weights_offset(vectors_));
        for (std::int64_t c = 0; c < channels(); ++c) {
            for (std::int64_t tap = 0; tap < rows * columns; ++tap) {
                const std::int64_t kh = tap / columns, kw = tap % columns;
                const auto weight = static_cast<std::int32_t>(weight_(first_channel_ + c, 0, tap));
                for (const std::int64_t row : {kh, rows})
                    sums[row * row_numbers + place(c)] -= quant_.read_zero * weight;
                std::int64_t vector = kh * layout_.row_taps + layout_.zero_point_taps;
                for (std::int64_t offset = 0; offset < window_offsets(stage_); ++offset) {
                    const std::int64_t at = kw + offset;
                    weights[((vector + at / 4) * lanes + place(c)) * 4 + at % 4] =
                        static_cast<std::int8_t>(weight);
                    vector += window_vectors(columns, offset);
                }
            }
        }
    }

    template <class T>
    T* numbers(std::int64_t offset) const {
        return reinterpret_cast<T*>(group_ + offset);
    }

    const Stage& stage_;
    const PanelLayout& layout_;
    const PanelOffsets& offsets_;
    const StageWeights& params_;
    const QuantNumbers& quant_;
    Weight weight_;
    std::byte* group_ = nullptr;
    int vectors_ = 0, weight_vectors_ = 0;
    std::int64_t first_channel_ = 0;
};

void write_direct(const PanelSpec& spec, const Quantization& input, const StageWeights& weights,
                  std::byte* panel) {
    const Stage& stage = spec.stage;
    const std::int64_t taps = stage.conv.kernel.h * stage.conv.kernel.w,
                       inputs = stage.depthwise() ? 1 : stage.in_channels;
    const QuantNumbers quant = quant_numbers(spec, input, weights);
    PanelWriter(stage, spec.layout, spec.offsets, weights, quant,
                [&](std::int64_t channel, std::int64_t in, std::int64_t tap) {
                    const auto at = static_cast<std::size_t>((channel * inputs + in) * taps + tap);
                    return spec.quantized() ? weights.quantized_weights[at]
                                            : rounded(spec.input_dtype, weights.weights[at]);
                })
        .write(panel);
}

// Of all kernels, for every phase and point: [kernel][phase][point].
std::vector<double> transformed_weights(const PanelSpec& spec, const StageWeights& weights) {
    const WinogradForm form = winograd_form(spec.stage, spec.winograd->algorithm);
    const Size2 kernel = spec.stage.conv.kernel;
    const std::int64_t phases = form.phases.count(), points = form.points(),
                       kernels = spec.stage.out_channels * spec.stage.in_channels;
    std::vector<float> plain(weights.weights.begin(), weights.weights.end());
    for (float& weight : plain)
        weight = rounded(spec.input_dtype, weight);
    std::vector<double> transformed(static_cast<std::size_t>(kernels * phases * points));
    for (std::int64_t k = 0; k < kernels; ++k)
        for (std::int64_t phase = 0; phase < phases; ++phase)
            winograd_weights(form, kernel, phase, plain.data() + k * kernel.h * kernel.w,
                             transformed.data() + (k * phases + phase) * points);
    return transformed;
}

// The post-op parameters, then one GEMM panel for each point of the transformed kernels.
void write_winograd(const PanelSpec& spec, const StageWeights& weights, std::byte* panel) {
    const Stage& stage = spec.stage;
    const WinogradSpec& winograd = *spec.winograd;
    const QuantNumbers none;
    PanelWriter(stage, spec.layout, spec.offsets, weights, none, {}).write(panel);
    const std::vector<double> transformed = transformed_weights(spec, weights);
    const WinogradForm form = winograd_form(stage, winograd.algorithm);
    const std::int64_t phases = form.phases.count(), points = form.points();
    const Stage gemm = winograd_gemm_stage(stage, 1);
    for (std::int64_t point = 0; point < points; ++point) {
        PanelWriter(gemm, winograd.gemm, winograd.workspace, weights, none,
                    [&](std::int64_t channel, std::int64_t input, std::int64_t) {
                        const std::int64_t phase = input / stage.in_channels,
                                           kernel = channel * stage.in_channels + input % stage.in_channels,
                                           at = (kernel * phases + phase) * points + point;
                        return static_cast<float>(transformed[static_cast<std::size_t>(at)]);
                    })
            .write(panel + winograd.gemm_offset + point * winograd.gemm.bytes);
    }
}

// Each product's combination of the quarters of the weights.
void write_strassen(const PanelSpec& spec, const StageWeights& weights, std::byte* panel) {
    const Stage& stage = spec.stage;
    const std::int64_t k = stage.in_channels / 2, n = stage.out_channels / 2;
    const QuantNumbers none;
    PanelWriter(
        stage, spec.layout, spec.offsets, weights, none,
        [&](std::int64_t channel, std::int64_t in, std::int64_t) {
            const auto quarter = [&](std::int64_t row, std::int64_t column) {
                return weights.weights[static_cast<std::size_t>((channel + column * n) * stage.in_channels +
                                                                in % k + row * k)];
            };
            return strassen_weight({quarter(0, 0), quarter(0, 1), quarter(1, 0), quarter(1, 1)}, in / k);
        })
        .write(panel);
}

}  // namespace

void write_panel(const PanelSpec& spec, const Quantization& input, const StageWeights& weights,
                 std::byte* panel) {
    if (spec.winograd)
        write_winograd(spec, weights, panel);
    else if (spec.layout.halves)
        write_strassen(spec, weights, panel);
    else
        write_direct(spec, input, weights, panel);
}

}  // namespace tandem
