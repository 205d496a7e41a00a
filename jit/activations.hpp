// Activations: x = op(x) on one vector register, for the post-ops that need nothing but their operand and
// constants. bias, prelu, scale and sum read per-channel or residual memory and are emitted elsewhere.
//
// The same instruction sequence serves AVX2 (VEX) and AVX-512 (EVEX, ymm or zmm); results are the same bits
// on all of them. Errors, measured: docs/activations.md. No assumption on FTZ/DAZ, no opmask register is
// touched.
//
// Special values. Infinities give the limit: sigmoid(-inf) = 0, swish, hswish and gelu of -inf = -0,
// elu(-inf) = -alpha. leaky and elu compute what their formula says: leaky(-inf) with alpha 0 is NaN.
// NaN: the bounded piecewise-linear ops relu, relu6, clip and hsigmoid turn it into their lower bound, as
// `x > lo ? x : lo` does (and as oneDNN's JIT eltwise does); PyTorch would propagate it, at the price of a
// register. All others return NaN.
#pragma once

#include <span>

#include "jit/simd.hpp"
#include "tandem/descriptor.hpp"

namespace tandem::jit {

/// Emits x = op(x). `temps`: indices of free registers, at least PostOpTraits::temps, x's not among
/// them. Only x and the first PostOpTraits::temps of `temps` change. op.alpha and op.beta must be
/// finite. Throws std::invalid_argument (an Error once it leaves emit_code) for a kind emitted elsewhere or
/// unsuitable temps.
void emit_activation(const Simd& simd, const PostOp& op, const Vec& x, std::span<const int> temps);

}  // namespace tandem::jit
