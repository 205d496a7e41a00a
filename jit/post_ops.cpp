#include "jit/post_ops.hpp"

#include <algorithm>

#include "core/plan/post_op_traits.hpp"
#include "jit/activations.hpp"

namespace tandem::jit {
namespace {

// x < 0 ? slope * x : x, as max(x, 0) + slope * min(x, 0).
void emit_prelu(const Simd& simd, const Vec& x, const Address& slope, std::span<const int> temps) {
    const Vec negative = Simd::like(x, temps[0]), zero = Simd::like(x, temps[1]);
    simd.zero(zero);
    simd.code.vminps(negative, x, zero);
    simd.code.vmaxps(x, x, zero);
    simd.code.vfmadd231ps(x, negative, slope);
}

void emit_sum(const Simd& simd, const Vec& x, const PostOpOperands& operands, std::span<const int> temps) {
    if (!operands.has_residual) return;
    const Element element = operands.residual_element;
    if (operands.residual_lanes.count == 0 && element == Element::f32) {
        simd.code.vaddps(x, x, operands.residual());
        return;
    }
    const Vec residual = Simd::like(x, temps[0]);
    Simd::Lanes lanes = operands.residual_lanes;
    if (!simd.avx512() &&
        element == Element::f32) {  // k masks last; a mask vector is fetched where it is used
        lanes.mask = temps[1];
        simd.set_mask(lanes, Gpr(0));
    }
    emit_load(simd, element, residual, operands.residual(), lanes);
    if (element != Element::u8 && element != Element::s8) {
        simd.code.vaddps(x, x, residual);
        return;
    }
    simd.with_number(x, operands.quant(QuantNumber::residual_zero), temps[1],
                     [&](const Xbyak::Operand& zero) { simd.code.vsubps(residual, residual, zero); });
    if (lanes.count > 0 && simd.avx512()) simd.clear_tail(residual, lanes);  // missing channels count as zero
    if (lanes.count > 0 && !simd.avx512())
        simd.code.vandps(residual, residual, simd.code.lane_mask(lanes.count));
    simd.with_number(x, operands.quant(QuantNumber::residual_scale), temps[1],
                     [&](const Xbyak::Operand& scale) { simd.code.vfmadd231ps(x, residual, scale); });
}

}  // namespace

PostOps::PostOps(const Conv& conv, bool quantizes) : conv_(conv) {
    if (quantizes && final_clamp(conv)) --conv_.post_op_count;
}

int PostOps::temps() const noexcept {
    int most = 0;
    for (int i = 0; i < conv_.post_op_count; ++i)
        most = std::max(most, traits(conv_.post_ops[static_cast<std::size_t>(i)]).temps);
    return most;
}

void PostOps::apply(const Simd& simd, const Vec& acc, std::span<const int> temps,
                    const PostOpOperands& operands) const {
    apply_from(starts_with_bias() ? 1 : 0, simd, acc, temps, operands);
}

void PostOps::apply_all(const Simd& simd, const Vec& acc, std::span<const int> temps,
                        const PostOpOperands& operands) const {
    apply_from(0, simd, acc, temps, operands);
}

void PostOps::apply_from(int first, const Simd& simd, const Vec& acc, std::span<const int> temps,
                         const PostOpOperands& operands) const {
    for (int i = first; i < conv_.post_op_count; ++i) {
        const PostOp& op = conv_.post_ops[static_cast<std::size_t>(i)];
        switch (op.kind) {
            case PostOpKind::bias: simd.code.vaddps(acc, acc, operands.param(param_index(conv_, i))); break;
            case PostOpKind::scale: simd.code.vmulps(acc, acc, operands.param(param_index(conv_, i))); break;
            case PostOpKind::prelu:
                emit_prelu(simd, acc, operands.param(param_index(conv_, i)), temps);
                break;
            case PostOpKind::sum: emit_sum(simd, acc, operands, temps); break;
            default: emit_activation(simd, op, acc, temps); break;
        }
    }
}

std::string PostOps::text() const {
    std::string text;
    for (int i = starts_with_bias() ? 1 : 0; i < conv_.post_op_count; ++i)
        text += std::string("+") + to_string(conv_.post_ops[static_cast<std::size_t>(i)].kind);
    return text;
}

}  // namespace tandem::jit
