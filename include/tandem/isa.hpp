// Isa: the instructions that code is generated for, as a set of features.
//
//   Isa::avx512_vnni                       a preset
//   Isa::avx512_vnni.with(IsaFeature::vbmi)  the same and more; its text: "avx512_vnni+vbmi"
//
// A set always holds what its features need to be of use (with() adds it), so that set inclusion is the only
// order there is: CPUs form no ladder.
#pragma once

#include <array>
#include <bit>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "tandem/export.h"
#include "tandem/result.hpp"

namespace tandem {

enum class IsaFeature : std::uint8_t {
    avx2,      // with FMA and F16C; in every set
    avx_vnni,  // vpdpbusd on ymm registers, for CPUs without AVX-512
    avx512,    // F, BW, DQ, VL and CD
    vnni,      // AVX512-VNNI: vpdpbusd
    bf16,      // AVX512-BF16: vdpbf16ps, vcvtneps2bf16
    vbmi,      // vpermb
    fp16,      // AVX512-FP16: vfmadd231ph
    amx_tile,  // the tile registers
    amx_bf16,  // tdpbf16ps
    amx_int8,  // tdpbusd and kin
    amx_fp16,  // from here on: told apart and kept in descriptions of machines, but used by no kernel yet
    avx_vnni_int8,
    avx_ne_convert,
    avx10_2,
};
inline constexpr int isa_feature_count = 14;
TANDEM_API const char* to_string(IsaFeature feature) noexcept;

class Isa {
public:
    /// The least: that of `avx2`.
    constexpr Isa() noexcept = default;

    static const Isa avx2;         // with FMA and F16C
    static const Isa avx2_vnni;    // and AVX-VNNI
    static const Isa avx512;       // avx2 and AVX-512's F, BW, DQ, VL and CD
    static const Isa avx512_vnni;  // and AVX512-VNNI
    static const Isa avx512_bf16;  // and AVX512-BF16
    static const Isa avx512_fp16;  // and AVX512-FP16 and VBMI
    static const Isa amx;          // and AMX-TILE, AMX-BF16 and AMX-INT8

    constexpr bool has(IsaFeature feature) const noexcept { return (bits_ & bit(feature)) != 0; }
    constexpr bool includes(Isa other) const noexcept { return (bits_ & other.bits_) == other.bits_; }
    /// The set and this feature, with what the feature needs.
    constexpr Isa with(IsaFeature feature) const noexcept;
    /// The set less this feature and what needs it.
    constexpr Isa without(IsaFeature feature) const noexcept;
    /// What both have.
    friend constexpr Isa operator&(Isa a, Isa b) noexcept { return Isa(a.bits_ & b.bits_); }

    constexpr int count() const noexcept { return std::popcount(bits_); }
    /// One bit a feature, for hashes.
    constexpr std::uint32_t bits() const noexcept { return bits_; }
    /// An order for maps, not of strength: see includes().
    constexpr std::strong_ordering operator<=>(const Isa&) const noexcept = default;

private:
    explicit constexpr Isa(std::uint32_t bits) noexcept : bits_(bits) {}
    static constexpr std::uint32_t bit(IsaFeature feature) noexcept {
        return std::uint32_t{1} << static_cast<unsigned>(feature);
    }
    static constexpr std::uint32_t needed_by(IsaFeature feature) noexcept;

    std::uint32_t bits_ = 1;
};

/// What a feature needs, itself and what that needs included.
constexpr std::uint32_t Isa::needed_by(IsaFeature feature) noexcept {
    const std::uint32_t self = bit(feature);
    switch (feature) {
        case IsaFeature::avx2: return self;
        case IsaFeature::avx_vnni:
        case IsaFeature::avx512:
        case IsaFeature::avx_vnni_int8:
        case IsaFeature::avx_ne_convert: return self | needed_by(IsaFeature::avx2);
        case IsaFeature::vnni:
        case IsaFeature::bf16:
        case IsaFeature::vbmi:
        case IsaFeature::fp16:
        case IsaFeature::amx_tile: return self | needed_by(IsaFeature::avx512);
        case IsaFeature::amx_bf16:
        case IsaFeature::amx_int8:
        case IsaFeature::amx_fp16: return self | needed_by(IsaFeature::amx_tile);
        case IsaFeature::avx10_2:
            return self | needed_by(IsaFeature::vnni) | needed_by(IsaFeature::bf16) |
                   needed_by(IsaFeature::vbmi) | needed_by(IsaFeature::fp16);
    }
    return self;
}

constexpr Isa Isa::with(IsaFeature feature) const noexcept { return Isa(bits_ | needed_by(feature)); }

constexpr Isa Isa::without(IsaFeature feature) const noexcept {
    Isa rest;
    for (int i = 1; i < isa_feature_count; ++i) {
        const auto other = static_cast<IsaFeature>(i);
        if (has(other) && (needed_by(other) & bit(feature)) == 0) rest = rest.with(other);
    }
    return rest;
}

inline constexpr Isa Isa::avx2{};
inline constexpr Isa Isa::avx2_vnni = Isa::avx2.with(IsaFeature::avx_vnni);
inline constexpr Isa Isa::avx512 = Isa::avx2.with(IsaFeature::avx512);
inline constexpr Isa Isa::avx512_vnni = Isa::avx512.with(IsaFeature::vnni);
inline constexpr Isa Isa::avx512_bf16 = Isa::avx512_vnni.with(IsaFeature::bf16);
inline constexpr Isa Isa::avx512_fp16 = Isa::avx512_bf16.with(IsaFeature::vbmi).with(IsaFeature::fp16);
inline constexpr Isa Isa::amx = Isa::avx512_fp16.with(IsaFeature::amx_bf16).with(IsaFeature::amx_int8);

/// The sets with names of their own, each before those that include it.
inline constexpr std::array isa_presets{Isa::avx2,        Isa::avx2_vnni,   Isa::avx512, Isa::avx512_vnni,
                                        Isa::avx512_bf16, Isa::avx512_fp16, Isa::amx};

/// The last preset that the set includes, and "+feature" for each that is missing then. May throw
/// std::bad_alloc.
TANDEM_API std::string to_string(Isa isa);
/// A preset's name, then any number of "+feature".
TANDEM_API Result<Isa> parse_isa(std::string_view text) noexcept;

/// zmm registers, masks and the 32 registers of EVEX.
constexpr bool is_avx512(Isa isa) noexcept { return isa.has(IsaFeature::avx512); }
/// vpdpbusd on the ISA's widest registers.
constexpr bool has_vnni(Isa isa) noexcept {
    return isa.has(is_avx512(isa) ? IsaFeature::vnni : IsaFeature::avx_vnni);
}
constexpr bool has_bf16(Isa isa) noexcept { return isa.has(IsaFeature::bf16); }
constexpr bool has_fp16(Isa isa) noexcept { return isa.has(IsaFeature::fp16); }
constexpr bool has_vbmi(Isa isa) noexcept { return isa.has(IsaFeature::vbmi); }
constexpr bool has_amx(Isa isa) noexcept { return isa.has(IsaFeature::amx_tile); }

}  // namespace tandem
