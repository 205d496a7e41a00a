// What the fuzz targets share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "tandem/tandem.hpp"

/// What libFuzzer calls, and replay.cpp.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace tandem::fuzz {

/// Ends the process with a sentence, unless `holds`.
void require(bool holds, const std::string& sentence);

/// Compiles and runs a valid chain and compares it with the reference. Chains too large for that in a few
/// milliseconds, and what this machine cannot do, are left out.
void check_against_reference(const ConvChain& chain, const DispatchOptions& options);

}  // namespace tandem::fuzz
