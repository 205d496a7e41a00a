#include "core/run/packing.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "core/plan/float_state.hpp"
#include "core/run/panel_writer.hpp"

namespace tandem {
namespace {

template <class T>
Status check_span(int i, const char* what, std::span<const T> span, std::int64_t expected) {
    if (static_cast<std::int64_t>(span.size()) == expected && (expected == 0 || span.data() != nullptr))
        return {};
    return Error{ErrorCode::invalid_argument,
                 fmt::format("stages[{}].{} has {} elements{}; {} are needed.", i, what, span.size(),
                             span.data() == nullptr ? " (null)" : "", expected)};
}

Status check_quantization(const std::string& name, const Quantization& q, DataType dtype) {
    if (!std::isfinite(q.scale) || q.scale <= 0)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("{}.scale is {}; a positive number is accepted.", name, q.scale)};
    const int lowest = dtype == DataType::u8 ? 0 : -128;
    if (q.zero_point < lowest || q.zero_point > lowest + 255)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("{}.zero_point is {}; {} to {} are accepted for {}.", name, q.zero_point,
                                 lowest, lowest + 255, to_string(dtype))};
    return {};
}

Status check_quantizations(const PanelSpec& spec, int i, const StageWeights& w) {
    const DataType output = spec.output_dtype;
    if (!is_quantized(output)) return {};
    if (auto s = check_quantization(fmt::format("stages[{}].output", i), w.output, output); !s) return s;
    return check_quantization(fmt::format("stages[{}].residual", i), w.residual, output);
}

Status check_stage(const PanelSpec& spec, int i, const StageWeights& w) {
    const Stage& stage = spec.stage;
    const auto per_channel = [&](PostOpKind kind) {
        return stage.conv.has(kind) ? stage.out_channels : 0;
    };
    const std::int64_t weights = stage.weight_count(), quantized = spec.quantized() ? weights : 0,
                       scales = spec.quantized() ? stage.out_channels : 0;
    if (auto s = check_span(i, "weights", w.weights, weights - quantized); !s) return s;
    if (auto s = check_span(i, "quantized_weights", w.quantized_weights, quantized); !s) return s;
    if (auto s = check_span(i, "weight_scales", w.weight_scales, scales); !s) return s;
    if (spec.quantized())
        if (auto s = check_quantizations(spec, i, w); !s) return s;
    if (auto s = check_span(i, "bias", w.bias, per_channel(PostOpKind::bias)); !s) return s;
    if (auto s = check_span(i, "prelu", w.prelu, per_channel(PostOpKind::prelu)); !s) return s;
    return check_span(i, "scale", w.scale, per_channel(PostOpKind::scale));
}

Status check_weights(const PanelSpecs& specs, std::span<const StageWeights> stages,
                     const Quantization& input) {
    if (stages.size() != specs.size())
        return Error{
            ErrorCode::invalid_argument,
            fmt::format("pack() got weights of {} stages; {} are needed.", stages.size(), specs.size())};
    if (specs.front().quantized())
        if (auto s = check_quantization("input", input, specs.front().input_dtype); !s) return s;
    for (std::size_t i = 0; i < specs.size(); ++i)
        if (auto s = check_stage(specs[i], static_cast<int>(i), stages[i]); !s) return s;
    return {};
}

}  // namespace

Result<PackedData> pack_weights(std::shared_ptr<const PanelSpecs> shared, std::span<const StageWeights> plain,
                                const Quantization& input) {
    const DefaultFloatState float_state;
    const PanelSpecs& specs = *shared;
    std::vector<StageWeights> stages(plain.begin(), plain.end());
    for (std::size_t i = 0; i < std::min(stages.size(), specs.size()); ++i)
        if (specs[i].stage.sums_input()) stages[i].residual = input;
    if (auto status = check_weights(specs, stages, input); !status) return status.error();
    PackedData packed;
    packed.specs = std::move(shared);
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < specs.size(); ++i) {
        packed.panel_offset[i] = bytes;
        bytes += (static_cast<std::size_t>(specs[i].bytes) + 63) / 64 * 64;
    }
    auto buffer = AlignedBuffer::create(bytes, weights_in_page);
    if (!buffer) return buffer.error();
    packed.buffer = std::move(*buffer);
    for (std::size_t i = 0; i < specs.size(); ++i) {
        const Quantization read = i == 0 ? input : stages[i - 1].output;
        if (specs[i].quantized())
            packed.fill[i] = static_cast<std::uint8_t>(read.zero_point + specs[i].read_bias);
        write_panel(specs[i], read, stages[i], packed.buffer.data() + packed.panel_offset[i]);
    }
    return packed;
}

}  // namespace tandem
