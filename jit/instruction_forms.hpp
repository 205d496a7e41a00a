// Instruction forms: every vector, tile and prefetch instruction that the emitters write, as a table of its
// own, so that a CPU can be asked what each costs. tests/instruction_forms_test.cpp holds it against the code
// of kernels.
//
// Vocabulary. Form: an instruction with the kinds of its operands, at one width. Chain: the register through
// which an instance can wait for the one before it, by which its latency is measured.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "jit/code_block.hpp"
#include "tandem/isa.hpp"

namespace tandem::jit {

enum class FormWidth : std::uint8_t { ymm, zmm, tile };

enum class FormChain : std::uint8_t {
    none,   // nothing to wait for in registers: loads, stores, compares
    to,     // the result is added to: `to` is read too
    first,  // the result as the next one's first source
};

/// What an instance works on: numbers of registers, of the form's width or of tiles, and addresses of data in
/// L1 as wide as the widest operand.
struct FormOperands {
    FormWidth width = FormWidth::ymm;
    int to = 0, first = 0, second = 0;
    Xbyak::RegExp from{}, into{};  // what is read, what is written
    Gpr stride{0};                 // of a tile's rows

    Vec vec(int index) const {
        return width == FormWidth::zmm ? Vec(Xbyak::Zmm(index)) : Vec(Xbyak::Ymm(index));
    }
    Vec half(int index) const {
        return width == FormWidth::zmm ? Vec(Xbyak::Ymm(index)) : Vec(Xbyak::Xmm(index));
    }
    bool wide() const noexcept { return width == FormWidth::zmm; }
};

struct InstructionForm {
    const char* mnemonic;
    const char*
        operands;  // v: a register of the width, h: one of half of it, x: xmm, m: memory, m{1to16}, k, i
    FormWidth width;
    Isa needs;
    FormChain chain;
    void (*emit)(CodeBlock&, const FormOperands&);

    /// "vfmadd231ps zmm, zmm, m{1to16}"
    std::string name() const;
    bool reads_memory() const noexcept;
    bool writes_memory() const noexcept;
};

/// All of them, f32's multiply-adds first.
std::span<const InstructionForm> instruction_forms();
/// Those of an ISA. Where it has AVX-512, of encodings that compute the same only that which kernels take.
std::vector<const InstructionForm*> instruction_forms(Isa isa);
/// By name(); null: there is none.
const InstructionForm* find_form(const std::string& name);

}  // namespace tandem::jit
