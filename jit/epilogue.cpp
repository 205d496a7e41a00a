#include "jit/epilogue.hpp"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <optional>
#include <stdexcept>

#include <fmt/format.h>

#include "core/plan/post_op_traits.hpp"
#include "core/plan/register_budget.hpp"
#include "jit/activations.hpp"

namespace tandem::jit {
namespace {

const Xbyak::Opmask negative_mask(4);  // set where it is used, as in jit/elements.cpp

template <class Use>
void for_each_place(const EpilogueBlock& block, const Use& use) {
    for (std::int64_t row = 0; row < block.rows; ++row)
        for (std::int64_t pixel = 0; pixel < block.pixels; ++pixel)
            for (std::int64_t vector = block.vectors.begin; vector < block.vectors.end; ++vector)
                use(EpilogueBlock::Place{row, pixel, static_cast<int>(vector)});
}

Conv without_quantized_clamp(const StageContext& context) {
    Conv conv = context.stage->conv;
    if (is_quantized(context.out_dtype) && final_clamp(conv)) --conv.post_op_count;
    return conv;
}

// x < 0 ? slope * x : x, whatever the slope where x is not negative. `zero` holds zero.
void emit_prelu(const Simd& simd, const Vec& x, const Address& slope, const Vec& zero,
                std::span<const int> temps) {
    CodeBlock& code = simd.code;
    constexpr std::uint8_t less = 0x11;  // quietly; false for a NaN
    if (simd.avx512()) {
        code.vcmpps(negative_mask, x, Simd::like(x, zero.getIdx()), less);
        code.vmulps(x | negative_mask, x, slope);
        return;
    }
    const Vec product = Simd::like(x, temps[0]), negative = Simd::like(x, temps[1]);
    code.vmulps(product, x, slope);
    code.vcmpps(negative, x, zero, less);
    code.vblendvps(x, x, product, negative);
}

}  // namespace

Epilogue::Epilogue(const StageContext& context, const PanelLayout& panel, const Gpr& group)
    : context_(context), panel_(panel), simd_(context.simd), code_(context.simd.code), group_(group),
      conv_(without_quantized_clamp(context)) {}

bool Epilogue::starts_with_bias() const noexcept {
    return conv_.post_op_count > 0 && conv_.post_ops[0].kind == PostOpKind::bias;
}

std::string Epilogue::text() const {
    std::string text;
    for (const PostOp& op : conv_.chain().subspan(starts_with_bias() ? 1 : 0))
        text += std::string("+") + to_string(op.kind);
    return text;
}

void Epilogue::emit_opmasks(const GroupRun& group, const Gpr& scratch) const {
    if (!simd_.avx512()) return;
    simd_.set_opmask({context_.tail_vector(group.tail_lanes).lanes, output_mask}, scratch);
    simd_.set_opmask({group.residual_tail_lanes, residual_mask}, scratch);
}

void Epilogue::emit(const EpilogueBlock& block) const {
    static_assert(std::max(quantization_temps, element_temps) <= epilogue_temps);
    if (std::ssize(block.temps) < epilogue_temps)
        throw std::logic_error(fmt::format("{} vector registers are left to an epilogue that needs {}",
                                           block.temps.size(), epilogue_temps));
    if (sums_f16_pairs(context_.plan.dot)) emit_pair_sums(block);
    if (panel_.quantized) emit_real_numbers(block);
    const bool bias_is_done = starts_with_bias() && (block.biased || panel_.quantized);
    for (int op = bias_is_done ? 1 : 0; op < conv_.post_op_count; ++op)
        emit_post_op(block, op);
    if (is_quantized(context_.out_dtype)) {
        emit_quantization(block);
    } else if (context_.out_dtype != DataType::f32) {
        emit_rounding(block);
    }
    emit_stores(block);
    emit_padding(block);
}

Address Epilogue::param(const EpilogueBlock& block, int op, int vector) const {
    return panel(panel_.params_offset() +
                 (std::int64_t{param_index(conv_, op)} * block.group.vectors + vector) * panel_.vector_bytes);
}

QuantAddress Epilogue::quant() const {
    return [this](QuantNumber number) {
        return panel(panel_.quant_offset(number));
    };
}

// Accumulators of two f16 become f32, whole registers whatever the width of their sums: the upper half of a
// narrower one is zero.
void Epilogue::emit_pair_sums(const EpilogueBlock& block) const {
    const Vec order = simd_.vec(block.temps[0]), temp = simd_.vec(block.temps[1]);
    emit_pair_order(simd_, order);
    for_each_place(block, [&](const Place& place) {
        jit::emit_pair_sums(simd_, simd_.vec(block.acc(place).getIdx()), order, temp);
    });
}

void Epilogue::emit_real_numbers(const EpilogueBlock& block) const {
    for (int v = static_cast<int>(block.vectors.begin); v < block.vectors.end; ++v) {
        std::vector<Vec> sums;
        for_each_place(block, [&](const Place& place) {
            if (place.vector == v) sums.push_back(block.acc(place));
        });
        jit::emit_real_numbers(
            context_, sums, panel(panel_.factors_offset(block.group.vectors) + v * panel_.vector_bytes),
            starts_with_bias() ? std::optional(param(block, 0, v)) : std::nullopt, block.temps);
    }
}

void Epilogue::emit_post_op(const EpilogueBlock& block, int i) const {
    const PostOp& op = conv_.post_ops[static_cast<std::size_t>(i)];
    switch (traits(op).tensor) {
        case PostOpTensor::none: emit_activation(block, op); break;
        case PostOpTensor::addends:
            for_each_place(block, [&](const Place& place) {
                code_.vaddps(block.acc(place), block.acc(place), param(block, i, place.vector));
            });
            break;
        case PostOpTensor::factors:
            for_each_place(block, [&](const Place& place) {
                code_.vmulps(block.acc(place), block.acc(place), param(block, i, place.vector));
            });
            break;
        case PostOpTensor::slopes: emit_prelu(block, i); break;
        case PostOpTensor::residual: emit_sum(block); break;
    }
}

void Epilogue::emit_activation(const EpilogueBlock& block, const PostOp& op) const {
    const Activation activation(simd_, op, block.temps);
    for_each_place(block, [&](const Place& place) { activation.emit(block.acc(place)); });
}

void Epilogue::emit_prelu(const EpilogueBlock& block, int i) const {
    const Vec zero = simd_.vec(block.temps[0]);
    simd_.zero(zero);
    for_each_place(block, [&](const Place& place) {
        jit::emit_prelu(simd_, block.acc(place), param(block, i, place.vector), zero,
                        std::span(block.temps).subspan(1));
    });
}

// The residual may have fewer channels: missing ones count as zero.
void Epilogue::emit_sum(const EpilogueBlock& block) const {
    const GroupRun& group = block.group;
    Simd::Lanes last{group.residual_tail_lanes, residual_mask};
    if (!simd_.avx512() && element_of(context_.out_dtype) == Element::f32) {
        last.mask = block.temps[1];
        simd_.load_mask(last);
    }
    for_each_place(block, [&](const Place& place) {
        if (place.vector < group.residual_vectors)
            emit_addend(block, place, place.vector == group.residual_vectors - 1 ? last : Simd::Lanes{});
    });
}

void Epilogue::emit_addend(const EpilogueBlock& block, const Place& place, const Simd::Lanes& lanes) const {
    const Element element = element_of(context_.out_dtype);
    const Vec x = block.acc(place), residual = Simd::like(x, block.temps[0]);
    const Address from = code_.ptr[block.residual(place)];
    if (lanes.count == 0 && element == Element::f32) return code_.vaddps(x, x, from);
    emit_load(simd_, element, residual, from, lanes);
    if (!is_quantized(context_.out_dtype)) return code_.vaddps(x, x, residual);
    const int temp = block.temps[1];
    simd_.with_number(x, quant()(QuantNumber::residual_zero), temp,
                      [&](const Xbyak::Operand& zero) { code_.vsubps(residual, residual, zero); });
    if (lanes.count > 0 && simd_.avx512()) simd_.clear_tail(residual, lanes);
    if (lanes.count > 0 && !simd_.avx512()) code_.vandps(residual, residual, code_.lane_mask(lanes.count));
    simd_.with_number(x, quant()(QuantNumber::residual_scale), temp,
                      [&](const Xbyak::Operand& scale) { code_.vfmadd231ps(x, residual, scale); });
}

// To bf16 or f16, where the store does not.
void Epilogue::emit_rounding(const EpilogueBlock& block) const {
    const Element element = element_of(context_.out_dtype);
    if (element == context_.out_element) return;
    for_each_place(block,
                   [&](const Place& place) { emit_round(simd_, element, block.acc(place), block.temps); });
}

void Epilogue::emit_quantization(const EpilogueBlock& block) const {
    for (const bool packs : {true, false}) {
        std::vector<Vec> accs;
        for_each_place(block, [&](const Place& place) {
            if (packs_pixels(context_, block.tail_lanes(place.vector)) == packs)
                accs.push_back(block.acc(place));
        });
        jit::emit_quantization(context_, accs, packs, code_.qword[group_ + offsetof(GroupHeader, far)],
                               quant(), block.temps);
    }
}

}  // namespace tandem::jit
