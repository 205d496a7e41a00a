// Quantisation: integer sums to real numbers, and real numbers to the integers of a tensor
// (docs/math-modes.md).
//
//   r = sum * factor, plus a leading bias; post-ops; q = r / scale + zero point, clamped and rounded
//
// A clamp that ends the chain is left to the one here, whose bounds the panel then holds (final_clamp()).
// Vectors of 16 channels of up to four pixels are packed into one register: two saturating packs and a
// permutation of all of them cost less than a narrowing store of each, and what saturates needs no lower
// bound of its own, a NaN's conversion included.
#pragma once

#include <functional>
#include <optional>

#include "jit/stage_body.hpp"

namespace tandem::jit {

/// Vector registers that each of the functions below needs besides the accumulators.
inline constexpr int quantization_temps = 4;

/// Address of one of the panel's numbers.
using QuantAddress = std::function<Address(QuantNumber)>;

/// Turns the sums of one vector of channels into real numbers: times `factors`, plus `bias` where the chain
/// starts with one.
void emit_real_numbers(const StageContext& context, std::span<const Vec> sums, const Address& factors,
                       const std::optional<Address>& bias, std::span<const int> temps);

/// Whether outputs are stored by emit_packed_store(); `tail_lanes`: of their vector.
bool packs_pixels(const StageContext& context, int tail_lanes) noexcept;
inline constexpr std::int64_t packed_pixels = 4;

/// Real numbers to integers of the tensor: in f32, as emit_store() takes them, or in s32, as
/// emit_packed_store() does, which clamps further. A NaN becomes the lowest. `far`: GroupHeader::far.
void emit_quantization(const StageContext& context, std::span<const Vec> accs, bool packs, const Address& far,
                       const QuantAddress& quant, std::span<const int> temps);

/// Stores the accumulators of up to packed_pixels pixels, one behind the other from `to` on. Clobbers them.
void emit_packed_store(const StageContext& context, const Address& to, std::span<const Vec> pixels,
                       int tail_lanes, const QuantAddress& quant, std::span<const int> temps);

/// The same of one pixel whose accumulators are the vectors of a quad (quad_place()): 64 channels.
void emit_quad_store(const StageContext& context, const Address& to, std::span<const Vec> vectors,
                     const QuantAddress& quant, std::span<const int> temps);

/// 4 x 4 dwords: dword i of 128-bit lane j to dword j of lane i, as the index operand of vpermd.
Address transposed_dwords(CodeBlock& code);

}  // namespace tandem::jit
