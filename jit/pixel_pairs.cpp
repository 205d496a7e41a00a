#include "jit/pixel_pairs.hpp"

#include <array>

namespace tandem::jit {

void emit_pair(const Simd& simd, const Vec& low, const Vec& high, const Vec& x, const Vec& y) {
    simd.code.vunpcklps(low, x, y);
    simd.code.vunpckhps(high, x, y);
}

void emit_apart(const Simd& simd, const Vec& x, const Vec& y, const Vec& low, const Vec& high) {
    constexpr std::uint8_t even_lanes = 0x88, odd_lanes = 0xdd;
    simd.code.vshufps(x, low, high, even_lanes);
    simd.code.vshufps(y, low, high, odd_lanes);
}

void emit_half_pair(const Simd& simd, int both, const Vec& x, const Vec& y) {
    const Xbyak::Ymm high(y.getIdx());
    emit_pair(simd, Xbyak::Ymm(both), high, x, y);
    simd.code.vinsertf32x8(Xbyak::Zmm(both), Xbyak::Zmm(both), high, 1);
}

void emit_half_apart(const Simd& simd, const Vec& x, const Vec& y, int both) {
    const Xbyak::Ymm high(y.getIdx());
    simd.code.vextractf32x8(high, Xbyak::Zmm(both), 1);
    emit_apart(simd, x, y, Xbyak::Ymm(both), high);
}

void emit_pair_store(const Simd& simd, Element element, const Xbyak::RegExp& to, const Vec& x, const Vec& y,
                     int temp, int order) {
    CodeBlock& code = simd.code;
    const Xbyak::Zmm both(temp), second(y.getIdx());
    if (element == Element::f32) {
        emit_pair(simd, both, second, x, y);
        code.vmovups(code.ptr[to], both);
        code.vmovups(code.ptr[to + static_cast<std::size_t>(simd.bytes())], second);
        return;
    }
    if (element == Element::bf16) {
        code.vcvtne2ps2bf16(both, second, Xbyak::Zmm(x.getIdx()));
    } else {
        code.vcvtps2ph(Xbyak::Ymm(temp), Xbyak::Zmm(x.getIdx()), 0);
        code.vcvtps2ph(Xbyak::Ymm(y.getIdx()), second, 0);
        code.vinserti64x4(both, both, Xbyak::Ymm(y.getIdx()), 1);
    }
    code.vpermd(both, Xbyak::Zmm(order), both);
    code.vmovups(code.ptr[to], both);
}

namespace {

// Dwords of pairs of pixels of `groups` dot groups, by where `from` finds each.
template <class From>
Address paired_dwords(CodeBlock& code, std::uint32_t groups, const From& from) {
    std::array<std::uint32_t, 16> words{};
    for (std::uint32_t pixel = 0; pixel < words.size() / groups; ++pixel)
        for (std::uint32_t group = 0; group < groups; ++group)
            words[pixel / 2 * 2 * groups + pixel % 2 +
                  static_cast<std::size_t>(pixel_pair_offset(group, groups * 4) / 4)] = from(pixel, group);
    return code.constant_line(words);
}

}  // namespace

Address pair_order(CodeBlock& code) {
    return paired_dwords(code, 8, [](std::uint32_t pixel, std::uint32_t group) { return pixel * 8 + group; });
}

Address packed_pair_order(CodeBlock& code) {
    return paired_dwords(code, 4, [](std::uint32_t pixel, std::uint32_t group) { return group * 4 + pixel; });
}

std::uint32_t packed_pair_mask(int channels) {
    std::uint32_t mask = 0;
    for (int c = 0; c < channels; ++c)
        mask |= 0x11u << (pixel_pair_offset(c / 4, 16) + c % 4);
    return mask;
}

}  // namespace tandem::jit
