// Writes plain weights of one stage into a panel (core/plan/panel.hpp).
#pragma once

#include "core/run/panel_spec.hpp"
#include "tandem/kernel.hpp"

namespace tandem {

/// `panel`: spec.bytes zeroed bytes. The weights must have been checked; `input`: the quantisation of what
/// the stage reads.
void write_panel(const PanelSpec& spec, const Quantization& input, const StageWeights& weights,
                 std::byte* panel);

}  // namespace tandem
