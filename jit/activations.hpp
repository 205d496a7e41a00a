// Activations: x = op(x) on vector registers, for the post-ops that need nothing but their operand and
// constants. bias, prelu, scale and sum read per-channel or residual memory and are emitted by
// jit/epilogue.*.
//
// The same instruction sequence serves AVX2 (VEX) and AVX-512 (EVEX, ymm or zmm); results are the same bits
// on all of them. Errors, measured: docs/activations.md. No assumption on FTZ/DAZ, no opmask register is
// touched.
//
// Special values: docs/math-modes.md. Every op returns NaN for a NaN, and its limit for an infinity:
// sigmoid(-inf) = 0, swish, hswish, mish and gelu of -inf = -0, elu(-inf) = -alpha. leaky computes what its
// formula says: leaky(-inf) with alpha 0 is NaN.
#pragma once

#include <span>

#include "jit/simd.hpp"
#include "tandem/descriptor.hpp"

namespace tandem::jit {

/// One activation, on any number of operands, one after the other. What it refers to must outlive it.
class Activation {
public:
    /// Emits what is the same for all operands. `temps`: indices of free registers, PostOpTraits::temps of
    /// them at least, which belong to the activation until its last operand is done; no others change.
    /// op.alpha and op.beta must be finite. Throws std::invalid_argument (an Error once it leaves emit_code)
    /// for a kind emitted elsewhere or too few temps.
    Activation(const Simd& simd, const PostOp& op, std::span<const int> temps);
    /// Emits x = op(x). `x`: any width; not one of `temps`, or std::invalid_argument is thrown.
    void emit(const Vec& x) const;

private:
    const Simd& simd_;
    PostOp op_;
    std::span<const int> temps_;
};

}  // namespace tandem::jit
