// Three ideas carry all of it:
//  - exp by e^y = 2^n e^r, n = round(y / ln 2), |r| <= ln2/2 (Cody-Waite with one constant, as the FMA
//    keeps n ln2 exact), and a polynomial in r. Adding 1.5 * 2^23 + 127 to y / ln 2 rounds it and leaves
//    the bits of 2^n, unshifted, in the low end of the
//    sum: no rounding instruction, so AVX2 and AVX-512 need the same code.
//  - sigmoid, swish and both GELUs are x or 1 over 1 + e^-y with y = x g(x^2). On the way to -inf e^-y
//    becomes +inf and the quotient an exact 0; operands are clamped where that has happened, so no inf * 0
//    arises.
//  - max and min return their second source when either is NaN. Clamps keep a NaN, so the bound comes first
//  and
//    needs a register: one load for all operands where bounds are held between them, else one each.
//
// Coefficients: near-minimax fits by tools/fit_activations.py (weighted least squares at Chebyshev nodes
// with Lawson's reweighting), rounded to float. The error given with each is that of the rounded
// coefficients in exact arithmetic.
#include "jit/activations.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <stdexcept>
#include <vector>

#include "core/plan/post_op_traits.hpp"

namespace tandem::jit {
namespace {

constexpr float log2_e = 1.44269504f;
constexpr float ln_2 =
    0.693147181f;  // off by 1.9e-9: adds a relative 1.9e-9 |n| to e^y, 2.4e-7 at the far end
constexpr float round_and_bias = 12582912.0f + 127.0f;  // 1.5 * 2^23 + exponent bias

// (e^r - 1) / r on |r| <= ln2/2. Relative error of e^r: 9.6e-8.
constexpr std::array exp_poly{0.999999702f, 0.499991506f, 0.166676342f, 0.0418979712f, 0.00829042215f};
// (e^r - 1 - r) / r^2 on |r| <= ln2/2. Relative error of e^r - 1: 1.7e-8.
constexpr std::array expm1_poly{0.49999997f, 0.166665435f, 0.0416672006f, 0.00836651865f, 0.00138824061f};

// tanh(x) = x p(x^2) / q(x^2) on |x| <= tanh_limit. Relative error 4.3e-8.
constexpr std::array tanh_p{1.0f, 0.1337962f, 0.00349391787f, 2.05816013e-05f, 1.33165896e-08f};
constexpr std::array tanh_q{1.0f, 0.46712935f, 0.0258706287f, 0.000328290334f, 7.76097465e-07f};
// 1 - tanh is 3e-8 here. Of the floats near, one where the quotient as computed is exactly 1: that is what
// infinity gets.
constexpr float tanh_limit = 8.90850735f;

// e^y of elu: below, e^y - 1 rounds to -1.
constexpr float expm1_lower = -25.0f;

/// y = x g(x^2) and the x between which 1 / (1 + e^-y) is computed. At `lower`, round(-y / ln 2) must be
/// 128, the exponent of +inf; at `upper`, at least -127, the exponent of 0. Both leave room of half a unit
/// for rounding.
struct Logistic {
    float lower, upper;
    std::span<const float> g;  // empty: g = 1
};

// e^x of mish: below, 2^n is 0; above, w + 2 is w.
constexpr float mish_lower = -88.0f, mish_upper = 20.0f;

constexpr Logistic plain{-88.7228f, 87.3365f, {}};

// 2 sqrt(2/pi) (1 + 0.044715 x^2): 1 + tanh(u) = 2 / (1 + e^-2u).
constexpr std::array gelu_tanh_g{1.59576912f, 0.0713548163f};
constexpr Logistic gelu_tanh{-10.06097f, 10.001f, gelu_tanh_g};

// ln(Phi(x) / Phi(-x)) / x with Phi(x) = (1 + erf(x / sqrt 2)) / 2, fitted on |x| <= 6. Absolute error of x
// Phi(x): 7.0e-8. Increasing beyond 6, up to `upper` and -`lower`, where y is 126 and 128 times ln 2.
constexpr std::array gelu_erf_g{1.59576845f,     0.0726685897f,    -6.62801031e-05f, -0.000110472793f,
                                7.93701383e-06f, -2.66811639e-07f, 3.6092942e-09f};
constexpr Logistic gelu_erf{-7.01487f, 7.00599f, gelu_erf_g};

/// to = min(from, bound), NaN kept. `to` and `from` must differ.
void emit_at_most(const Simd& simd, const Vec& to, const Vec& from, float bound) {
    simd.code.vmovups(to, simd.code.constant(bound));
    simd.code.vminps(to, to, from);
}
/// x = max(x, bound) and x = min(x, bound), NaN kept.
void emit_floor(const Simd& simd, const Vec& x, float bound, const Vec& temp) {
    simd.code.vmovups(temp, simd.code.constant(bound));
    simd.code.vmaxps(x, temp, x);
}
void emit_ceiling(const Simd& simd, const Vec& x, float bound, const Vec& temp) {
    simd.code.vmovups(temp, simd.code.constant(bound));
    simd.code.vminps(x, temp, x);
}

/// to = c[0] + c[1] z + c[2] z^2 ... by Horner's rule.
void emit_polynomial(const Simd& simd, const Vec& to, const Vec& z, std::span<const float> c) {
    simd.code.vmovups(to, simd.code.constant(c.back()));
    for (std::size_t k = c.size() - 1; k-- > 0;)
        simd.code.vfmadd213ps(to, z, simd.code.constant(c[k]));
}

/// Splits sign * x = n ln 2 + r, sign = 1 or -1: power = 2^n, x = sign * r. 0 <= n + 127 <= 255. Clobbers
/// temp.
void emit_range_reduction(const Simd& simd, const Vec& x, const Vec& power, const Vec& temp, float sign) {
    CodeBlock& code = simd.code;
    code.vmovups(power, code.constant(sign * log2_e));
    code.vfmadd213ps(power, x, code.constant(round_and_bias));
    code.vsubps(temp, power, code.constant(round_and_bias));
    code.vfmadd231ps(x, temp, code.constant(-sign * ln_2));
    code.vpslld(power, power, 23);
}

/// result = e^(sign * x), sign = 1 or -1, for -127.5 ln 2 < sign * x <= 128 ln 2: 0 at the lower end, +inf at
/// the upper one. Clobbers x and power.
void emit_exp(const Simd& simd, const Vec& x, const Vec& result, const Vec& power, float sign) {
    CodeBlock& code = simd.code;
    emit_range_reduction(simd, x, power, result, sign);
    std::array<float, exp_poly.size() + 1> c{1.0f};  // in sign * r
    for (std::size_t k = 0; k < exp_poly.size(); ++k)
        c[k + 1] = k % 2 == 0 ? sign * exp_poly[k] : exp_poly[k];
    emit_polynomial(simd, result, x, c);
    code.vmulps(result, result, power);
}

/// result = e^x - 1 for expm1_lower <= x <= 0, accurate near 0. Clobbers x and power.
void emit_expm1(const Simd& simd, const Vec& x, const Vec& result, const Vec& power) {
    CodeBlock& code = simd.code;
    emit_range_reduction(simd, x, power, result, 1.0f);
    emit_polynomial(simd, result, x, expm1_poly);
    code.vfmadd213ps(result, x, code.constant(1.0f));
    code.vmulps(result, result, x);  // e^r - 1
    code.vsubps(x, power, code.constant(1.0f));
    code.vfmadd213ps(result, power, x);  // 2^n (e^r - 1) + (2^n - 1)
}

void emit_sigmoid(const Simd& simd, const Vec& x, const Vec& t0, const Vec& t1) {
    CodeBlock& code = simd.code;
    emit_floor(simd, x, plain.lower, t0);
    emit_ceiling(simd, x, plain.upper, t0);
    emit_exp(simd, x, t0, t1, -1.0f);
    code.vaddps(t0, t0, code.constant(1.0f));
    code.vmovups(x, code.constant(1.0f));
    code.vdivps(x, x, t0);
}

/// x = x / (1 + e^-y).
void emit_x_times_logistic(const Simd& simd, const Logistic& logistic, const Vec& x, const Vec& y,
                           const Vec& t0, const Vec& t1) {
    CodeBlock& code = simd.code;
    emit_floor(simd, x, logistic.lower, y);
    emit_at_most(simd, y, x, logistic.upper);
    if (!logistic.g.empty()) {
        code.vmulps(t0, y, y);
        emit_polynomial(simd, t1, t0, logistic.g);
        code.vmulps(y, y, t1);
    }
    emit_exp(simd, y, t0, t1, -1.0f);
    code.vaddps(t0, t0, code.constant(1.0f));
    code.vdivps(x, x, t0);
}

/// x tanh(ln(1 + e^x)) = x w / (w + 2), w = e^x (e^x + 2).
void emit_mish(const Simd& simd, const Vec& x, const Vec& t0, const Vec& t1, const Vec& t2) {
    CodeBlock& code = simd.code;
    emit_floor(simd, x, mish_lower, t0);
    emit_at_most(simd, t0, x, mish_upper);
    emit_exp(simd, t0, t1, t2, 1.0f);
    code.vaddps(t0, t1, code.constant(2.0f));
    code.vmulps(t0, t0, t1);
    code.vaddps(t1, t0, code.constant(2.0f));
    code.vdivps(t0, t0, t1);
    code.vmulps(x, x, t0);
}

void emit_tanh(const Simd& simd, const Vec& x, const Vec& t0, const Vec& t1) {
    CodeBlock& code = simd.code;
    emit_floor(simd, x, -tanh_limit, t0);
    emit_ceiling(simd, x, tanh_limit, t0);
    code.vmulps(t0, x, x);
    emit_polynomial(simd, t1, t0, tanh_p);
    code.vmulps(x, x, t1);
    emit_polynomial(simd, t1, t0, tanh_q);
    code.vdivps(x, x, t1);
}

/// max(x, 0) + alpha (e^min(x, 0) - 1).
void emit_elu(const Simd& simd, float alpha, const Vec& x, const Vec& t0, const Vec& t1, const Vec& t2) {
    CodeBlock& code = simd.code;
    emit_at_most(simd, t0, x, 0.0f);
    emit_floor(simd, t0, expm1_lower, t1);
    emit_expm1(simd, t0, t1, t2);
    code.vmaxps(x, x, code.constant(0.0f));
    code.vfmadd231ps(x, t1, code.constant(alpha));
}

void emit_leaky(const Simd& simd, float alpha, const Vec& x, const Vec& t0) {
    CodeBlock& code = simd.code;
    if (alpha > 0) {  // the larger of x and alpha x, or the smaller where the slope is steeper than 1
        code.vmulps(t0, x, code.constant(alpha));
        if (alpha <= 1)
            code.vmaxps(x, x, t0);
        else
            code.vminps(x, x, t0);
    } else {  // max(x, 0) + alpha min(x, 0)
        emit_at_most(simd, t0, x, 0.0f);
        code.vmaxps(x, x, code.constant(0.0f));
        code.vfmadd231ps(x, t0, code.constant(alpha));
    }
}

void emit_at_least(const Simd& simd, const Vec& x, const Vec& bound) { simd.code.vmaxps(x, bound, x); }

void emit_clip(const Simd& simd, const Vec& x, const Vec& lower, const Vec& upper) {
    emit_at_least(simd, x, lower);
    simd.code.vminps(x, upper, x);
}

void emit_hsigmoid(const Simd& simd, const Vec& x, const Vec& zero, const Vec& six) {
    simd.code.vaddps(x, x, simd.code.constant(3.0f));
    emit_clip(simd, x, zero, six);
    simd.code.vmulps(x, x, simd.code.constant(1.0f / 6));
}

void emit_hswish(const Simd& simd, const Vec& x, const Vec& lowest, const Vec& t0) {
    CodeBlock& code = simd.code;
    emit_at_least(simd, x, lowest);  // from here down the result is 0; -inf * 0 would not be
    code.vaddps(t0, x, code.constant(3.0f));
    code.vminps(t0, t0, code.constant(6.0f));
    code.vmulps(t0, t0, code.constant(1.0f / 6));  // 6 * float(1/6) rounds to 1
    code.vmulps(x, x, t0);
}

// Bounds that a NaN has to pass, in registers: see the head of this file.
std::vector<float> held_bounds(const PostOp& op) {
    if (const std::optional<Clamp> clamp = clamp_of(op)) {
        if (std::isinf(clamp->high)) return {clamp->low};
        return {clamp->low, clamp->high};
    }
    switch (op.kind) {
        case PostOpKind::hsigmoid: return {0, 6};
        case PostOpKind::hswish: return {-3};
        default: return {};
    }
}

}  // namespace

Activation::Activation(const Simd& simd, const PostOp& op, std::span<const int> temps)
    : simd_(simd), op_(op), temps_(temps) {
    if (!is_activation(op.kind))
        throw std::invalid_argument("Activation: post-ops that read tensors are emitted elsewhere");
    if (temps.size() < static_cast<std::size_t>(traits(op).temps))
        throw std::invalid_argument("Activation: too few temporary registers");
    std::size_t held = 0;
    for (const float bound : held_bounds(op)) {
        const Vec to = simd.vec(temps[held++]);
        if (bound == 0)
            simd.zero(to);
        else
            simd.code.vmovups(to, simd.code.constant(bound));
    }
}

void Activation::emit(const Vec& x) const {
    if (std::ranges::find(temps_, x.getIdx()) != temps_.end())
        throw std::invalid_argument("Activation: the operand's register is among the temporary ones");
    const auto t = [&](std::size_t i) {
        return Simd::like(x, temps_[i]);
    };
    const Simd& simd = simd_;
    switch (op_.kind) {
        case PostOpKind::relu: return emit_at_least(simd, x, t(0));
        case PostOpKind::relu6:
        case PostOpKind::clip: return emit_clip(simd, x, t(0), t(1));
        case PostOpKind::leaky: return emit_leaky(simd, op_.alpha, x, t(0));
        case PostOpKind::hsigmoid: return emit_hsigmoid(simd, x, t(0), t(1));
        case PostOpKind::hswish: return emit_hswish(simd, x, t(0), t(1));
        case PostOpKind::sigmoid: return emit_sigmoid(simd, x, t(0), t(1));
        case PostOpKind::tanh: return emit_tanh(simd, x, t(0), t(1));
        case PostOpKind::swish: return emit_x_times_logistic(simd, plain, x, t(0), t(1), t(2));
        case PostOpKind::gelu_erf: return emit_x_times_logistic(simd, gelu_erf, x, t(0), t(1), t(2));
        case PostOpKind::gelu_tanh: return emit_x_times_logistic(simd, gelu_tanh, x, t(0), t(1), t(2));
        case PostOpKind::mish: return emit_mish(simd, x, t(0), t(1), t(2));
        case PostOpKind::elu: return emit_elu(simd, op_.alpha, x, t(0), t(1), t(2));
        case PostOpKind::bias:
        case PostOpKind::prelu:
        case PostOpKind::scale:
        case PostOpKind::sum: return;
    }
}

}  // namespace tandem::jit
