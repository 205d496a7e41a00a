// ConvChain::parse() for callers that fill in what a text leaves out: what the text says itself.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "tandem/descriptor.hpp"
#include "tandem/isa.hpp"

namespace tandem {

/// A chain, and which of the fields behind its convolutions the text has; the others are defaults.
struct StatedChain {
    ConvChain chain{};
    bool layout = false, math = false;
    std::vector<DataType> dtypes{};  // as written: one for all tensors, or the input's and each output's
    std::optional<Isa> isa{};        // as a kernel's name ends with
};

/// `layout` is the chain's, and that of views without one of their own, where the text has none.
Result<StatedChain> parse_stated(std::string_view text, Layout layout = Layout::nhwc);

}  // namespace tandem
