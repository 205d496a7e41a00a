// Kernels by AVX-VNNI-INT8, AVX-NE-CONVERT and AMX-FP16 against the reference, on the hardware or behind the
// emulator; the emulator itself, and how their instructions are listed.
#include "support/doctest.hpp"

#include <array>
#include <cstring>
#include <random>

#include "amx_code.hpp"
#include "core/plan/arithmetic.hpp"
#include "core/plan/machine.hpp"
#include "core/run/compile.hpp"
#include "core/run/kernel_code.hpp"
#include "core/run/verification.hpp"
#include "newer_emulator.hpp"
#include "support/forked_jobs.hpp"
#include "support/random_chain.hpp"
#include "tandem/context.hpp"
#include "tests/amx_emulator.hpp"

namespace {

using namespace tandem;
using jit::NewerMnemonic, test::AmxEmulator, test::NewerEmulator;

const Isa vnni_int8 = Isa::avx2_vnni.with(IsaFeature::avx_vnni_int8),
          ne_convert = Isa::avx2.with(IsaFeature::avx_ne_convert),
          amx_fp16 = Isa::amx.with(IsaFeature::amx_fp16);

struct Feature {
    Isa isa;
    DataType dtype;
    Dot dot;
    NewerMnemonic mnemonic;  // that its kernels have
};
constexpr std::array chains{"1x64x6x6:dw3+bias+relu:conv1o32+bias",
                            "1x40x5x7:dw3s2+bias:conv1o20+bias+relu",
                            "2x17x4x7:conv3o37+bias+relu:conv1o19+bias",
                            "1x20x5x5:conv3o36+relu:conv3o18s2+bias",
                            "1x3x9x9:conv3o16s2p0x0x1x1+bias:dw3+bias+relu6",
                            "1x33x4x4:conv1o24+bias+relu:dw3+bias:conv1o33+sum(in)"};

const std::array features{Feature{vnni_int8, DataType::s8, Dot::signed_int8, NewerMnemonic::vpdpbssd},
                          Feature{ne_convert, DataType::bf16, Dot::wide_bf16, NewerMnemonic::vbcstnebf162ps},
                          Feature{ne_convert, DataType::f16, Dot::wide_f16, NewerMnemonic::vbcstnesh2ps},
                          Feature{amx_fp16, DataType::f16, Dot::amx_f16, NewerMnemonic::tdpfp16ps}};

/// What the host must have natively for kernels of the feature, emulated instructions aside.
bool host_runs(const Feature& feature) {
    return !host_isas().empty() && (feature.isa.has(IsaFeature::amx_fp16) ? is_avx512(host_isas().back())
                                    : feature.dtype == DataType::s8       ? host_offers(Isa::avx2_vnni)
                                                                          : host_offers(Isa::avx2));
}

/// With the feature's dot in every dense stage that it applies to.
Result<Kernel> kernel_of(const Problem& problem, const Feature& feature) {
    Problem image = problem;
    image.input.n = 1;
    const Machine machine = imagined_machine(feature.isa);
    Result<Kernel> own = kernel_for(image, machine, 1);
    if (!own) return own.error();
    Plan plan = own->impl()->code->plan;
    for (int i = 0; i < image.stage_count; ++i) {
        if (image.stage(i).depthwise() || !dot_applies(image, plan.isa, i, feature.dot)) continue;
        StagePlan& stage = plan.stage(i);
        stage.dot = feature.dot;
        stage.algorithm = Algorithm::direct;
        stage.block_channels = 0;
        if (uses_amx(feature.dot)) set_amx_shape(stage);
    }
    auto code = KernelCode::create(image, plan, "a test", {});
    if (!code) return code.error();
    return Kernel(KernelImpl::create(problem, std::move(*code)));
}

void check(const ConvChain& chain, const Feature& feature, DataKind data) {
    CAPTURE(to_string(chain));
    const Result<Kernel> kernel = kernel_of(*make_problem(chain), feature);
    REQUIRE_MESSAGE(kernel.ok(), (kernel ? "" : kernel.error().message));
    Context context;
    VerifyOptions options;
    options.kernel = *kernel;
    options.data = data;
    const Result<VerifyReport> report = verify(context, chain, options);
    REQUIRE_MESSAGE(report.ok(), (report ? "" : report.error().message));
    CHECK_MESSAGE(report->passed, report->message);
}

}  // namespace

TEST_CASE("newer features: kernels agree with the reference") {
    const AmxEmulator tiles;
    const NewerEmulator emulator;
    for (const Feature& feature : features) {
        CAPTURE(to_string(feature.isa));
        if (!host_runs(feature)) {
            MESSAGE("skipped: " << to_string(feature.isa));
            continue;
        }
        const std::uint64_t before = NewerEmulator::executed(feature.mnemonic);
        for (std::size_t i = 0; i < chains.size(); ++i) {
            ConvChain chain = *ConvChain::parse(chains[i]);
            chain.dtype = feature.dtype;
            chain.layout = std::array{Layout::nhwc, Layout::nchw16c, Layout::nchw8c}[i % 3];
            for (const DataKind data : {DataKind::integers, DataKind::random})
                check(chain, feature, data);
        }
        const bool native = host_offers(feature.isa) || AmxEmulator::needed();
        if (!native) CHECK(NewerEmulator::executed(feature.mnemonic) > before);
    }
}

TEST_CASE("newer features: kernels of random chains") {
    constexpr int count = test::sanitized ? 3 : 15;
    const AmxEmulator tiles;
    const NewerEmulator emulator;
    std::mt19937_64 engine(1);
    for (const Feature& feature : features) {
        if (!host_runs(feature)) continue;
        for (int i = 0; i < count; ++i) {
            const ConvChain chain = test::random_chain(engine, {.max_flops = 1e5,
                                                                .exact_post_ops = i % 2 == 0,
                                                                .dtype = feature.dtype,
                                                                .max_stages = 3,
                                                                .views = 3,
                                                                .input_sums = 4});
            check(chain, feature, i % 2 == 0 ? DataKind::integers : DataKind::random);
        }
    }
}

TEST_CASE("newer features: bf16 and f16 sums have the same bits as by f32 FMAs of staged numbers") {
    const NewerEmulator emulator;
    for (const DataType dtype : {DataType::bf16, DataType::f16}) {
        ConvChain chain = *ConvChain::parse("1x24x5x5:conv3o40+bias:conv1o8+bias");
        chain.dtype = dtype;
        const Problem problem = *make_problem(chain);
        for (int i = 0; i < problem.stage_count; ++i) {
            CHECK(dots(problem, ne_convert, i).front() ==
                  (dtype == DataType::bf16 ? Dot::wide_bf16 : Dot::wide_f16));
            CHECK(dots(problem, Isa::avx2, i) == std::vector{Dot::f32});
        }
        CHECK(least_isa(dtype, Math::fast, ne_convert.with(IsaFeature::avx_vnni)) == ne_convert);
    }
    CHECK(least_isa(DataType::s8, Math::fast, vnni_int8) == vnni_int8);
    CHECK(least_isa(DataType::f32, Math::fast, vnni_int8) == Isa::avx2);
    CHECK(least_isa(DataType::f16, Math::fast, amx_fp16) == Isa::avx512.with(IsaFeature::amx_fp16));
}

namespace {

using Words = std::array<std::uint32_t, 8>;

/// What the CPU or the emulator makes of an instruction `emit`s with ymm1 = to, ymm12 = a, ymm3 = b and rdx
/// at b: ymm1.
Words execute(const std::function<void(jit::CodeBlock&)>& emit, Words to, const Words& a, const Words& b) {
    const test::EmittedFunction run([&](jit::CodeBlock& code) {
        using namespace test;
        code.vmovups(Xbyak::Ymm(1), code.ptr[rdi]);
        code.vmovups(Xbyak::Ymm(12), code.ptr[rsi]);
        code.vmovups(Xbyak::Ymm(3), code.ptr[rdx]);
        emit(code);
        code.vmovups(code.ptr[rdi], Xbyak::Ymm(1));
        code.vzeroupper();
    });
    run(to.data(), a.data(), b.data());
    return to;
}

}  // namespace

TEST_CASE("newer features: single instructions, registers and memory") {
    const NewerEmulator emulator;
    if (host_isas().empty()) return;
    const Xbyak::Ymm to(1), a(12), b(3);
    const Words sums{1, 2, 3, 4, 5, 6, 7, 8}, left{0x80ff017f, 0x01010101}, right{0x80ff0281, 0xfffefdfc};
    const auto dot = [&](const Xbyak::Operand& second) {
        return execute([&](jit::CodeBlock& code) { code.vpdpbssd(to, a, second); }, sums, left, right);
    };
    // 127 * -127 + 1 * 2 + -1 * -1 + -128 * -128; -4 - 3 - 2 - 1
    const Words expected{static_cast<std::uint32_t>(1 - 16129 + 2 + 1 + 16384),
                         static_cast<std::uint32_t>(2 - 10),
                         3,
                         4,
                         5,
                         6,
                         7,
                         8};
    CHECK(dot(b) == expected);
    const auto at_rdx = Xbyak::util::ptr[test::rdx];
    CHECK(dot(at_rdx) == expected);
    const Words halves =
        execute([&](jit::CodeBlock& code) { code.vbcstnebf162ps(to, code.word[test::rdx + 2]); }, sums, left,
                {0xbfc00000});
    CHECK(halves == Words{0xbfc00000, 0xbfc00000, 0xbfc00000, 0xbfc00000, 0xbfc00000, 0xbfc00000, 0xbfc00000,
                          0xbfc00000});
    const Words f16 = execute([&](jit::CodeBlock& code) { code.vbcstnesh2ps(to, code.word[test::rdx]); },
                              sums, left, {0xc000});
    CHECK(f16[7] == 0xc0000000);
    const Words narrow =
        execute([&](jit::CodeBlock& code) { code.vcvtneps2bf16(Xbyak::Xmm(1), b, Xbyak::VexEncoding); }, sums,
                left, {0x3f808000, 0x3f818000, 0x7f800000, 0, 0, 0, 0, 0xbf800000});
    CHECK(narrow == Words{0x3f823f80, 0x00007f80, 0, 0xbf800000, 0, 0, 0, 0});
}

TEST_CASE("newer features: listings") {
    const auto text = [](const std::function<void(jit::CodeBlock&)>& emit) {
        const auto code = jit::emit_code([&](jit::CodeBlock& block) { emit(block); });
        REQUIRE(code.ok());
        const auto instruction = jit::decode_newer(code->memory->bytes());
        return instruction ? jit::to_string(*instruction) : std::string("none");
    };
    using namespace test;
    const Xbyak::Reg64 r12(12), r13(13);
    CHECK(text([](auto& c) { c.vpdpbssd(Xbyak::Ymm(15), Xbyak::Ymm(9), Xbyak::Ymm(8)); }) ==
          "vpdpbssd ymm15, ymm9, ymm8");
    CHECK(text([&](auto& c) { c.vpdpbssd(Xbyak::Xmm(0), Xbyak::Xmm(1), c.ptr[r12 + rcx * 4 - 8]); }) ==
          "vpdpbssd xmm0, xmm1, xmmword ptr [r12+rcx*4-0x8]");
    CHECK(text([](auto& c) { c.tdpfp16ps(Xbyak::Tmm(1), Xbyak::Tmm(4), Xbyak::Tmm(6)); }) ==
          "tdpfp16ps tmm1, tmm4, tmm6");
    CHECK(text([&](auto& c) { c.vbcstnesh2ps(Xbyak::Ymm(3), c.word[r13 + 0x1000]); }) ==
          "vbcstnesh2ps ymm3, word ptr [r13+0x1000]");
    CHECK(text([](auto& c) { c.vcvtneps2bf16(Xbyak::Xmm(2), Xbyak::Ymm(10), Xbyak::VexEncoding); }) ==
          "vcvtneps2bf16 xmm2, ymm10");
    CHECK(text([](auto& c) { c.tdpbf16ps(Xbyak::Tmm(1), Xbyak::Tmm(4), Xbyak::Tmm(6)); }) == "none");
    CHECK(text([](auto& c) { c.vfmadd231ps(Xbyak::Ymm(2), Xbyak::Ymm(3), Xbyak::Ymm(4)); }) == "none");
}
