// Packing: plain weights into the panels that a plan's code reads (core/plan/panel.hpp), once.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>

#include "core/run/aligned_buffer.hpp"
#include "core/run/panel_spec.hpp"
#include "tandem/kernel.hpp"

namespace tandem {

/// The panels of all stages, and what they were packed for.
struct PackedData {
    AlignedBuffer buffer;
    std::array<std::size_t, max_stages> panel_offset{};
    std::array<std::uint8_t, max_stages>
        fill{};  // the byte that stands for zero in what each stage reads in scratch, for AMX
    std::shared_ptr<const PanelSpecs> specs;

    /// Whether a kernel whose panels are `wanted` may read these.
    bool serves(const std::shared_ptr<const PanelSpecs>& wanted) const noexcept {
        return specs == wanted || *specs == *wanted;
    }
};

/// Checks every span's size and packs. Errors name the stage and the span. `input`: the quantisation of what
/// the first stage reads.
Result<PackedData> pack_weights(std::shared_ptr<const PanelSpecs> specs, std::span<const StageWeights> stages,
                                const Quantization& input);

}  // namespace tandem
