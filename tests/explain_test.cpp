// What explain() says of arithmetic: in front of made-up rates, so that the numbers are known.
#include "core/run/explain.hpp"

#include "support/doctest.hpp"

#include "core/plan/choice.hpp"
#include "core/plan/segments.hpp"

using namespace tandem;

namespace {

Machine machine_of(Isa isa) { return Machine{.isa = isa, .caches = {}, .cpu_name = {}}; }

/// Of a kernel for `machine`, which is not run: the host may be another.
std::string explanation(const char* text, const Machine& machine, DataType dtype, Math math,
                        const char* plan_reason = "chosen by a test") {
    ConvChain pair = *ConvChain::parse(text);
    pair.dtype = dtype;
    pair.math = math;
    const Problem problem = *make_problem(pair);
    auto code = KernelCode::create(problem, choose_plan(problem, machine, 1), plan_reason, {});
    REQUIRE(code.ok());
    return explain(*KernelImpl::create(problem, std::move(*code)), machine);
}

std::string explanation(const char* text, Isa isa, DataType dtype, Math math,
                        const char* plan_reason = "chosen by a test") {
    return explanation(text, machine_of(isa), dtype, math, plan_reason);
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("explain: each dense stage's arithmetic, and what else the math mode allows") {
    const char* pair = "1x64x16x16:dw3+bias:conv1o64";
    const std::string bf16 = explanation(pair, Isa::avx512_bf16, DataType::bf16, Math::fast);
    INFO(bf16);
    CHECK(contains(bf16,
                   "Arithmetic of stage 2: bf16 by vdpbf16ps (the rules take what needs the fewest "
                   "instructions). The math mode also allows f32 by vfmadd231ps, predicted 1."));
    CHECK(contains(bf16, "Winograd does not apply: the kernel is 1x1."));
    CHECK_FALSE(contains(bf16, "Arithmetic of stage 1"));  // depthwise
    CHECK(contains(bf16, "448 GFLOP/s a core by vdpbf16ps"));
    const std::string split = explanation(pair, Isa::amx, DataType::f32, Math::fast);
    INFO(split);
    CHECK(contains(split,
                   "amx_x3 (f32 as 2 bf16 parts, 3 products) by tdpbf16ps/3 (the rules take it where "
                   "channels are many"));
    CHECK(contains(split, "f32 by vfmadd231ps, predicted "));
    CHECK(contains(split, "amx_x6 (f32 as 3 bf16 parts, 6 products) by tdpbf16ps/6, predicted "));
    const std::string winograd =
        explanation("1x64x16x16:conv3o64:conv3o64", Isa::avx512, DataType::f32, Math::fast);
    INFO(winograd);
    CHECK(contains(winograd, "Arithmetic of stage 1: Winograd F(4x4,3x3) in f32 FMAs (the rules take it"));
    CHECK(contains(winograd, "Arithmetic of stage 2: Winograd F(4x4,3x3) in f32 FMAs (the rules take it"));
    const std::string strict = explanation("1x64x16x16:conv3o64:conv3o64", Isa::avx512, DataType::f32,
                                           Math::strict, "the caller's plan");
    CHECK(contains(
        strict,
        "f32 by vfmadd231ps (nothing else applies). Winograd does not apply: math strict excludes it."));
    CHECK(contains(explanation("1x64x16x16:conv3o64p3:conv1o8", Isa::avx512, DataType::f32, Math::fast),
                   "Winograd does not apply: some outputs read nothing but padding."));
    const std::string small = explanation("1x8x16x16:conv3o8:conv1o8", Isa::avx512, DataType::f32, Math::fast,
                                          "wisdom, measured today");
    CHECK(contains(small, "Arithmetic of stage 1: f32 by vfmadd231ps (measured the fastest)."));
}

TEST_CASE(
    "explain: a CPU whose bf16 products are slow, split operands of math strict, quantised depthwise "
    "stages") {
    Machine slow = machine_of(Isa::avx512_bf16);
    slow.slow_bf16 = true;
    const std::string bf16 = explanation("1x64x16x16:dw3+bias:conv1o64", slow, DataType::bf16, Math::fast);
    INFO(bf16);
    CHECK(contains(bf16,
                   "Arithmetic of stage 2: f32 by vfmadd231ps (this CPU multiplies bf16 at half the rate of "
                   "f32). The math mode also allows bf16"));
    const std::string strict =
        explanation("1x64x16x16:dw3+bias:conv3o64", Isa::amx, DataType::f32, Math::strict);
    INFO(strict);
    CHECK(contains(strict,
                   "amx_x6 (f32 as 3 bf16 parts, 6 products) by tdpbf16ps/6 (the rules take it where "
                   "channels are many"));
    const std::string quantised =
        explanation("1x64x16x16:dw3+bias:conv1o64", Isa::avx512_vnni, DataType::u8, Math::fast);
    INFO(quantised);
    CHECK(contains(quantised,
                   "Arithmetic of stage 1: int8 by vpdpbusd (the rules take what needs the fewest "
                   "instructions). The math mode also allows f32"));
    CHECK(contains(explanation("1x64x16x16:dw3s3+bias:conv1o64", Isa::avx512_vnni, DataType::u8, Math::fast),
                   "Arithmetic of stage 1: f32 by vfmadd231ps (nothing else applies)."));
}

TEST_CASE("explain: the error bound of the math mode") {
    const char* pair = "1x16x8x8:dw3:conv1o16";
    CHECK(contains(explanation(pair, Isa::avx2, DataType::f32, Math::strict),
                   "Error bound of math strict: that of f32 sums in one fixed order"));
    CHECK(contains(explanation(pair, Isa::avx2, DataType::f32, Math::fast),
                   "Error bound of math fast: 1e-5 of max|y|.\n"));
    CHECK(contains(explanation(pair, Isa::avx2, DataType::f32, Math::bf16),
                   "Error bound of math bf16: 0.02 of max|y|.\n"));
    CHECK(contains(explanation(pair, Isa::avx2, DataType::bf16, Math::fast),
                   "1e-5 of max|y|, beside the rounding of every stored tensor to bf16.\n"));
    CHECK(contains(explanation(pair, Isa::avx2, DataType::u8, Math::fast), "Error: sums are exact integers"));
    CHECK(contains(explanation(pair, Isa::avx512_fp16, DataType::f16, Math::f16),
                   "Error bound of math f16, on data of both signs: 1e-5 and 2.0e-03 for stage 2 of max|y|"));
}

TEST_CASE("explain: where a chain of three is cut, why, and the tiles of each segment") {
    const char* large = "1x24x56x56:conv1o144+bias+relu6:dw3+bias+relu6:conv1o24+bias+sum(in)";
    const std::string whole = explanation(large, Isa::avx512, DataType::f32, Math::fast);
    INFO(whole);
    CHECK(contains(whole, "so untuned dispatches do not cut; a cut has to be 5 % faster.\n"));
    CHECK(contains(whole, "\nTiles: "));

    const std::string small = "1x40x28x28:conv1o240+bias+relu:dw3s2+bias+relu:conv1o80+bias/nchw16c";
    Machine machine = machine_of(Isa::amx);
    machine.caches = {.l1 = 48 << 10, .l2 = 2 << 20, .l3 = 64 << 20, .l3_cores = 2};
    ConvChain chain = *ConvChain::parse(small);
    chain.dtype = DataType::bf16;
    const Problem problem = *make_problem(chain);
    const PlanDecision decision = decide_plan(problem, machine, 1);
    REQUIRE(has_stored_edge(problem, decision.plan));
    CHECK(decision.unfused_seconds * least_unfused_gain < decision.fused_seconds);
    const std::string cut = explanation(small.c_str(), machine, DataType::bf16, Math::fast);
    INFO(cut);
    CHECK(contains(cut, "in one piece and "));
    CHECK(contains(cut, "so untuned dispatches cut behind stage "));
    CHECK(contains(cut, "Tiles of stage 3: "));
}

TEST_CASE("explain: footprints count all that a tile works on in scratch") {
    const std::string text =
        explanation("1x64x64x64:conv1o64/out=nchw", Isa::avx2, DataType::f32, Math::fast);
    INFO(text);
    CHECK(contains(text, "Output: the rows of a tile lie in scratch (48.0 KB)"));
    CHECK(contains(text, " scratch a thread 48.0 KB (L2)"));
}
