// The two halves of a descriptor's text (the grammar is in the head of tandem/descriptor.hpp).
#pragma once

#include "tandem/descriptor.hpp"

namespace tandem {

/// Input shape and convolutions.
std::string convolutions_text(const ConvChain& chain);
/// "/layout/data types/math", the defaults too, and views.
std::string options_text(const ConvChain& chain);

}  // namespace tandem
