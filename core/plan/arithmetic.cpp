#include "core/plan/arithmetic.hpp"

#include <algorithm>
#include <limits>

namespace tandem {
namespace {

Dot dot_of(const Plan& plan, int i) noexcept { return plan.stage(i).dot; }

// A window's lanes are channels, its bytes neighbouring columns (jit/depthwise_int8.cpp).
bool has_windows(const Problem& problem, Isa isa, int i) noexcept {
    const Conv& conv = problem.stage(i).conv;
    return is_avx512(isa) && problem.layout != Layout::nchw8c && conv.multiplier == 1 &&
           conv.dilation.w == 1 && conv.stride.w <= 2;
}

template <class Predicate>
bool any_dot(const Problem& problem, const Plan& plan, const Predicate& predicate) noexcept {
    for (int i = 0; i < problem.stage_count; ++i)
        if (predicate(dot_of(plan, i))) return true;
    return false;
}

// Winograd's input transform loads any type, as depthwise stages do.
bool loads_any_type(const Problem& problem, const Plan& plan, int i) noexcept {
    return problem.stage(i).depthwise() || is_winograd(plan.stage(i).algorithm);
}

}  // namespace

Element dot_source(Dot dot) noexcept {
    switch (dot) {
        case Dot::f32: return Element::f32;
        case Dot::bf16:
        case Dot::wide_bf16:
        case Dot::amx_bf16: return Element::bf16;
        case Dot::f16:
        case Dot::wide_f16:
        case Dot::amx_f16: return Element::f16;
        case Dot::signed_int8: return Element::s8;
        case Dot::int8:
        case Dot::amx_int8: return Element::u8;
        case Dot::int16: return Element::s16;
        case Dot::amx_x3: return Element::bf16x2;
        case Dot::amx_x6: return Element::bf16x3;
    }
    return Element::f32;
}

Element dot_weight(Dot dot) noexcept {
    return has_zero_point_sums(dot) ? Element::s8 : widens_source(dot) ? Element::f32 : dot_source(dot);
}

std::int64_t source_block(Dot dot, std::int64_t lanes) noexcept {
    return uses_amx(dot) ? amx_row_bytes / element_bytes(dot_source(dot)) : lanes;
}

bool uses_amx(const Problem& problem, const Plan& plan) noexcept {
    return any_dot(problem, plan, [](Dot dot) { return uses_amx(dot); });
}

bool splits_operands(const Problem& problem, const Plan& plan) noexcept {
    return any_dot(problem, plan, [](Dot dot) { return dot_parts(dot) > 1; });
}

bool sums_f16_pairs(const Problem& problem, const Plan& plan) noexcept {
    return any_dot(problem, plan, [](Dot dot) { return sums_f16_pairs(dot); });
}

Dot main_dot(const Problem& problem, const Plan& plan) noexcept {
    Dot dot = Dot::f32;
    double most = 0;
    for (int i = 0; i < problem.stage_count; ++i) {
        if (problem.stage(i).depthwise() || problem.stage(i).flops() <= most) continue;
        most = problem.stage(i).flops();
        dot = dot_of(plan, i);
    }
    return dot;
}

double dot_speed(Dot dot) noexcept {
    constexpr double amx = 5;  // against the vector instruction of the same operands
    switch (dot) {
        case Dot::f32:
        case Dot::wide_bf16:
        case Dot::wide_f16:
        case Dot::int16: return 1;
        case Dot::bf16:
        case Dot::f16: return 2;
        case Dot::signed_int8:
        case Dot::int8: return 4;
        case Dot::amx_f16:
        case Dot::amx_bf16: return 2 * amx;
        case Dot::amx_int8: return 4 * amx;
        case Dot::amx_x3: return 2 * amx / 3;
        case Dot::amx_x6: return 2 * amx / 6;
    }
    return 1;
}

void set_amx_shape(StagePlan& stage) noexcept {
    constexpr int most_vectors = 2, finished = 28;  // accumulators, as many as registers hold
    stage.block_vectors = std::min(stage.block_vectors, most_vectors);
    stage.block_pixels = finished / stage.block_vectors;
    stage.broadcast = Broadcast::embedded;
}

bool dot_applies(const Problem& problem, Isa isa, int i, Dot dot) noexcept {
    if (!has_dot(isa, dot)) return false;
    if (problem.stage(i).depthwise())
        return dot == Dot::f32 || (dot == Dot::int8 && problem.quantized() && has_windows(problem, isa, i));
    const bool bf16_operands = problem.dtype == DataType::bf16 || problem.math == Math::bf16;
    // A tile's 16 output channels are one vector, and the few channels of planes would leave its rows all but
    // empty.
    const bool fits_tiles = problem.layout != Layout::nchw8c && !problem.reads_planes(i);
    switch (dot) {
        case Dot::amx_bf16: return bf16_operands && fits_tiles;
        case Dot::amx_f16: return problem.dtype == DataType::f16 && fits_tiles;
        case Dot::amx_x3: return problem.dtype == DataType::f32 && problem.math != Math::strict && fits_tiles;
        case Dot::amx_x6: return problem.dtype == DataType::f32 && fits_tiles;
        case Dot::amx_int8: return problem.quantized() && fits_tiles;
        case Dot::f32: return !problem.quantized();
        case Dot::bf16: return bf16_operands;
        case Dot::f16: return problem.math == Math::f16;
        case Dot::int8: return problem.quantized();
        case Dot::int16: return problem.quantized();
        case Dot::signed_int8: return problem.quantized() && problem.input_dtype(i) == DataType::s8;
        case Dot::wide_bf16: return problem.dtype == DataType::bf16;
        case Dot::wide_f16: return problem.dtype == DataType::f16;
    }
    return false;
}

std::optional<Clamp> final_clamp(const Conv& conv) noexcept {
    return conv.post_op_count == 0 ? std::nullopt : clamp_of(conv.chain().back());
}

std::vector<Dot> dots(const Problem& problem, Isa isa, int i) {
    std::vector<Dot> result;
    for (const Dot dot :
         {Dot::amx_int8, Dot::signed_int8, Dot::int8, Dot::amx_bf16, Dot::amx_f16, Dot::amx_x3, Dot::bf16,
          Dot::f16, Dot::int16, Dot::wide_bf16, Dot::wide_f16, Dot::f32, Dot::amx_x6})
        if (dot_applies(problem, isa, i, dot)) result.push_back(dot);
    return result;
}

// Errors of x3 average out over a sum: in 25 random draws of 2,048 outputs sums of 32 terms were off
// by 1.15e-5 of the largest once, those of 48 and more by 6.8e-6 at most (docs/math-modes.md).
bool is_accurate(const Stage& stage, Dot dot) noexcept {
    constexpr std::int64_t least_terms = 64;
    return dot != Dot::amx_x3 || stage.in_channels * stage.conv.kernel.h * stage.conv.kernel.w >= least_terms;
}

bool stages_source(const Problem& problem, const Plan& plan) noexcept {
    if (problem.input.factors || plan.stage(0).algorithm == Algorithm::strassen) return true;
    const Stage& first = problem.stage(0);
    if (loads_any_type(problem, plan, 0)) return false;
    const Dot dot = dot_of(plan, 0);
    return uses_amx(dot) || dot_source(dot) != element_of(problem.dtype) ||
           first.in_channels % dot_channels(dot) != 0 || (problem.reads_planes(0) && dot_channels(dot) > 1);
}

bool loses_zero_point(Element stored) noexcept { return stored == Element::f32 || stored == Element::s16; }

std::int32_t stored_bias(DataType dtype, Element stored) noexcept {
    return dtype == DataType::s8 && stored == Element::u8 ? 128 : 0;
}

std::int32_t read_zero_point(const Problem& problem, const Plan& plan, int i,
                             std::int32_t zero_point) noexcept {
    const bool integers = dot_source(dot_of(plan, i)) == Element::u8;  // else s8 is read as such
    return zero_point + (integers && problem.input_dtype(i) == DataType::s8 ? 128 : 0);
}

Element source_element(const Problem& problem, const Plan& plan, int i) noexcept {
    if (!loads_any_type(problem, plan, i)) return dot_source(dot_of(plan, i));
    return i == 0 ? element_of(problem.dtype) : dot_source(dot_of(plan, i));
}

Element output_element(const Problem& problem, const Plan& plan, int i) noexcept {
    return i == problem.stage_count - 1 ? element_of(problem.output_dtype(i))
                                        : source_element(problem, plan, i + 1);
}

}  // namespace tandem
