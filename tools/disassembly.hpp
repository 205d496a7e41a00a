// Disassembly of generated code: Intel syntax, offsets for addresses, the emitter's symbols and jump
// targets in between.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "tandem/kernel.hpp"

namespace tandem::tool {

/// One instruction a line; constants are shown as 32-bit data. With `bytes`, each instruction's bytes stand
/// before it.
std::string disassemble(std::span<const std::byte> code, std::span<const CodeSymbol> symbols, bool bytes);

}  // namespace tandem::tool
