// CodeSymbol: what lies where in generated code, for listings and profilers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "tandem/export.h"

namespace tandem {

enum class CodeSymbolKind : std::uint8_t {
    function,   // called from outside: a tile function
    routine,    // called by functions and routines of the same kernel
    constants,  // data
    note,       // part of a function or routine: what the instructions from here on do
};
TANDEM_API const char* to_string(CodeSymbolKind kind) noexcept;

/// Symbols are sorted by offset, a function or routine before the notes in it. Functions, routines and
/// constants do not overlap; padding between them belongs to none.
struct CodeSymbol {
    std::size_t offset = 0;  // into Kernel::code()
    std::size_t size = 0;    // bytes; a note ends where the next symbol begins, or its function ends
    CodeSymbolKind kind = CodeSymbolKind::note;
    std::string name{};  // e.g. "first: depthwise rows 0-1, left edge"
    bool operator==(const CodeSymbol&) const = default;
};

}  // namespace tandem
