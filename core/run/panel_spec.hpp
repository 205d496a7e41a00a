// PanelSpec: what of a problem and its plan a stage's packed weights depend on, as values. Packing reads
// nothing else (panel_writer.hpp), so kernels with equal specs read equal panels, whatever the sizes of
// their images: the specs are the identity of packed weights.
#pragma once

#include <optional>
#include <vector>

#include "core/plan/winograd.hpp"

namespace tandem {

/// Bytes from the first channel of a pixel to its others, of one tensor.
struct ChannelOffsets {
    std::int64_t block = 1, block_stride = 0, element = 4;

    std::int64_t of(std::int64_t c) const noexcept { return c / block * block_stride + c % block * element; }
    bool operator==(const ChannelOffsets&) const = default;
};

/// Of the tensors that a stage reads and writes.
struct PanelOffsets {
    ChannelOffsets in{}, out{}, residual{};  // in: where the stage is depthwise
    bool operator==(const PanelOffsets&) const = default;
};

struct WinogradSpec {
    Algorithm algorithm = Algorithm::winograd4;
    PanelLayout gemm{};            // of one point
    std::int64_t gemm_offset = 0;  // of the first point's panel
    PanelOffsets workspace{};
    bool operator==(const WinogradSpec&) const = default;
};

struct PanelSpec {
    Stage stage{};  // kernel, stride, channels and post-ops; no sizes of images, no padding, no dilation
    DataType input_dtype = DataType::f32, output_dtype = DataType::f32;
    std::int32_t read_bias = 0;  // added to the input's zero point by what the dot instruction reads
    std::int32_t fill_bias = 0;  // and by how it lies in scratch
    PanelOffsets offsets{};
    PanelLayout layout{};                    // Winograd: of the post-ops' parameters
    std::optional<WinogradSpec> winograd{};  // direct: none
    std::int64_t bytes = 0;

    bool quantized() const noexcept { return is_quantized(input_dtype); }
    bool operator==(const PanelSpec&) const = default;
};

/// One a stage.
using PanelSpecs = std::vector<PanelSpec>;
PanelSpecs panel_specs(const Problem& problem, const Plan& plan);

}  // namespace tandem
