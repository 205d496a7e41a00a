// The reference: naive loops in double over any valid descriptor, for tests and for checking kernels.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "tandem/descriptor.hpp"
#include "tandem/kernel.hpp"

namespace tandem {

/// What a kernel is called with, for the reference: tensors in the descriptor's layout, weights plain.
struct ReferenceArgs {
    std::span<const float> input;
    std::span<const StageWeights> stages;              // one a stage
    std::array<std::span<const float>, 2> residual{};  // for +sum, in the descriptor's layout
};

/// The output in the descriptor's layout, in double, padding channels zero. Slow: for checking only. Thread-safe.
Result<std::vector<double>> reference(const ConvPair& pair, const ReferenceArgs& args);
Result<std::vector<double>> reference(const SingleConv& single, const ReferenceArgs& args);

}  // namespace tandem
