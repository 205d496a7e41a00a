// From a descriptor to a Problem: checks every field once, in the order of the descriptor, and fills in
// what follows from it.
#pragma once

#include "core/plan/problem.hpp"

namespace tandem {

/// Fills `problem`, which must be default-constructed; after an error its contents are unspecified.
/// Does not allocate on success: dispatch does this on every call.
Status resolve(const ConvChain& chain, Problem& problem);

/// The part of it that is about where tensors lie, once their shapes are known.
Status resolve_views(const ConvChain& chain, Problem& problem);

}  // namespace tandem
