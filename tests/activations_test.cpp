// Activations against double libm over the float bit patterns, on every ISA and width of the host.
//
// TANDEM_EXHAUSTIVE=<stride> tests every stride-th of the 2^32 patterns, 1 being all (20 minutes or so);
// default 4099. With it set, the measured errors are printed as the table in docs/activations.md.
#include "jit/activations.hpp"

#include "core/plan/post_op_traits.hpp"
#include "core/run/reference_chain.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <xbyak/xbyak_util.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

using namespace tandem;
using namespace tandem::jit;

namespace {

constexpr std::size_t chunk = 4096;  // samples at a time
constexpr float inf = std::numeric_limits<float>::infinity();

struct Variant {
    Isa isa;
    int lanes;
    int x;
    std::vector<int> temps;
    std::string name() const {
        return fmt::format("{} {} lanes x={}", isa == Isa::avx2 ? "avx2" : "avx512", lanes, x);
    }
};

std::vector<Variant> host_variants() {
    const Xbyak::util::Cpu cpu;
    std::vector<Variant> variants;
    if (cpu.has(Xbyak::util::Cpu::tAVX2) && cpu.has(Xbyak::util::Cpu::tFMA)) {
        variants.push_back({Isa::avx2, 8, 0, {1, 2, 3, 4}});
        variants.push_back({Isa::avx2, 8, 15, {14, 3, 9, 7}});
    }
    if (cpu.has(Xbyak::util::Cpu::tAVX512F) && cpu.has(Xbyak::util::Cpu::tAVX512DQ) &&
        cpu.has(Xbyak::util::Cpu::tAVX512VL)) {
        variants.push_back({Isa::avx512, 8, 2, {31, 0, 16, 5}});
        variants.push_back({Isa::avx512, 8, 31, {17, 30, 1, 29}});
        variants.push_back({Isa::avx512, 16, 0, {1, 2, 3, 4}});
        variants.push_back({Isa::avx512, 16, 30, {16, 31, 8, 24}});
    }
    return variants;
}

/// Exactly as many as promised.
std::vector<int> temps_for(const Variant& v, PostOpKind kind) {
    return {v.temps.begin(), v.temps.begin() + traits(kind).temps};
}

/// void(const float* in, float* out, size_t vectors)
EmittedCode emit_array_function(const PostOp& op, const Variant& v) {
    auto emitted = emit_code([&](CodeBlock& code) {
        const Simd simd{code, v.isa, v.lanes};
        const Vec x = simd.vec(v.x);
        const std::vector<int> temps = temps_for(v, op.kind);
        const Activation activation(simd, op, temps);
        Label loop;
        code.L(loop);
        code.vmovups(x, code.ptr[code.rdi]);
        activation.emit(x);
        code.vmovups(code.ptr[code.rsi], x);
        code.add(code.rdi, simd.bytes());
        code.add(code.rsi, simd.bytes());
        code.sub(code.rdx, 1);
        code.jnz(loop, CodeBlock::T_NEAR);
        code.vzeroupper();
        code.ret();
    });
    REQUIRE_MESSAGE(emitted.ok(), emitted.error().message);
    return std::move(*emitted);
}

template <class Function>
Function* entry(const EmittedCode& code) {
    return reinterpret_cast<Function*>(reinterpret_cast<std::uintptr_t>(code.memory->bytes().data()));
}
using ArrayFunction = void(const float*, float*, std::size_t);

double float_ulp(double y) {
    if (!(std::abs(y) >= std::numeric_limits<float>::min())) return std::ldexp(1.0, -149);
    return std::ldexp(1.0, std::ilogb(y) - 23);
}

/// Errors of one op. Accepted per sample: 4 ulp or 1e-6.
struct Errors {
    double max_abs = 0, abs_at = 0;  // where |reference| <= 8
    double max_ulp = 0, ulp_at = 0;  // where |reference| >= 2^-126
    double max_ulp_large = 0;        // where |reference| >= 1/16
    double max_share = 0;            // min(ulp / 4, abs / 1e-6)
    float share_at = 0;

    void add(const PostOp& op, float x, float y) {
        if (std::isnan(x)) {
            if (!std::isnan(y)) fail(x);
            return;
        }
        const double expected = activate(op, static_cast<double>(x));
        if (std::isnan(expected)) {
            if (!std::isnan(y)) fail(x);
            return;
        }
        const auto rounded =
            static_cast<float>(expected);  // so that an overflow to inf is expected where float has none
        if (rounded == y) {
            if (std::isinf(y)) return;
        } else if (!std::isfinite(y) || !std::isfinite(rounded)) {
            return fail(x);
        }
        const double error = std::abs(y - expected);
        const double ulp = error / float_ulp(expected);
        if (std::abs(expected) <= 8 && error > max_abs) max_abs = error, abs_at = x;
        if (std::abs(expected) >= std::numeric_limits<float>::min() && ulp > max_ulp)
            max_ulp = ulp, ulp_at = x;
        if (std::abs(expected) >= 1.0 / 16) max_ulp_large = std::max(max_ulp_large, ulp);
        const double share = std::min(ulp / 4, error / 1e-6);
        if (share > max_share) max_share = share, share_at = x;
    }
    void fail(float x) { max_share = inf, share_at = x; }
};

struct Case {
    PostOp op;
    double max_ulp;  // beyond the common bound; inf where the error is only bounded absolutely
};

double max_ulp(PostOpKind kind) {
    if (kind == PostOpKind::tanh) return 6;
    if (kind == PostOpKind::elu) return 4;
    return traits(kind).function == PostOpClass::homogeneous ? 0.5001 : inf;
}

/// Every activation, with parameters of every kind.
std::vector<Case> cases() {
    std::vector<Case> cases;
    for (int i = 0; i < post_op_kinds; ++i) {
        const auto kind = static_cast<PostOpKind>(i);
        if (!is_activation(kind)) continue;
        if (traits(kind).parameters == PostOpParameters::slope)
            for (const float slope : {0.01f, 1.0f, 1.5f, -0.3f, 0.0f})
                cases.push_back({{kind, slope}, max_ulp(kind)});
        else
            cases.push_back({{kind, -1.25f, 3.5f}, max_ulp(kind)});
    }
    return cases;
}

std::string case_name(const PostOp& op) {
    return fmt::format("kind {} alpha {} beta {}", static_cast<int>(op.kind), op.alpha, op.beta);
}

std::vector<float> special_values() {
    std::vector<float> values{std::numeric_limits<float>::quiet_NaN(), inf};
    for (const float v :
         {0.0f,  1e-45f,   1e-40f,   1.17549435e-38f, 1e-20f,  1e-8f,   1e-4f, 0.5f,  1.0f,          3.0f,
          6.0f,  7.00599f, 7.01487f, 8.9085f,         10.001f, 10.061f, 17.0f, 25.0f, 87.0f,         87.3365f,
          88.0f, 88.37f,   88.7228f, 89.0f,           104.0f,  1e4f,    1e20f, 1e38f, 3.40282347e38f})
        for (const float w : {v, std::nextafter(v, inf), std::nextafter(v, 0.0f)})
            values.push_back(w), values.push_back(-w);
    values.push_back(-inf);
    return values;
}

/// Runs `in` through every variant, requires the same bits of all, and adds the errors.
void compare(const PostOp& op, const std::vector<Variant>& variants, const std::vector<EmittedCode>& codes,
             const std::vector<float>& in, std::size_t count, Errors& errors) {
    static std::vector<float> first(chunk), other(chunk);
    for (std::size_t v = 0; v < codes.size(); ++v) {
        auto& out = v == 0 ? first : other;
        entry<ArrayFunction>(codes[v])(in.data(), out.data(),
                                       chunk / static_cast<std::size_t>(variants[v].lanes));
        if (v > 0 && std::memcmp(first.data(), other.data(), chunk * sizeof(float)) != 0)
            FAIL_CHECK(case_name(op), ": ", variants[v].name(), " differs from ", variants[0].name());
    }
    for (std::size_t i = 0; i < count; ++i)
        errors.add(op, in[i], first[i]);
}

}  // namespace

TEST_CASE("activations: every ISA and width within 4 ulp or 1e-6 of double libm") {
    const auto variants = host_variants();
    const char* requested = std::getenv("TANDEM_EXHAUSTIVE");
    const std::uint64_t stride = requested ? std::max(1ull, std::strtoull(requested, nullptr, 10)) : 4099;
    if (variants.empty()) return;
    for (const Case& c : cases()) {
        CAPTURE(case_name(c.op));
        std::vector<EmittedCode> codes;
        for (const Variant& v : variants)
            codes.push_back(emit_array_function(c.op, v));
        Errors errors;
        std::vector<float> in = special_values();
        const std::size_t specials = in.size();
        in.resize(chunk);
        compare(c.op, variants, codes, in, specials, errors);
        for (std::uint64_t bits = 0; bits < (1ull << 32);) {
            std::size_t n = 0;
            for (; n < chunk && bits < (1ull << 32); ++n, bits += stride)
                in[n] = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
            compare(c.op, variants, codes, in, n, errors);
        }
        CHECK_MESSAGE(errors.max_share <= 1, "share of the bound ", errors.max_share,
                      " at x = ", errors.share_at);
        CHECK_MESSAGE(errors.max_ulp <= c.max_ulp, "ulp ", errors.max_ulp, " at x = ", errors.ulp_at);
        if (requested)
            fmt::print(
                "{}: max abs {:.2g} at {:.9g}, max ulp {:.3g} at {:.9g}, {:.3g} where |y| >= 1/16, share of "
                "bound {:.3f} at {:.9g}\n",
                case_name(c.op), errors.max_abs, errors.abs_at, errors.max_ulp, errors.ulp_at,
                errors.max_ulp_large, errors.max_share, errors.share_at);
    }
}

TEST_CASE("activations: infinities saturate exactly") {
    const auto variants = host_variants();
    using enum PostOpKind;
    struct Limit {
        PostOp op;
        float at_minus_inf, at_plus_inf;
    };
    for (const Limit& limit : {Limit{{sigmoid}, 0, 1},
                               {{PostOpKind::tanh}, -1, 1},
                               {{swish}, 0, inf},
                               {{hsigmoid}, 0, 1},
                               {{hswish}, 0, inf},
                               {{elu, 1.5f}, -1.5f, inf},
                               {{gelu_erf}, 0, inf},
                               {{gelu_tanh}, 0, inf},
                               {{relu}, 0, inf},
                               {{relu6}, 0, 6}}) {
        CAPTURE(case_name(limit.op));
        for (const Variant& v : variants) {
            const auto code = emit_array_function(limit.op, v);
            std::array<float, 16> in{-inf, inf, -3.4e38f, 3.4e38f}, out{};
            entry<ArrayFunction>(code)(in.data(), out.data(), 1);
            CHECK(out[0] == limit.at_minus_inf);
            CHECK(out[1] == limit.at_plus_inf);
            CHECK(out[2] == limit.at_minus_inf);
            CHECK(out[3] == (limit.at_plus_inf == inf ? 3.4e38f : limit.at_plus_inf));
        }
    }
}

TEST_CASE("activations: only the operand and the promised temporaries change") {
    for (const Variant& v : host_variants()) {
        for (const Case& c : cases()) {
            CAPTURE(v.name());
            CAPTURE(case_name(c.op));
            const auto temps = temps_for(v, c.op.kind);
            // void(const float* registers, float* registers_after, const uint16_t* masks, uint16_t*
            // masks_after)
            auto emitted = emit_code([&](CodeBlock& code) {
                const Simd simd{code, v.isa, v.lanes};
                const auto full = [&](int i) {
                    return simd.avx512() ? Vec(Xbyak::Zmm(i)) : Vec(Xbyak::Ymm(i));
                };
                for (int i = 0; i < simd.registers(); ++i)
                    code.vmovups(full(i), code.ptr[code.rdi + i * 64]);
                for (int k = 1; simd.avx512() && k < 8; ++k)
                    code.kmovw(Xbyak::Opmask(k), code.ptr[code.rdx + k * 2]);
                Activation(simd, c.op, temps).emit(simd.vec(v.x));
                for (int k = 1; simd.avx512() && k < 8; ++k)
                    code.kmovw(code.ptr[code.rcx + k * 2], Xbyak::Opmask(k));
                for (int i = 0; i < simd.registers(); ++i)
                    code.vmovups(code.ptr[code.rsi + i * 64], full(i));
                code.vzeroupper();
                code.ret();
            });
            REQUIRE(emitted.ok());
            std::vector<float> before(32 * 16), after(before.size());
            for (std::size_t i = 0; i < before.size(); ++i)
                before[i] = 0.37f * static_cast<float>(i) - 90.0f;
            after = before;
            std::array<std::uint16_t, 8> masks{0, 0x1111, 0x2222, 0x3333, 0x4444, 0x5555, 0x6666, 0x7777},
                masks_after = masks;
            entry<void(const float*, float*, const std::uint16_t*, std::uint16_t*)> (*emitted)(
                before.data(), after.data(), masks.data(), masks_after.data());
            CHECK(masks == masks_after);
            for (int i = 0; i < 32; ++i) {
                if (i == v.x || std::ranges::find(temps, i) != temps.end()) continue;
                CHECK_MESSAGE(
                    std::equal(before.begin() + i * 16, before.begin() + i * 16 + 16, after.begin() + i * 16),
                    "register ", i);
            }
        }
    }
}

TEST_CASE("activations: unsuitable kinds and registers are errors") {
    const auto emit = [](PostOpKind kind, int x, std::vector<int> temps) {
        return emit_code([&](CodeBlock& code) {
            const Simd simd{code, Isa::avx2, 8};
            Activation(simd, {kind}, temps).emit(simd.vec(x));
        });
    };
    CHECK(emit(PostOpKind::swish, 0, {1, 2, 3}).ok());
    CHECK_FALSE(emit(PostOpKind::swish, 0, {1, 2}).ok());
    CHECK_FALSE(emit(PostOpKind::swish, 0, {1, 2, 0}).ok());
    for (int kind = 0; kind < post_op_kinds; ++kind)
        CHECK(emit(static_cast<PostOpKind>(kind), 0, {1, 2, 3, 4}).ok() ==
              is_activation(static_cast<PostOpKind>(kind)));
}
