// Simd: the few vector instructions that differ between AVX2 and AVX-512, behind one set of names. The ISA
// is a value handed in.
//
// A vector is `lanes` floats wide; AVX-512 may work with 8 lanes (nChw8c), then still with 32 registers.
// Tails: a partial vector is loaded with its missing lanes zero and stored without touching them, by k1/k2
// on AVX-512 and by a mask vector on AVX2.
#pragma once

#include "core/plan/plan.hpp"
#include "core/plan/register_budget.hpp"
#include "jit/code_block.hpp"

namespace tandem::jit {

struct Simd {
    CodeBlock& code;
    Isa isa;
    int lanes;

    bool avx512() const noexcept { return is_avx512(isa); }
    int registers() const noexcept { return vector_registers(isa); }
    int bytes() const noexcept { return lanes * 4; }

    Vec vec(int index) const { return lanes == 16 ? Vec(Xbyak::Zmm(index)) : Vec(Xbyak::Ymm(index)); }
    /// Register `index` in the width of `other`.
    static Vec like(const Vec& other, int index) {
        return other.isZMM() ? Vec(Xbyak::Zmm(index)) : Vec(Xbyak::Ymm(index));
    }

    void zero(const Vec& v) const;
    /// Calls `use` with the number at `from` as an operand of an instruction on `v`: an embedded broadcast
    /// on AVX-512, else register `temp`.
    template <class Use>
    void with_number(const Vec& v, const Address& from, int temp, const Use& use) const {
        if (avx512()) return use(code.ptr_b[from.getRegExp()]);
        code.vbroadcastss(like(v, temp), from);
        use(like(v, temp));
    }
    /// to[i] = from[index register[i]]
    void permute(const Vec& to, int index_register, const Vec& from) const;

    /// Lanes that one load or store touches: all, or the first `lanes`, masked by k`mask` or by mask vector
    /// `mask`.
    struct Lanes {
        int count = 0;  // 0 = all
        int mask =
            0;  // AVX-512: number of the k register; AVX2: index of the vector register holding the mask
    };
    /// Prepares the mask of `lanes` where that is a k register, on AVX-512. Clobbers `scratch`.
    void set_opmask(const Lanes& lanes, const Gpr& scratch) const;
    /// The same where it is a vector register, on AVX2.
    void load_mask(const Lanes& lanes) const;
    void load(const Vec& v, const Address& from, const Lanes& lanes) const;
    void store(const Address& to, const Vec& v, const Lanes& lanes) const;
    /// Clears the lanes past lanes.count, in register.
    void clear_tail(const Vec& v, const Lanes& lanes) const;
};

}  // namespace tandem::jit
