// Descriptors as text (the grammar is in the head of tandem/descriptor.hpp), in two halves. What reads it:
// descriptor_text.cpp.
#pragma once

#include "tandem/descriptor.hpp"

namespace tandem {

/// Input shape and convolutions.
std::string convolutions_text(const ConvChain& chain);
/// "/layout/data types/math", the defaults too, and views.
std::string options_text(const ConvChain& chain);

}  // namespace tandem
