// Arithmetic: which multiply instructions a stage uses, and what its operands look like in memory. Pure
// functions.
//
// Every GEMM instruction here takes 4 bytes of a pixel's channels at a time, its dot group: one f32, two
// bf16, f16 or s16, four u8 or s8; the wide ones 2 bytes, of one channel. Depthwise stages compute in f32
// whatever the tensors are, which for quantised ones is exact, as their sums have fewer than 2^24; or by dot
// int8, whose groups are then four columns of one channel (jit/depthwise_int8.cpp).
//
//   dot    source in memory     weights      sums   per group and vector of output channels
//   f32    f32                  f32          f32    vfmadd231ps
//   bf16   bf16                 bf16         f32    vdpbf16ps
//   f16    f16                  f16          f16    vfmadd231ph; two sums a lane, of even and of odd
//                                                   channels, added up in f32 at the end
//   int8   u8 (s8: plus 128)    s8           s32    vpdpbusd; the zero point is taken off by precomputed
//                                                   sums of weights
//   int16  s16, less zero point s16          s32    vpmaddwd, vpaddd
//   signed_int8
//          s8                   s8           s32    vpdpbssd, VEX only; as int8 in all else
//   wide_bf16, wide_f16
//          bf16, f16            f32          f32    vfmadd231ps; what broadcasts a pixel widens it
//                                                   (vbcstnebf162ps, vbcstnesh2ps), VEX only
//   amx_bf16, amx_f16, amx_int8: as bf16 (f16 with sums in f32) and int8, on AMX tiles of 16 pixels, 16
//   output channels and 16 dot groups at a time
//   amx_x3 bf16 in 2 parts      same         f32    AMX; f32 operands as sums of bf16 parts, of whose
//                                                   products the three largest are taken
//   amx_x6 bf16 in 3 parts      same         f32    the same with the six largest
//
// AMX reads the source by tiles whose rows are 64 bytes of a pixel's channels, edges included: its source
// is always in scratch, in channel blocks of 64 bytes, with columns of padding, all filled with the zero
// point beforehand.
//
// A source that the instructions cannot read as it is (another type, or a channel count that leaves a dot
// group half filled) is
// staged: the tile's input rows are converted into scratch first. So is, for any first stage, an input with
// factors (InputShape::factors), which it is multiplied by on the way. Of an NCHW input, whose channels are
// planes, the scratch has a plane for each dot group; with one channel a group the planes themselves do.
#pragma once

#include <optional>
#include <vector>

#include "core/plan/plan.hpp"
#include "core/plan/post_op_traits.hpp"

namespace tandem {

/// How numbers lie in memory: as in a tensor of a data type, or as a dot instruction wants them.
enum class Element : std::uint8_t {
    f32,
    bf16,
    f16,
    u8,
    s8,
    s16,
    bf16x2,
    bf16x3,  // sums of 2 or 3 bf16 numbers, largest first, TensorStrides::part bytes apart
};
constexpr Element element_of(DataType type) noexcept {
    switch (type) {
        case DataType::f32: return Element::f32;
        case DataType::bf16: return Element::bf16;
        case DataType::f16: return Element::f16;
        case DataType::u8: return Element::u8;
        case DataType::s8: return Element::s8;
    }
    return Element::f32;
}
constexpr std::int64_t element_bytes(Element element) noexcept {
    return element == Element::f32 ? 4 : element == Element::u8 || element == Element::s8 ? 1 : 2;
}

/// Input channels of a dot group.
constexpr std::int64_t dot_channels(Dot dot) noexcept {
    switch (dot) {
        case Dot::f32:
        case Dot::wide_bf16:
        case Dot::wide_f16: return 1;
        case Dot::int8:
        case Dot::signed_int8:
        case Dot::amx_int8: return 4;
        default: return 2;
    }
}
/// The source is narrower than what is multiplied: f32.
constexpr bool widens_source(Dot dot) noexcept { return dot == Dot::wide_bf16 || dot == Dot::wide_f16; }
/// Bytes of a pixel's dot group, of each of its parts.
constexpr std::int64_t dot_group_bytes(Dot dot) noexcept { return widens_source(dot) ? 2 : 4; }
constexpr bool uses_amx(Dot dot) noexcept { return dot >= Dot::amx_bf16; }
/// Parts of each operand; products of parts i and j are taken where i + j < parts.
constexpr std::int64_t dot_parts(Dot dot) noexcept {
    return dot == Dot::amx_x6 ? 3 : dot == Dot::amx_x3 ? 2 : 1;
}
constexpr std::int64_t element_parts(Element element) noexcept {
    return element == Element::bf16x3 ? 3 : element == Element::bf16x2 ? 2 : 1;
}
/// Rows of an AMX tile, and bytes of each: pixels or dot groups.
inline constexpr std::int64_t amx_rows = 16, amx_row_bytes = 64;
/// Tiles of sums of a call of AMX's inner routine: tiles of pixels by output vectors.
inline constexpr std::int64_t amx_sums = 4;
/// Some stage of the plan runs on AMX; on operands in several parts; adds up in f16.
bool uses_amx(const Problem& problem, const Plan& plan) noexcept;
bool splits_operands(const Problem& problem, const Plan& plan) noexcept;
bool sums_f16_pairs(const Problem& problem, const Plan& plan) noexcept;
/// The dot of the dense stage with the most work; f32 where there is none.
Dot main_dot(const Problem& problem, const Plan& plan) noexcept;
/// What a dot instruction reads of the pixels, and of the weights.
Element dot_source(Dot dot) noexcept;
Element dot_weight(Dot dot) noexcept;
/// Sums are 32-bit integers.
constexpr bool sums_integers(Dot dot) noexcept {
    return dot == Dot::int8 || dot == Dot::int16 || dot == Dot::signed_int8 || dot == Dot::amx_int8;
}
/// Sums are two f16 in each lane, which are added up as f32 before the post-ops.
constexpr bool sums_f16_pairs(Dot dot) noexcept { return dot == Dot::f16; }
/// The pixel's dot group has to be broadcast to a register: integer products take it from nowhere else, and
/// f16 ones embed broadcasts of 16 bits only.
constexpr bool needs_broadcast(Dot dot) noexcept {
    return sums_integers(dot) || sums_f16_pairs(dot) || widens_source(dot);
}
/// A kernel row of the panel begins with the zero point's share.
constexpr bool has_zero_point_sums(Dot dot) noexcept { return sums_integers(dot) && dot != Dot::int16; }

/// Multiplications and additions a second against those of f32 FMAs, if a vector dot instruction takes a
/// FMA's time. AMX: 1.8 TFLOP/s of bf16 beside 179 GFLOP/s of f32, as probes on Emerald Rapids had it.
double dot_speed(Dot dot) noexcept;

/// Register blocks that AMX takes: sums of two vectors at most, which few pixels at a time come back from.
void set_amx_shape(StagePlan& stage) noexcept;

/// Bounds between which a chain of post-ops leaves the numbers, where that is the last it does:
/// quantisation, which rounds and clamps, can do it as well, since rounding keeps the order of numbers.
std::optional<Clamp> final_clamp(const Conv& conv) noexcept;

/// The ISA has the instruction, on its widest registers.
constexpr bool has_dot(Isa isa, Dot dot) noexcept {
    switch (dot) {
        case Dot::f32:
        case Dot::int16: return true;
        case Dot::bf16: return has_bf16(isa);
        case Dot::f16: return has_fp16(isa);
        case Dot::int8: return has_vnni(isa);
        case Dot::signed_int8: return !is_avx512(isa) && isa.has(IsaFeature::avx_vnni_int8);
        case Dot::wide_bf16:
        case Dot::wide_f16: return !is_avx512(isa) && isa.has(IsaFeature::avx_ne_convert);
        case Dot::amx_int8: return isa.has(IsaFeature::amx_int8);
        case Dot::amx_f16: return isa.has(IsaFeature::amx_fp16);
        case Dot::amx_bf16:
        case Dot::amx_x3:
        case Dot::amx_x6: return isa.has(IsaFeature::amx_bf16);
    }
    return false;
}
/// Whether stage i of these data types can be computed by `dot` on `isa`.
bool dot_applies(const Problem& problem, Isa isa, int i, Dot dot) noexcept;
/// Those that apply, the fastest by instruction count first.
std::vector<Dot> dots(const Problem& problem, Isa isa, int i);
/// Whether a dot keeps what math `fast` promises in such a stage, so that the rules and the tuner may take
/// it.
bool is_accurate(const Stage& stage, Dot dot) noexcept;

/// Channels that lie next to each other in what a dense stage reads in scratch.
std::int64_t source_block(Dot dot, std::int64_t lanes) noexcept;

/// Whether the first stage's input rows are converted into scratch before it runs.
bool stages_source(const Problem& problem, const Plan& plan) noexcept;
/// What stage i reads: the input tensor, its staged copy, or the intermediate; and what it writes.
Element source_element(const Problem& problem, const Plan& plan, int i) noexcept;
Element output_element(const Problem& problem, const Plan& plan, int i) noexcept;

/// Quantised numbers in scratch. Where they are not kept as 8 bits, they lose their zero point; s8 that a
/// dot instruction is to read as u8 is stored with this added.
bool loses_zero_point(Element stored) noexcept;
std::int32_t stored_bias(DataType dtype, Element stored) noexcept;
/// The zero point of stage i's source as the stage's dot instruction reads it.
std::int32_t read_zero_point(const Problem& problem, const Plan& plan, int i,
                             std::int32_t zero_point) noexcept;

}  // namespace tandem
