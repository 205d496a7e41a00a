#include "jit/elements.hpp"

#include <array>

namespace tandem::jit {
namespace {

const Xbyak::Opmask nan_mask(4);  // k1 to k3 hold lane masks (stage_body.hpp)

// The register of half the width, where elements of half the size end up.
Vec half(const Vec& v) { return v.isZMM() ? Vec(Xbyak::Ymm(v.getIdx())) : Xbyak::Xmm(v.getIdx()); }
Xbyak::Xmm low(const Vec& v) { return Xbyak::Xmm(v.getIdx()); }

Address element_at(const Address& first, int index, Element element) {
    return Address(0, false, first.getRegExp() + static_cast<std::size_t>(index * element_bytes(element)));
}

// AVX2 has no masked access to 8 or 16 bits: one element after the other.
void load_some(CodeBlock& code, Element element, const Xbyak::Xmm& x, const Address& from, int count) {
    code.vpxor(x, x, x);
    for (int i = 0; i < count; ++i) {
        if (element_bytes(element) == 2)
            code.vpinsrw(x, x, element_at(from, i, element), static_cast<std::uint8_t>(i));
        else
            code.vpinsrb(x, x, element_at(from, i, element), static_cast<std::uint8_t>(i));
    }
}

void store_some(CodeBlock& code, Element element, const Address& to, const Xbyak::Xmm& x, int count) {
    for (int i = 0; i < count; ++i) {
        if (element_bytes(element) == 2)
            code.vpextrw(element_at(to, i, element), x, static_cast<std::uint8_t>(i));
        else
            code.vpextrb(element_at(to, i, element), x, static_cast<std::uint8_t>(i));
    }
}

// Widens elements in memory or in the low part of a register; `v` may carry a mask.
void widen(CodeBlock& code, Element element, const Vec& v, const Xbyak::Operand& from) {
    switch (element) {
        case Element::bf16: code.vpmovzxwd(v, from); break;
        case Element::f16: code.vcvtph2ps(v, from); break;
        case Element::u8: code.vpmovzxbd(v, from); break;
        case Element::s8: code.vpmovsxbd(v, from); break;
        case Element::s16: code.vpmovsxwd(v, from); break;
        case Element::f32:
        case Element::bf16x2:
        case Element::bf16x3: break;  // not loaded as numbers
    }
}

void to_f32(CodeBlock& code, Element element, const Vec& v) {
    if (element == Element::bf16)
        code.vpslld(v, v, 16);
    else if (element != Element::f16)
        code.vcvtdq2ps(v, v);
}

// Rounds f32 to the upper 16 bits of each lane, the lower ones being left over: adds half a unit, or a
// little less where the tie is to go down. A NaN could carry into the exponent; it is replaced.
void round_to_upper_half(const Simd& simd, const Vec& v, std::span<const int> temps) {
    CodeBlock& code = simd.code;
    const Vec bias = Simd::like(v, temps[0]);
    code.vpsrld(bias, v, 16);
    if (simd.avx512())
        code.vpandd(bias, bias, code.constant_bits(1));
    else
        code.vpand(bias, bias, code.constant_bits(1));
    code.vpaddd(bias, bias, code.constant_bits(0x7fff));
    constexpr std::uint32_t quiet_nan = 0x7fc00000;
    if (simd.avx512()) {
        code.vcmpunordps(nan_mask, v, v);
        code.vpaddd(v, v, bias);
        code.vmovdqa32(v | nan_mask, code.constant_bits(quiet_nan));
    } else {
        const Vec unordered = Simd::like(v, temps[1]);
        code.vcmpunordps(unordered, v, v);
        code.vpaddd(v, v, bias);
        code.vblendvps(v, v, code.constant_bits(quiet_nan), unordered);
    }
}

// vcvtneps2bf16 on the ISA's registers.
bool converts_to_bf16(const Simd& simd) {
    return simd.avx512() ? has_bf16(simd.isa) : simd.isa.has(IsaFeature::avx_ne_convert);
}

void convert_to_bf16(const Simd& simd, const Vec& v) {
    simd.code.vcvtneps2bf16(half(v), v, simd.avx512() ? Xbyak::EvexEncoding : Xbyak::VexEncoding);
}

// 16-bit elements in the low half of the register.
void narrow_to_bf16(const Simd& simd, const Vec& v, std::span<const int> temps) {
    CodeBlock& code = simd.code;
    if (converts_to_bf16(simd)) return convert_to_bf16(simd, v);
    round_to_upper_half(simd, v, temps);
    code.vpsrld(v, v, 16);
    if (simd.avx512()) {
        code.vpmovdw(half(v), v);
    } else {
        code.vpackusdw(v, v, v);
        code.vpermq(Xbyak::Ymm(v.getIdx()), Xbyak::Ymm(v.getIdx()), 0x08);
    }
}

// On AVX2: integers that fit `element`, or bf16 and f16 as their bits; `count` of them, 0: all.
void store_packed(CodeBlock& code, Element element, const Address& to, const Vec& v, int count) {
    const Xbyak::Xmm x = low(v);
    if (element == Element::s8 || element == Element::s16)
        code.vpackssdw(v, v, v);
    else
        code.vpackusdw(v, v, v);
    code.vpermq(Xbyak::Ymm(v.getIdx()), Xbyak::Ymm(v.getIdx()), 0x08);
    if (element == Element::u8) code.vpackuswb(x, x, x);
    if (element == Element::s8) code.vpacksswb(x, x, x);
    if (count > 0)
        store_some(code, element, to, x, count);
    else if (element_bytes(element) == 2)
        code.vmovdqu(to, x);
    else
        code.vmovq(to, x);
}

void store_integers(const Simd& simd, Element element, const Address& to, const Vec& v,
                    const Simd::Lanes& lanes) {
    CodeBlock& code = simd.code;
    code.vcvtps2dq(v, v);
    if (simd.avx512()) {
        const Address masked = lanes.count == 0 ? to : to | Xbyak::Opmask(lanes.mask);
        if (element == Element::s16)
            code.vpmovdw(masked, v);
        else
            code.vpmovdb(masked, v);
        return;
    }
    store_packed(code, element, to, v, lanes.count);
}

}  // namespace

void emit_load(const Simd& simd, Element element, const Vec& v, const Address& from,
               const Simd::Lanes& lanes) {
    CodeBlock& code = simd.code;
    if (element == Element::f32) return simd.load(v, from, lanes);
    if (lanes.count == 0) {
        widen(code, element, v, from);
    } else if (simd.avx512()) {
        widen(code, element, v | Xbyak::Opmask(lanes.mask) | code.T_z, from);
    } else {
        load_some(code, element, low(v), from, lanes.count);
        widen(code, element, v, low(v));
    }
    to_f32(code, element, v);
}

void emit_store(const Simd& simd, Element element, const Address& to, const Vec& v, const Simd::Lanes& lanes,
                std::span<const int> temps) {
    CodeBlock& code = simd.code;
    if (element == Element::f32) return simd.store(to, v, lanes);
    if (element != Element::bf16 && element != Element::f16)
        return store_integers(simd, element, to, v, lanes);
    if (element == Element::bf16)
        narrow_to_bf16(simd, v, temps);
    else
        code.vcvtps2ph(half(v), v, 0);
    const Vec narrow = half(v);
    if (!simd.avx512()) {
        if (lanes.count == 0)
            code.vmovdqu(to, narrow);
        else
            store_some(code, element, to, low(v), lanes.count);
    } else if (lanes.count == 0) {
        code.vmovdqu16(to, narrow);
    } else {
        code.vmovdqu16(to | Xbyak::Opmask(lanes.mask), narrow);
    }
}

void emit_bits(const Simd& simd, Element element, const Vec& v, std::span<const int> temps) {
    CodeBlock& code = simd.code;
    switch (element) {
        case Element::bf16:
            emit_round(simd, element, v, temps);
            code.vpsrld(v, v, 16);
            break;
        case Element::f16:
            code.vcvtps2ph(half(v), v, 0);
            code.vpmovzxwd(v, half(v));
            break;
        case Element::u8: code.vcvtps2dq(v, v); break;
        case Element::s8:
        case Element::s16: {
            const auto above = static_cast<std::uint8_t>(32 - 8 * element_bytes(element));
            code.vcvtps2dq(v, v);
            code.vpslld(v, v, above);
            code.vpsrld(v, v, above);
            break;
        }
        case Element::f32:
        case Element::bf16x2:
        case Element::bf16x3: break;  // the latter: never in one lane
    }
}

void emit_store_bits(const Simd& simd, std::int64_t bytes, const Address& to, const Vec& v,
                     const Simd::Lanes& lanes, int temp) {
    CodeBlock& code = simd.code;
    if (bytes == 4) return simd.store(to, v, lanes);
    if (simd.avx512()) {
        const Address masked = lanes.count == 0 ? to : to | Xbyak::Opmask(lanes.mask);
        if (bytes == 2)
            code.vpmovdw(masked, v);
        else
            code.vpmovdb(masked, v);
        return;
    }
    const Vec bits = Simd::like(v, temp);
    code.vpand(bits, v, code.constant_bits(bytes == 2 ? 0xffff : 0xff));
    store_packed(code, bytes == 2 ? Element::bf16 : Element::u8, to, bits, lanes.count);
}

namespace {

// nearest = v rounded to bf16, still f32; v = what that leaves. Ties go away from zero, so that two
// additions do it: v's parts add up all the same. An infinity, or a number that rounds to one, leaves a
// NaN, and so does a NaN.
void split_nearest(CodeBlock& code, const Vec& v, const Vec& nearest) {
    code.vpaddd(nearest, v, code.constant_bits(0x8000));
    code.vpandd(nearest, nearest, code.constant_bits(0xffff0000));
    code.vsubps(v, v, nearest);
}

Address moved(const Address& address, std::int64_t bytes) {
    return Address(0, false, address.getRegExp() + static_cast<std::size_t>(bytes));
}

}  // namespace

void emit_store_parts(const Simd& simd, Element element, const Address& to, std::int64_t part, const Vec& v,
                      std::span<const int> temps) {
    CodeBlock& code = simd.code;
    const Vec nearest = Simd::like(v, temps[0]);
    const std::int64_t last = element_parts(element) - 1;
    for (std::int64_t i = 0; i <= last; ++i) {
        if (i < last) split_nearest(code, v, nearest);
        code.vcvtneps2bf16(half(nearest), i < last ? nearest : v);
        code.vmovdqu16(moved(to, i * part), half(nearest));
    }
}

bool stores_pairs(const Simd& simd, Element element) noexcept {
    return has_bf16(simd.isa) && simd.lanes == 16 && (element == Element::bf16 || element_parts(element) > 1);
}

void emit_store_pair(const Simd& simd, Element element, const PairStore& to, const Vec& first,
                     const Vec& second, std::span<const int> temps) {
    CodeBlock& code = simd.code;
    const std::int64_t last = element_parts(element) - 1, vector_bytes = simd.lanes * element_bytes(element);
    const Xbyak::Zmm low(temps[0]), high(temps[1]);
    const bool adjacent =
        to.second.getRegExp() == to.first.getRegExp() + static_cast<std::size_t>(vector_bytes);
    for (std::int64_t i = 0; i <= last; ++i) {
        if (i < last) {
            split_nearest(code, first, low);
            split_nearest(code, second, high);
            code.vcvtne2ps2bf16(low, high, low);
        } else {
            code.vcvtne2ps2bf16(low, second, first);
        }
        if (adjacent) {
            code.vmovdqu16(moved(to.first, i * to.part), low);
        } else {
            code.vmovdqu16(moved(to.first, i * to.part), Xbyak::Ymm(temps[0]));
            code.vextracti32x8(moved(to.second, i * to.part), low, 1);
        }
    }
}

void emit_pair_order(const Simd& simd, const Vec& order) {
    std::array<std::uint32_t, 16> words{};  // even ones to the lower half, odd ones to the upper
    const auto lanes = static_cast<std::uint32_t>(simd.lanes), halves = lanes / 2;
    for (std::uint32_t lane = 0; lane < lanes; ++lane) {
        const std::uint32_t from = lane < halves ? 4 * lane : 4 * (lane - halves) + 1;
        words[lane] = from | (from + 2) << 16;
    }
    simd.code.vmovups(order, simd.code.constant_line(words));
}

void emit_pair_sums(const Simd& simd, const Vec& v, const Vec& order, const Vec& temp) {
    CodeBlock& code = simd.code;
    code.vpermw(v, order, v);
    if (v.isZMM())
        code.vextracti64x4(half(temp), Xbyak::Zmm(v.getIdx()), 1);
    else
        code.vextracti32x4(half(temp), Xbyak::Ymm(v.getIdx()), 1);
    code.vcvtph2ps(temp, half(temp));
    code.vcvtph2ps(v, half(v));
    code.vaddps(v, v, temp);
}

void emit_round(const Simd& simd, Element element, const Vec& v, std::span<const int> temps) {
    CodeBlock& code = simd.code;
    if (element == Element::f16) {
        code.vcvtps2ph(half(v), v, 0);
        code.vcvtph2ps(v, half(v));
    } else if (converts_to_bf16(simd)) {
        convert_to_bf16(simd, v);
        code.vpmovzxwd(v, half(v));
        code.vpslld(v, v, 16);
    } else {
        round_to_upper_half(simd, v, temps);
        if (simd.avx512())
            code.vpandd(v, v, code.constant_bits(0xffff0000));
        else
            code.vpand(v, v, code.constant_bits(0xffff0000));
    }
}

}  // namespace tandem::jit
