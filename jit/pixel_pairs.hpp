// The instructions of pixel pairs (core/plan/pixel_pairs.hpp), on 32-bit lanes of AVX-512 registers.
#pragma once

#include <span>

#include "core/plan/arithmetic.hpp"
#include "core/plan/pixel_pairs.hpp"
#include "jit/simd.hpp"

namespace tandem::jit {

/// low, high = the vectors x, y of two pixels in turns. y and high may be one register, x and y too.
void emit_pair(const Simd& simd, const Vec& low, const Vec& high, const Vec& x, const Vec& y);
/// The inverse; y and high may be one register.
void emit_apart(const Simd& simd, const Vec& x, const Vec& y, const Vec& low, const Vec& high);

/// The same where low and high are the halves of register `both`. Clobbers y.
void emit_half_pair(const Simd& simd, int both, const Vec& x, const Vec& y);
void emit_half_apart(const Simd& simd, const Vec& x, const Vec& y, int both);

/// Stores two pixels' vectors of 16 channels as a pair of f32, bf16 or f16. Clobbers y and `temp`. `order`:
/// holds pair_order() for the latter two.
void emit_pair_store(const Simd& simd, Element element, const Xbyak::RegExp& to, const Vec& x, const Vec& y,
                     int temp, int order);
/// Index operand of vpermd: pixels of bf16 or f16 one after the other to a pair.
Address pair_order(CodeBlock& code);
/// Of what the packs of four pixels' bytes leave, 4 x 4 dwords by dot group and pixel, to two pairs.
Address packed_pair_order(CodeBlock& code);
/// Bytes of such a pair that belong to the first `channels`, as a mask.
std::uint32_t packed_pair_mask(int channels);

}  // namespace tandem::jit
