// The reference: naive loops in double over any valid descriptor, for tests and for checking kernels. It
// rounds where kernels round; quantised stages are computed as docs/math-modes.md defines them, to the bit
// where no post-op is transcendental.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "tandem/descriptor.hpp"
#include "tandem/export.h"
#include "tandem/kernel.hpp"

namespace tandem {

/// What a kernel is called with, for the reference: tensors as the descriptor's views have them, weights
/// plain. A tensor's elements are given as floats whatever its data type is: numbers that the type can hold;
/// for u8 and s8, the integers that are stored.
struct ReferenceArgs {
    std::span<const float> input;
    std::span<const StageWeights> stages;                       // one a stage
    std::array<std::span<const float>, max_stages> residual{};  // of +sum
    Quantization input_quantization{};                          // of a quantised chain
    std::span<const float> input_factors{};                     // [n][c], where the descriptor has them
};

/// The output as the descriptor's view has it, padding channels and gaps zero: for f32 not rounded, else
/// numbers of the output's data type; for u8 and s8, the integers that are stored. Slow: for checking only.
/// Thread-safe.
TANDEM_API Result<std::vector<double>> reference(const ConvChain& chain, const ReferenceArgs& args) noexcept;

}  // namespace tandem
