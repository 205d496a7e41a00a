// LinearTransform: emits a LinearProgram (core/plan/winograd_transform.hpp) on vectors, an instruction a
// term.
//
// Registers are leased where a value begins and go back when nothing reads it any more. Factors are operands
// in memory, but for those that were brought to registers before.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "core/plan/winograd_transform.hpp"
#include "jit/reg_pool.hpp"
#include "jit/simd.hpp"

namespace tandem::jit {

class LinearTransform {
public:
    using Register = RegPool::Lease;
    /// Takes a row of the result, in its register.
    using Use = std::function<void(std::int64_t row, Register)>;

    /// `half`: vectors of half the width.
    LinearTransform(const Simd& simd, bool half, RegPool& registers)
        : simd_(simd), code_(simd.code), half_(half), registers_(registers) {}

    /// Registers, beside those of the inputs, that a program may need at once.
    static constexpr std::size_t working_registers = 4;

    /// Loads factors of the program into registers while more than `left` of these are free.
    void hold_factors(const LinearProgram& program, std::size_t left);
    void emit(const LinearProgram& program, std::vector<Register> inputs, const Use& use);
    Vec vec(const Register& reg) const {
        return half_ ? Vec(Xbyak::Ymm(reg.index())) : simd_.vec(reg.index());
    }

private:
    using Term = LinearProgram::Term;
    struct Value;
    Register start(std::vector<Value>& values, const LinearProgram::Step& step, std::size_t& done);
    Register first_plus_product(std::vector<Value>& values, const LinearProgram::Step& step);
    void add(const Vec& to, const Vec& from, double factor);
    /// Calls `multiply` with the factor as an operand.
    void with_factor(double factor, const std::function<void(const Xbyak::Operand&)>& multiply);

    const Simd& simd_;
    CodeBlock& code_;
    bool half_;
    RegPool& registers_;
    std::map<float, Register> factors_;
};

}  // namespace tandem::jit
