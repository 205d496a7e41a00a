#include "core/run/packing.hpp"

#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#include <fmt/format.h>

#include "core/plan/winograd.hpp"

namespace tandem {
namespace {

const char* stage_name(const Problem& problem, int i) {
    if (problem.stage_count == 1) return "conv";
    return i == 0 ? "first" : "second";
}

Status check_span(const Problem& problem, int i, const char* what, std::span<const float> span, std::int64_t expected) {
    if (static_cast<std::int64_t>(span.size()) == expected && (expected == 0 || span.data() != nullptr)) return {};
    return Error{ErrorCode::invalid_argument, fmt::format("{}.{} has {} elements{}; {} are needed.", stage_name(problem, i), what, span.size(),
                                                          span.data() == nullptr ? " (null)" : "", expected)};
}

Status check_stage(const Problem& problem, int i, const StageWeights& w) {
    const Stage& stage = problem.stage(i);
    const auto per_channel = [&](PostOpKind kind) { return stage.conv.has(kind) ? stage.out_channels : 0; };
    if (auto s = check_span(problem, i, "weights", w.weights, stage.weight_count()); !s) return s;
    if (auto s = check_span(problem, i, "bias", w.bias, per_channel(PostOpKind::bias)); !s) return s;
    if (auto s = check_span(problem, i, "prelu", w.prelu, per_channel(PostOpKind::prelu)); !s) return s;
    return check_span(problem, i, "scale", w.scale, per_channel(PostOpKind::scale));
}

std::span<const float> param_of(const StageWeights& w, PostOpKind kind) {
    if (kind == PostOpKind::bias) return w.bias;
    return kind == PostOpKind::prelu ? w.prelu : w.scale;
}

// Writes a panel, a group at a time. `weight(channel, input, tap)` gives the weights where the layout has any.
class PanelWriter {
public:
    struct Strides {
        TensorStrides in, out, residual;
    };
    using Weight = std::function<float(std::int64_t channel, std::int64_t input, std::int64_t tap)>;

    PanelWriter(const Stage& stage, const PanelLayout& layout, const Strides& strides, const StageWeights& params, Weight weight)
        : stage_(stage), layout_(layout), strides_(strides), params_(params), weight_(std::move(weight)) {}

    void write(std::byte* panel) {
        for (const GroupRun& run : layout_.runs) {
            for (std::int64_t g = 0; g < run.count; ++g) {
                group_ = panel + run.offset + g * layout_.group_bytes(run.vectors);
                vectors_ = run.vectors;
                first_channel_ = (run.first_vector + g * run.vectors) * layout_.lanes;
                write_header(run);
                write_params();
                if (layout_.permute) write_permutation();
                if (layout_.taps > 0) write_weights();
            }
        }
    }

private:
    std::int64_t channels() const { return std::min<std::int64_t>(std::int64_t{vectors_} * layout_.lanes, stage_.out_channels - first_channel_); }

    void write_header(const GroupRun& run) {
        GroupHeader header;
        const std::int64_t input_vector = first_channel_ / layout_.lanes / stage_.conv.multiplier;
        if (stage_.depthwise()) header.input = strides_.in.channel(input_vector * layout_.lanes);
        header.output = strides_.out.channel(first_channel_);
        if (run.residual_vectors > 0) header.residual = strides_.residual.channel(first_channel_);
        std::memcpy(group_, &header, sizeof header);
    }

    void write_params() {
        for (int op = 0; op < stage_.conv.post_op_count; ++op) {
            const PostOpKind kind = stage_.conv.post_ops[static_cast<std::size_t>(op)].kind;
            if (!is_per_channel(kind)) continue;
            float* to = floats(layout_.params_offset() + param_index(stage_.conv, op) * vectors_ * layout_.vector_bytes);
            std::memcpy(to, param_of(params_, kind).data() + first_channel_, static_cast<std::size_t>(channels()) * 4);
        }
    }

    // Lane of the input vector that each output lane reads.
    void write_permutation() {
        auto* to = reinterpret_cast<std::int32_t*>(group_ + layout_.permute_offset(vectors_));
        for (std::int64_t lane = 0; lane < layout_.lanes; ++lane)
            to[lane] = static_cast<std::int32_t>((first_channel_ + lane) / stage_.conv.multiplier % layout_.lanes);
    }

    void write_weights() {
        const std::int64_t kernel = stage_.conv.kernel.h * stage_.conv.kernel.w, kw_count = stage_.conv.kernel.w;
        const std::int64_t inputs = stage_.depthwise() ? 1 : stage_.in_channels;
        const std::int64_t row = std::int64_t{vectors_} * layout_.lanes;
        float* to = floats(layout_.weights_offset(vectors_));
        const auto position = [&](std::int64_t ic, std::int64_t k) {
            if (layout_.order == WeightOrder::column_channel) return k * inputs + ic;
            return (k / kw_count * inputs + ic) * kw_count + k % kw_count;
        };
        for (std::int64_t ic = 0; ic < inputs; ++ic)
            for (std::int64_t k = 0; k < kernel; ++k)
                for (std::int64_t c = 0; c < channels(); ++c) to[position(ic, k) * row + c] = weight_(first_channel_ + c, ic, k);
    }

    float* floats(std::int64_t offset) const { return reinterpret_cast<float*>(group_ + offset); }

    const Stage& stage_;
    const PanelLayout& layout_;
    const Strides& strides_;
    const StageWeights& params_;
    Weight weight_;
    std::byte* group_ = nullptr;
    int vectors_ = 0;
    std::int64_t first_channel_ = 0;
};

PanelWriter::Strides stage_strides(const Problem& problem, const Plan& plan, int i) {
    const TensorStrides mid = mid_buffer(problem, plan).strides;
    return {i == 0 ? tensor_strides(problem.input_shape(), problem.layout) : mid,
            i == problem.stage_count - 1 ? tensor_strides(problem.output_shape(i), problem.layout) : mid,
            tensor_strides(problem.residual_shape(i), problem.layout)};
}

void write_direct(const Problem& problem, const Plan& plan, int i, const StageWeights& weights, std::byte* panel) {
    const Stage& stage = problem.stage(i);
    const PanelLayout layout = panel_layout(problem, plan, i);
    const PanelWriter::Strides strides = stage_strides(problem, plan, i);
    const std::int64_t taps = stage.conv.kernel.h * stage.conv.kernel.w, inputs = stage.depthwise() ? 1 : stage.in_channels;
    const float* from = weights.weights.data();
    PanelWriter(stage, layout, strides, weights,
                [=](std::int64_t channel, std::int64_t input, std::int64_t tap) { return from[(channel * inputs + input) * taps + tap]; })
        .write(panel);
}

// The post-op parameters, then one GEMM panel for each point of the transformed kernels.
void write_winograd(const Problem& problem, const Plan& plan, int i, const StageWeights& weights, std::byte* panel) {
    const Stage& stage = problem.stage(i);
    const WinogradLayout layout = winograd_layout(problem, plan, i);
    const PanelWriter::Strides strides = stage_strides(problem, plan, i);
    PanelWriter(stage, layout.post_ops, strides, weights, {}).write(panel);

    const std::int64_t phases = layout.phases.count(), kernels = stage.out_channels * stage.in_channels;
    std::vector<double> transformed(static_cast<std::size_t>(kernels * phases * layout.points));  // [kernel][phase][point]
    for (std::int64_t k = 0; k < kernels; ++k)
        for (std::int64_t phase = 0; phase < phases; ++phase)
            winograd_weights(layout.m, layout.phases, phase, weights.weights.data() + k * 9, transformed.data() + (k * phases + phase) * layout.points);
    const Stage gemm = winograd_gemm_stage(stage, layout.tiles);
    const PanelWriter::Strides workspace{layout.inputs, layout.products, {}};
    for (std::int64_t point = 0; point < layout.points; ++point) {
        PanelWriter(gemm, layout.gemm, workspace, weights, [&](std::int64_t channel, std::int64_t input, std::int64_t) {
            const std::int64_t phase = input / stage.in_channels, kernel = channel * stage.in_channels + input % stage.in_channels;
            return static_cast<float>(transformed[static_cast<std::size_t>((kernel * phases + phase) * layout.points + point)]);
        }).write(panel + layout.gemm_offset + point * layout.gemm.bytes);
    }
}

}  // namespace

void AlignedBuffer::Free::operator()(std::byte* p) const noexcept { std::free(p); }

Result<AlignedBuffer> AlignedBuffer::create(std::size_t bytes) {
    AlignedBuffer buffer;
    buffer.size_ = (bytes + 63) / 64 * 64;
    if (buffer.size_ == 0) return buffer;
    buffer.data_.reset(static_cast<std::byte*>(std::aligned_alloc(64, buffer.size_)));
    if (!buffer.data_) return Error{ErrorCode::system, fmt::format("Allocating {} bytes failed; less memory is available.", bytes)};
    std::memset(buffer.data_.get(), 0, buffer.size_);
    return buffer;
}

std::size_t pack_signature(const Problem& problem, const Plan& plan) {
    Problem image = problem;
    image.input.n = 1;
    return hash_value(image) * 31 + hash_value(plan);
}

Result<PackedData> pack_weights(const Problem& problem, const Plan& plan, std::span<const StageWeights> stages) {
    if (static_cast<int>(stages.size()) != problem.stage_count)
        return Error{ErrorCode::invalid_argument, fmt::format("pack() got weights of {} stages; {} are needed.", stages.size(), problem.stage_count)};
    std::size_t bytes = 0;
    PackedData packed;
    for (int i = 0; i < problem.stage_count; ++i) {
        if (auto status = check_stage(problem, i, stages[static_cast<std::size_t>(i)]); !status) return status.error();
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
        (plan.stages[s].algorithm == Algorithm::direct ? write_direct : write_winograd)(problem, plan, i, stages[s], panel);
    }
    return packed;
}

}  // namespace tandem
