#include "jit/quantize.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "jit/pixel_pairs.hpp"

namespace tandem::jit {
namespace {

enum Temp : std::size_t { inverse_scale, zero, lowest, highest };  // registers of emit_quantization()

}  // namespace

void emit_real_numbers(const StageContext& context, std::span<const Vec> sums, const Address& factors,
                       const std::optional<Address>& bias, std::span<const int> temps) {
    CodeBlock& code = context.simd.code;
    const Vec factor = Simd::like(sums[0], temps[0]), addend = Simd::like(sums[0], temps[1]);
    code.vmovups(factor, factors);
    if (bias) code.vmovups(addend, *bias);
    for (const Vec& sum : sums) {
        if (sums_integers(context.plan.dot)) code.vcvtdq2ps(sum, sum);
        if (bias)
            code.vfmadd213ps(sum, factor, addend);
        else
            code.vmulps(sum, sum, factor);
    }
}

bool packs_pixels(const StageContext& context, int tail_lanes) noexcept {
    const bool masked = context.tail_store == TailStore::masked && tail_lanes > 0;
    return context.simd.lanes == 16 && is_quantized(context.out_dtype) &&
           element_bytes(context.out_element) == 1 && !masked;
}

namespace {

// As emit_store() takes it.
void emit_number(const StageContext& context, const Vec& acc, std::span<const int> temps) {
    constexpr std::uint8_t nearest_even = 0;
    CodeBlock& code = context.simd.code;
    code.vmaxps(acc, acc, Simd::like(acc, temps[lowest]));
    code.vminps(acc, acc, Simd::like(acc, temps[highest]));
    const std::int32_t bias = stored_bias(context.out_dtype, context.out_element);
    if (!loses_zero_point(context.out_element) && bias == 0) return;  // the store's conversion rounds
    if (context.simd.avx512())
        code.vrndscaleps(acc, acc, nearest_even);
    else
        code.vroundps(acc, acc, nearest_even);
    if (loses_zero_point(context.out_element)) code.vsubps(acc, acc, Simd::like(acc, temps[zero]));
    if (bias != 0) code.vaddps(acc, acc, code.constant(static_cast<float>(bias)));
}

// As emit_packed_store() takes them. What does not fit converts to the lowest s32, which is right for a NaN
// and below, but not above.
void emit_integers(const StageContext& context, std::span<const Vec> accs, const Address& far,
                   std::span<const int> temps) {
    CodeBlock& code = context.simd.code;
    Label near;
    code.cmp(far, 0);
    code.je(near, CodeBlock::T_NEAR);
    for (const Vec& acc : accs)
        code.vminps(acc, Simd::like(acc, temps[highest]), acc);  // in this order a NaN stays
    code.L(near);
    for (const Vec& acc : accs)
        code.vcvtps2dq(acc, acc);
}

}  // namespace

void emit_quantization(const StageContext& context, std::span<const Vec> accs, bool packs, const Address& far,
                       const QuantAddress& quant, std::span<const int> temps) {
    using enum QuantNumber;
    if (accs.empty()) return;
    CodeBlock& code = context.simd.code;
    for (const auto& [temp, number] : {std::pair(inverse_scale, output_inverse_scale),
                                       {zero, output_zero},
                                       {lowest, output_lowest},
                                       {highest, output_highest}})
        code.vbroadcastss(context.simd.vec(temps[temp]), quant(number));
    for (const Vec& acc : accs)
        code.vfmadd213ps(acc, Simd::like(acc, temps[inverse_scale]), Simd::like(acc, temps[zero]));
    if (packs) return emit_integers(context, accs, far, temps);
    for (const Vec& acc : accs)
        emit_number(context, acc, temps);
}

namespace {

// Up to four vectors of integers as bytes of the first: of each 128-bit lane of the first vector, then of the
// second's, and so on.
void emit_pack(const StageContext& context, std::span<const Vec> vectors, const QuantAddress& quant,
               const Xbyak::Zmm& temp) {
    CodeBlock& code = context.simd.code;
    const auto vector = [&](std::size_t i) {
        return Xbyak::Zmm(vectors[std::min(i, vectors.size() - 1)].getIdx());
    };
    const Xbyak::Zmm packed = vector(0), behind = vectors.size() > 2 ? vector(2) : packed;
    const bool is_signed = context.out_dtype == DataType::s8;
    code.vpackssdw(packed, packed, vector(1));
    if (vectors.size() > 2) code.vpackssdw(behind, behind, vector(3));
    if (is_signed)
        code.vpacksswb(packed, packed, behind);
    else
        code.vpackuswb(packed, packed, behind);
    const std::optional<Clamp> clamp = final_clamp(context.stage->conv);
    if (clamp) {
        code.vpbroadcastd(temp, quant(QuantNumber::output_lowest_bytes));
        if (is_signed)
            code.vpmaxsb(packed, packed, temp);
        else
            code.vpmaxub(packed, packed, temp);
    }
    if (clamp && std::isfinite(clamp->high)) {
        code.vpbroadcastd(temp, quant(QuantNumber::output_highest_bytes));
        if (is_signed)
            code.vpminsb(packed, packed, temp);
        else
            code.vpminub(packed, packed, temp);
    }
    if (stored_bias(context.out_dtype, context.out_element) != 0)
        code.vpxord(packed, packed, code.constant_bits(0x80808080));
}

}  // namespace

void emit_packed_store(const StageContext& context, const Address& to, std::span<const Vec> pixels,
                       int tail_lanes, const QuantAddress& quant, std::span<const int> temps) {
    CodeBlock& code = context.simd.code;
    const int index = pixels[0].getIdx();
    const Xbyak::Zmm packed(index);
    const Xbyak::Zmm order(temps[0]);
    emit_pack(context, pixels, quant, order);
    code.vmovdqu32(order, context.out.pairs ? packed_pair_order(code) : transposed_dwords(code));
    code.vpermd(packed, order, packed);
    if (tail_lanes > 0 && context.tail_store != TailStore::anything) {
        const std::uint32_t lanes = (1u << tail_lanes) - 1;
        code.kmovq(byte_mask, code.constant_bits(context.out.pairs ? packed_pair_mask(tail_lanes)
                                                                   : lanes << 16 | lanes));
        code.vmovdqu8(packed | byte_mask | code.T_z, packed);
    }
    const auto at = [&](std::size_t pixel) {
        return code.ptr[to.getRegExp() + pixel * static_cast<std::size_t>(context.out.pixel)];
    };
    if (context.out.pairs) return code.vmovdqu32(to, pixels.size() > 2 ? Vec(packed) : Xbyak::Ymm(index));
    const bool adjacent = context.out.pixel == 16;
    std::size_t stored = 1;
    if (adjacent && pixels.size() == std::size_t{packed_pixels}) {
        code.vmovdqu32(to, packed);
        stored = packed_pixels;
    } else if (adjacent && pixels.size() > 1) {
        code.vmovdqu32(to, Xbyak::Ymm(index));
        stored = 2;
    } else {
        code.vmovdqu32(to, Xbyak::Xmm(index));
    }
    for (; stored < pixels.size(); ++stored)
        code.vextracti32x4(at(stored), packed, static_cast<std::uint8_t>(stored));
}

void emit_quad_store(const StageContext& context, const Address& to, std::span<const Vec> vectors,
                     const QuantAddress& quant, std::span<const int> temps) {
    emit_pack(context, vectors, quant, Xbyak::Zmm(temps[0]));
    context.simd.code.vmovdqu32(to, vectors[0]);
}

Address transposed_dwords(CodeBlock& code) {
    std::array<std::uint32_t, 16> words{};
    for (std::uint32_t i = 0; i < 16; ++i)
        words[i] = i % 4 * 4 + i / 4;
    return code.constant_line(words);
}

}  // namespace tandem::jit
