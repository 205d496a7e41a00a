// CodeBlock: the one subclass of Xbyak::CodeGenerator. Emits into a staging buffer; emit_code() copies
// the bytes to where they can be run. Xbyak's errors become Result here and nowhere else.
#pragma once

#define XBYAK_NO_OP_NAMES
#include <xbyak/xbyak.h>

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "jit/executable_memory.hpp"
#include "tandem/code_symbol.hpp"
#include "tandem/result.hpp"

namespace tandem::jit {

/// A vector register of any width: Ymm and Zmm keep their kind when held as Xmm.
using Vec = Xbyak::Xmm;
using Gpr = Xbyak::Reg64;
using Xbyak::Address;
using Xbyak::Label;

class CodeBlock : public Xbyak::CodeGenerator {
public:
    CodeBlock(void* staging, std::size_t size) : CodeGenerator(size, staging) {}

    /// Begins, aligned, a function or a routine, and ends the one before. Its offset.
    std::size_t begin_function(std::string name) { return begin(CodeSymbolKind::function, std::move(name)); }
    std::size_t begin_routine(std::string name) { return begin(CodeSymbolKind::routine, std::move(name)); }
    /// Records what the code from here on does, for listings. A routine's first instructions' note is the
    /// routine's name.
    void note(std::string text);

    /// The vector-wide constant `bits` in every lane, as a memory operand; stored once behind the code.
    Address constant_bits(std::uint32_t bits);
    Address constant(float value);
    /// 16 lanes: all ones in the first `lanes`, zero behind. As a memory operand.
    Address lane_mask(int lanes);
    /// 64 bytes of any kind. As a memory operand.
    Address constant_line(const std::array<std::uint32_t, 16>& words);
    /// Writes the constants; call once after the last instruction.
    void emit_constants();

    /// What was begun and noted, with sizes; call once everything is emitted.
    std::vector<CodeSymbol> take_symbols();

private:
    struct Constant {
        std::array<std::uint32_t, 16> words;
        std::unique_ptr<Label> label;
    };
    std::size_t begin(CodeSymbolKind kind, std::string name);
    void end_open();

    std::vector<CodeSymbol> symbols_;
    std::optional<std::size_t> open_{};  // the function, routine or constants being emitted
    std::vector<Constant> constants_;
};

struct EmittedCode {
    std::shared_ptr<const ExecutableMemory> memory;
    std::vector<CodeSymbol> symbols;
};

/// Runs `emit` on a fresh CodeBlock (again on a larger one if it did not fit) and makes the bytes
/// executable.
Result<EmittedCode> emit_code(const std::function<void(CodeBlock&)>& emit);

}  // namespace tandem::jit
