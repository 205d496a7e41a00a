// Disassembly of generated code: Intel syntax, offsets for addresses, the emitter's notes and jump targets
// in between.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "tandem/kernel.hpp"

namespace tandem::tool {

/// One instruction a line. From a note that begins with "constant" to the next note, bytes are shown as
/// 32-bit data. With `bytes`, each instruction's bytes stand before it.
std::string disassemble(std::span<const std::byte> code, std::span<const CodeLabel> labels, bool bytes);

}  // namespace tandem::tool
