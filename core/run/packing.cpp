#include "core/run/packing.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#include <fmt/format.h>

#include "core/plan/post_op_traits.hpp"
#include "core/plan/winograd.hpp"

namespace tandem {
namespace {

const char* stage_name(const Problem& problem, int i) {
    if (problem.stage_count == 1) return "conv";
    return i == 0 ? "first" : "second";
}

template <class T>
Status check_span(const Problem& problem, int i, const char* what, std::span<const T> span,
                  std::int64_t expected) {
    if (static_cast<std::int64_t>(span.size()) == expected && (expected == 0 || span.data() != nullptr))
        return {};
    return Error{ErrorCode::invalid_argument,
                 fmt::format("{}.{} has {} elements{}; {} are needed.", stage_name(problem, i), what,
                             span.size(), span.data() == nullptr ? " (null)" : "", expected)};
}

Status check_quantization(const Problem& problem, int i, const char* what, const Quantization& q,
                          DataType dtype) {
    if (!std::isfinite(q.scale) || q.scale <= 0)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("{}.{}.scale is {}; a positive number is accepted.", stage_name(problem, i),
                                 what, q.scale)};
    const int lowest = dtype == DataType::u8 ? 0 : -128;
    if (q.zero_point < lowest || q.zero_point > lowest + 255)
        return Error{
            ErrorCode::invalid_argument,
            fmt::format("{}.{}.zero_point is {}; {} to {} are accepted for {}.", stage_name(problem, i), what,
                        q.zero_point, lowest, lowest + 255, to_string(dtype))};
    return {};
}

Status check_quantizations(const Problem& problem, int i, const StageWeights& w) {
    if (auto s = check_quantization(problem, i, "input", w.input, problem.input_dtype(i)); !s) return s;
    if (!is_quantized(problem.output_dtype(i))) return {};
    if (auto s = check_quantization(problem, i, "output", w.output, problem.output_dtype(i)); !s) return s;
    return check_quantization(problem, i, "residual", w.residual, problem.output_dtype(i));
}

Status check_stage(const Problem& problem, int i, const StageWeights& w) {
    const Stage& stage = problem.stage(i);
    const auto per_channel = [&](PostOpKind kind) {
        return stage.conv.has(kind) ? stage.out_channels : 0;
    };
    const bool quantized = problem.quantized();
    if (auto s = check_span(problem, i, "weights", w.weights, quantized ? 0 : stage.weight_count()); !s)
        return s;
    if (auto s = check_span(problem, i, "quantized_weights", w.quantized_weights,
                            quantized ? stage.weight_count() : 0);
        !s)
        return s;
    if (auto s = check_span(problem, i, "weight_scales", w.weight_scales, quantized ? stage.out_channels : 0);
        !s)
        return s;
    if (quantized)
        if (auto s = check_quantizations(problem, i, w); !s) return s;
    if (auto s = check_span(problem, i, "bias", w.bias, per_channel(PostOpKind::bias)); !s) return s;
    if (auto s = check_span(problem, i, "prelu", w.prelu, per_channel(PostOpKind::prelu)); !s) return s;
    return check_span(problem, i, "scale", w.scale, per_channel(PostOpKind::scale));
}

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

QuantNumbers quant_numbers(const Problem& problem, const Plan& plan, int i, const StageWeights& w) {
    QuantNumbers numbers;
    if (!problem.quantized()) return numbers;
    const auto set_bits = [&](QuantNumber number, std::uint32_t value) {
        numbers.bits[static_cast<std::size_t>(number)] = value;
    };
    const auto set = [&](QuantNumber number, float value) {
        set_bits(number, std::bit_cast<std::uint32_t>(value));
    };
    const DataType output = problem.output_dtype(i);
    numbers.input_zero = static_cast<float>(w.input.zero_point);
    numbers.read_zero = read_zero_point(problem, plan, i, w.input.zero_point);
    numbers.input_scale = w.input.scale;
    set_bits(QuantNumber::input_fill,
             four_bytes(w.input.zero_point +
                        stored_bias(problem.input_dtype(i), source_element(problem, plan, i))));
    if (!is_quantized(output)) return numbers;
    const Clamp bounds = final_clamp(problem.stage(i).conv).value_or(Clamp{-HUGE_VALF, HUGE_VALF});
    const float lowest = quantized(output, w.output, bounds.low),
                highest = quantized(output, w.output, bounds.high);
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
    struct Strides {
        TensorStrides in, out, residual;
    };
    using Weight = std::function<float(std::int64_t channel, std::int64_t input, std::int64_t tap)>;

    PanelWriter(const Stage& stage, const PanelLayout& layout, const Strides& strides,
                const StageWeights& params, const QuantNumbers& quant, Weight weight)
        : stage_(stage), layout_(layout), strides_(strides), params_(params), quant_(quant),
          weight_(std::move(weight)) {}

    void write(std::byte* panel) {
        for (const GroupRun& run : layout_.runs) {
            for (std::int64_t g = 0; g < run.count; ++g) {
                group_ = panel + run.offset + g * layout_.group_bytes(run.vectors);
                vectors_ = run.vectors;
                first_channel_ = (run.first_vector + g * run.vectors) * layout_.lanes;
                write_header(run);
                write_params();
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
    std::int64_t inputs() const { return stage_.depthwise() ? 1 : stage_.in_channels; }
    bool by_windows() const { return stage_.depthwise() && layout_.dot == Dot::int8; }

    void write_header(const GroupRun& run) {
        GroupHeader header;
        const std::int64_t input_vector = first_channel_ / layout_.lanes / stage_.conv.multiplier;
        if (stage_.depthwise()) header.input = strides_.in.channel(input_vector * layout_.lanes);
        header.output = strides_.out.channel(first_channel_);
        if (run.residual_vectors > 0) header.residual = strides_.residual.channel(first_channel_);
        header.far = layout_.quantized && !outputs_fit_s32() ? 1 : 0;
        std::memcpy(group_, &header, sizeof header);
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
            real = bound_after(op, real, tensor);
            highest = std::max(highest, real);
        }
        constexpr double below_overflow = 0x1p126;
        return highest < below_overflow ? real : HUGE_VAL;
    }

    void write_params() {
        for (int op = 0; op < stage_.conv.post_op_count; ++op) {
            const PostOpKind kind = stage_.conv.post_ops[static_cast<std::size_t>(op)].kind;
            if (!is_per_channel(kind)) continue;
            float* to = numbers<float>(layout_.params_offset() +
                                       param_index(stage_.conv, op) * vectors_ * layout_.vector_bytes);
            std::memcpy(to, param_of(params_, kind).data() + first_channel_,
                        static_cast<std::size_t>(channels()) * 4);
        }
    }

    void write_quantization() {
        std::fill_n(numbers<float>(layout_.input_zero_offset()), layout_.lanes, quant_.input_zero);
        std::memcpy(numbers<std::uint32_t>(layout_.quant_offset(QuantNumber{})), quant_.bits.data(),
                    sizeof quant_.bits);
        for (std::int64_t c = 0; c < channels(); ++c)
            numbers<float>(layout_.factors_offset(vectors_))[c] =
                quant_.input_scale * params_.weight_scales[static_cast<std::size_t>(first_channel_ + c)];
    }

    // Lane of the input vector that each output lane reads.
    void write_permutation() {
        auto* to = numbers<std::int32_t>(layout_.permute_offset(vectors_));
        for (std::int64_t lane = 0; lane < layout_.lanes; ++lane)
            to[lane] =
                static_cast<std::int32_t>((first_channel_ + lane) / stage_.conv.multiplier % layout_.lanes);
    }

    // Weight vector of input channel `ic` and kernel position `k`, its first part, counted from the first.
    std::int64_t vector_of(std::int64_t ic, std::int64_t k) const {
        const std::int64_t columns = stage_.conv.kernel.w;
        if (layout_.order == WeightOrder::column_channel) return k * inputs() + ic;
        return k / columns * layout_.row_taps + layout_.zero_point_taps +
               (ic / dot_channels(layout_.dot) * columns + k % columns) * dot_parts(layout_.dot);
    }

    void write_weights() {
        const std::int64_t kernel = stage_.conv.kernel.h * stage_.conv.kernel.w,
                           per_group = dot_channels(layout_.dot);
        for (std::int64_t ic = 0; ic < inputs(); ++ic)
            for (std::int64_t k = 0; k < kernel; ++k)
                for (std::int64_t c = 0; c < channels(); ++c)
                    write_parts(
                        (vector_of(ic, k) * vectors_ * layout_.lanes + c) * per_group + ic % per_group,
                        weight_(first_channel_ + c, ic, k));
    }

    // Each part is the nearest bf16 to what the parts before it leave.
    void write_parts(std::int64_t at, float value) {
        for (std::int64_t part = 0; part < dot_parts(layout_.dot); ++part) {
            write_weight(at + part * vectors_ * layout_.lanes * dot_channels(layout_.dot), value);
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
        const std::int64_t columns = stage_.conv.kernel.w, row = std::int64_t{vectors_} * layout_.lanes;
        for (std::int64_t kh = 0; kh < stage_.conv.kernel.h; ++kh) {
            auto* to = numbers<std::int32_t>(layout_.weights_offset(vectors_) +
                                             kh * layout_.row_taps * vectors_ * layout_.vector_bytes);
            for (std::int64_t kw = 0; kw < columns; ++kw) {
                for (std::int64_t c = 0; c < channels(); ++c) {
                    std::int32_t sum = 0;
                    for (std::int64_t ic = 0; ic < inputs(); ++ic)
                        sum += static_cast<std::int32_t>(weight_(first_channel_ + c, ic, kh * columns + kw));
                    to[c] -= quant_.read_zero * sum;
                    if (columns > 1) to[(1 + kw) * row + c] = -quant_.read_zero * sum;
                }
            }
        }
    }

    // Kernel rows as windows of columns, and what their sums owe to the zero point.
    void write_windows() {
        const std::int64_t columns = stage_.conv.kernel.w, rows = stage_.conv.kernel.h,
                           row_numbers = layout_.row_taps * layout_.lanes;
        auto* sums = numbers<std::int32_t>(layout_.weights_offset(1));
        for (std::int64_t c = 0; c < channels(); ++c) {
            for (std::int64_t tap = 0; tap < rows * columns; ++tap) {
                const std::int64_t kh = tap / columns, kw = tap % columns;
                const auto weight = static_cast<std::int32_t>(weight_(first_channel_ + c, 0, tap));
                for (const std::int64_t row : {kh, rows})
                    sums[row * row_numbers + c] -= quant_.read_zero * weight;
                std::int64_t vector = kh * layout_.row_taps + layout_.zero_point_taps;
                for (std::int64_t offset = 0; offset < window_offsets(stage_); ++offset) {
                    const std::int64_t at = kw + offset;
                    numbers<std::int8_t>(
                        layout_.weights_offset(1))[((vector + at / 4) * layout_.lanes + c) * 4 + at % 4] =
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
    const Strides& strides_;
    const StageWeights& params_;
    const QuantNumbers& quant_;
    Weight weight_;
    std::byte* group_ = nullptr;
    int vectors_ = 0;
    std::int64_t first_channel_ = 0;
};

PanelWriter::Strides stage_strides(const Problem& problem, const Plan& plan, int i) {
    const TensorStrides mid = mid_buffer(problem, plan).strides;
    return {i == 0 ? input_strides(problem) : mid,
            i == problem.stage_count - 1 ? output_strides(problem) : mid, residual_strides(problem, i)};
}

void write_direct(const Problem& problem, const Plan& plan, int i, const StageWeights& weights,
                  std::byte* panel) {
    const Stage& stage = problem.stage(i);
    const PanelLayout layout = panel_layout(problem, plan, i);
    const PanelWriter::Strides strides = stage_strides(problem, plan, i);
    const std::int64_t taps = stage.conv.kernel.h * stage.conv.kernel.w,
                       inputs = stage.depthwise() ? 1 : stage.in_channels;
    const QuantNumbers quant = quant_numbers(problem, plan, i, weights);
    PanelWriter(stage, layout, strides, weights, quant,
                [&](std::int64_t channel, std::int64_t input, std::int64_t tap) {
                    const auto at = static_cast<std::size_t>((channel * inputs + input) * taps + tap);
                    return problem.quantized() ? weights.quantized_weights[at]
                                               : rounded(problem.dtype, weights.weights[at]);
                })
        .write(panel);
}

// The post-op parameters, then one GEMM panel for each point of the transformed kernels.
void write_winograd(const Problem& problem, const Plan& plan, int i, const StageWeights& weights,
                    std::byte* panel) {
    const Stage& stage = problem.stage(i);
    const WinogradLayout layout = winograd_layout(problem, plan, i);
    const PanelWriter::Strides strides = stage_strides(problem, plan, i);
    const QuantNumbers none;
    PanelWriter(stage, layout.post_ops, strides, weights, none, {}).write(panel);

    const std::int64_t phases = layout.phases.count(), kernels = stage.out_channels * stage.in_channels;
    std::vector<float> plain(weights.weights.begin(), weights.weights.end());
    for (float& weight : plain)
        weight = rounded(problem.dtype, weight);
    std::vector<double> transformed(
        static_cast<std::size_t>(kernels * phases * layout.points));  // [kernel][phase][point]
    for (std::int64_t k = 0; k < kernels; ++k)
        for (std::int64_t phase = 0; phase < phases; ++phase)
            winograd_weights(layout.m, layout.phases, phase, plain.data() + k * 9,
                             transformed.data() + (k * phases + phase) * layout.points);
    const Stage gemm = winograd_gemm_stage(stage, layout.tiles);
    const PanelWriter::Strides workspace{layout.inputs, layout.products, {}};
    for (std::int64_t point = 0; point < layout.points; ++point) {
        PanelWriter(
            gemm, layout.gemm, workspace, weights, none,
            [&](std::int64_t channel, std::int64_t input, std::int64_t) {
                const std::int64_t phase = input / stage.in_channels,
                                   kernel = channel * stage.in_channels + input % stage.in_channels;
                return static_cast<float>(
                    transformed[static_cast<std::size_t>((kernel * phases + phase) * layout.points + point)]);
            })
            .write(panel + layout.gemm_offset + point * layout.gemm.bytes);
    }
}

}  // namespace

void AlignedBuffer::Free::operator()(std::byte* p) const noexcept { std::free(p); }

Result<AlignedBuffer> AlignedBuffer::create(std::size_t bytes) {
    AlignedBuffer buffer;
    buffer.size_ = (bytes + 63) / 64 * 64;
    if (buffer.size_ == 0) return buffer;
    buffer.data_.reset(static_cast<std::byte*>(std::aligned_alloc(64, buffer.size_)));
    if (!buffer.data_)
        return Error{ErrorCode::system,
                     fmt::format("Allocating {} bytes failed; less memory is available.", bytes)};
    std::memset(buffer.data_.get(), 0, buffer.size_);
    return buffer;
}

std::size_t pack_signature(const Problem& problem, const Plan& plan) {
    Problem image = problem;
    image.input.n = 1;
    return hash_value(image) * 31 + hash_value(plan);
}

Result<PackedData> pack_weights(const Problem& problem, const Plan& plan,
                                std::span<const StageWeights> stages) {
    if (static_cast<int>(stages.size()) != problem.stage_count)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("pack() got weights of {} stages; {} are needed.", stages.size(),
                                 problem.stage_count)};
    std::size_t bytes = 0;
    PackedData packed;
    for (int i = 0; i < problem.stage_count; ++i) {
        if (auto status = check_stage(problem, i, stages[static_cast<std::size_t>(i)]); !status)
            return status.error();
        if (i > 0 && problem.quantized() &&
            stages[static_cast<std::size_t>(i)].input != stages[static_cast<std::size_t>(i - 1)].output)
            return Error{ErrorCode::invalid_argument,
                         "second.input differs from first.output; equal quantisations are accepted, as both "
                         "are of the intermediate."};
        packed.panel_offset[static_cast<std::size_t>(i)] = bytes;
        bytes += (static_cast<std::size_t>(panel_bytes(problem, plan, i)) + 63) / 64 * 64;
    }
    auto buffer = AlignedBuffer::create(bytes);
    if (!buffer) return buffer.error();
    packed.buffer = std::move(*buffer);
    packed.signature = pack_signature(problem, plan);
    for (int i = 0; i < problem.stage_count; ++i) {
        const auto s = static_cast<std::size_t>(i);
        std::byte* panel = packed.buffer.data() + packed.panel_offset[s];
        packed.fill[s] = static_cast<std::uint8_t>(quant_numbers(problem, plan, i, stages[s]).read_zero);
        (plan.stages[s].algorithm == Algorithm::direct ? write_direct : write_winograd)(problem, plan, i,
                                                                                        stages[s], panel);
    }
    return packed;
}

}  // namespace tandem
