// How large the numbers of a verification are: what its tolerance is relative to.
#pragma once

#include <vector>

#include "core/run/tolerance.hpp"

namespace tandem {

/// Of the finite ones: f16 has infinities where sums are past its range.
double max_abs(const std::vector<double>& values);

/// The reference of a chain's first stages, or all, on the data of a verification of it. It takes exactly
/// what a descriptor needs: a post-op cut off takes its operand along.
Result<std::vector<double>> reference_of(ConvChain chain, const VerificationData& data);

/// Of a chain whose reference is `expected`.
Result<Magnitudes> magnitudes_of(const ConvChain& chain, const Problem& problem, const VerificationData& data,
                                 const std::vector<double>& expected);

}  // namespace tandem
