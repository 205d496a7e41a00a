// Planning and emitting depend on a Machine alone: a host that has AVX2 makes everybody's code, and runs none
// of it.
#include "support/doctest.hpp"

#include <map>
#include <vector>

#include "core/plan/machine_detail.hpp"
#include "core/run/compile.hpp"
#include "core/run/explain.hpp"
#include "tandem/tandem.hpp"

using namespace tandem;

namespace {

struct Layer {
    const char* text;
    DataType dtype;
    Math math;
};

constexpr Layer layers[] = {
    {"1x64x14x14:dw3+bias+relu6:conv1o64+bias", DataType::f32, Math::fast},
    {"1x64x12x12:conv3o64+bias+relu:conv3o64+bias", DataType::f32, Math::fast},
    {"1x64x12x12:conv1o128+bias+swish:dw3s2", DataType::bf16, Math::fast},
    {"1x64x12x12:conv1o64:conv3o64+relu", DataType::f16, Math::f16},
    {"1x64x12x12:dw3+bias+relu:conv1o64+bias", DataType::u8, Math::fast},
    {"1x48x9x9:conv3o32+relu:conv1o40", DataType::s8, Math::fast},
};

Problem problem_of(const Layer& layer) {
    ConvPair pair = *ConvPair::parse(layer.text);
    pair.dtype = layer.dtype;
    pair.math = layer.math;
    pair.output_dtypes = {layer.dtype, layer.dtype};
    return *make_problem(pair);
}

std::vector<Isa> machines_isas() {
    std::vector<Isa> isas(isa_presets.begin(), isa_presets.end());
    isas.push_back(Isa::avx512_vnni.with(IsaFeature::vbmi));                        // Ice Lake
    isas.push_back(Isa::avx512_bf16.with(IsaFeature::vbmi));                        // Zen 4
    isas.push_back(Isa::avx512_bf16.with(IsaFeature::amx_int8));                    // a guest
    isas.push_back(Isa::avx2_vnni.with(IsaFeature::avx_vnni_int8));                 // Arrow Lake
    isas.push_back(Isa::amx.with(IsaFeature::amx_fp16).with(IsaFeature::avx10_2));  // to come
    return isas;
}

Result<Kernel> kernel_on(const Problem& problem, Isa isa) {
    return kernel_for(problem, imagined_machine(least_isa(problem.dtype, problem.math, isa)), 1);
}

/// Bytes of every layer's code for every ISA.
std::map<std::string, std::vector<std::byte>> all_code() {
    std::map<std::string, std::vector<std::byte>> all;
    for (const Isa isa : machines_isas()) {
        for (const Layer& layer : layers) {
            const Result<Kernel> kernel = kernel_on(problem_of(layer), isa);
            CAPTURE(layer.text);
            CAPTURE(to_string(isa));
            REQUIRE_MESSAGE(kernel.ok(), kernel.error().message);
            all[to_string(isa) + " " + kernel->name()].assign(kernel->code().begin(), kernel->code().end());
        }
    }
    return all;
}

}  // namespace

TEST_CASE("foreign code: a host with AVX2 emits the same bytes as any other, for every ISA") {
    const auto expected = all_code();
    const PretendedHost laptop(Isa::avx2);
    REQUIRE(host_isas() == std::vector<Isa>{Isa::avx2});
    const auto code = all_code();
    CHECK(code.size() == expected.size());
    for (const auto& [name, bytes] : expected)
        CHECK_MESSAGE(code.at(name) == bytes, name);
}

TEST_CASE(
    "foreign code: dispatch for what the host lacks is refused, and what was made for it does not run") {
    const PretendedHost laptop(Isa::avx2);
    const ConvPair pair = *ConvPair::parse(layers[0].text);
    Context context;
    CHECK(context.dispatch(pair, {.isa = Isa::avx2}).ok());
    const Result<Kernel> refused = context.dispatch(pair, {.isa = Isa::amx});
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().code == ErrorCode::unsupported);
    CHECK(refused.error().message ==
          "isa is 'amx', which this CPU or its operating system does not offer; accepted here: avx2");
    const Result<Kernel> kernel = kernel_on(*make_problem(pair), Isa::amx);
    REQUIRE(kernel.ok());
    CHECK(kernel->name().ends_with("/amx"));
    CHECK(kernel->explain().find("amx_x3") != std::string::npos);
    std::vector<float> x(64 * 14 * 14), y(64 * 14 * 14), w1(64 * 9), b1(64), w2(64 * 64), b2(64);
    const auto weights = kernel->pack(w1, b1, w2, b2);
    REQUIRE(weights.ok());
    const Args args{.input = x.data(), .output = y.data(), .weights = &*weights};
    for (const Status& status : {(*kernel)(args), kernel->run_step(0, 0, 1, args, {}, {})}) {
        REQUIRE_FALSE(status.ok());
        CHECK(status.error().code == ErrorCode::unsupported);
        CHECK(status.error().message.find("made for another machine ('amx')") != std::string::npos);
    }
}

TEST_CASE("foreign code: the machine decides, not the host") {
    Machine zen4;
    zen4.identity = {"AuthenticAMD", 0x19, 0x61, 2};
    zen4 = machine_with(zen4, Isa::avx512_bf16.with(IsaFeature::vbmi));
    zen4.isa = Isa::avx512;
    Machine ice_lake = machine_with(Machine{}, Isa::avx512);
    const Problem problem = problem_of(layers[0]);
    const Result<Kernel> one = kernel_for(problem, zen4, 1), other = kernel_for(problem, ice_lake, 1);
    REQUIRE(one.ok());
    REQUIRE(other.ok());
    CHECK(explain(*one->impl()) != explain(*other->impl()));  // rates of a CPU that halves 512-bit FMAs
    const Problem quantised =
        problem_of({"1x48x12x12:dw3+bias+relu:conv1o64+bias", DataType::u8, Math::fast});
    const Result<Kernel> with = kernel_on(quantised, Isa::avx512_vnni.with(IsaFeature::vbmi)),
                         without = kernel_on(quantised, Isa::avx512_vnni);
    REQUIRE(with.ok());
    REQUIRE(without.ok());
    CHECK(with->name().ends_with("/avx512_vnni+vbmi"));
    CHECK(with->code().size() < without->code().size());  // one vpermb for two shuffles
}
