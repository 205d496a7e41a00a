// Isa: sets of features, their texts, and what a CPU's CPUID makes of them.
#include "tandem/isa.hpp"

#include "support/doctest.hpp"

#include <map>
#include <utility>

#include "core/plan/arithmetic.hpp"
#include "core/plan/cpuid.hpp"
#include "core/plan/machine.hpp"

using namespace tandem;

namespace {

constexpr std::uint64_t saves_ymm = 0x7, saves_zmm = 0xe7, saves_tiles = 0x602e7;

/// CPUID leaves as the named CPUs answer them, with all that no feature's row asks for left out.
struct RecordedCpu {
    std::map<std::pair<std::uint32_t, std::uint32_t>, CpuidRegisters> leaves{};
    std::uint64_t xcr0 = saves_tiles;

    CpuQueries queries() const {
        return {[this](std::uint32_t leaf, std::uint32_t subleaf) {
                    const auto found = leaves.find({leaf, subleaf});
                    return found == leaves.end() ? CpuidRegisters{} : found->second;
                },
                [this] {
                    return xcr0;
                }};
    }
    std::string text() const {
        const std::optional<Isa> features = detect_features(queries());
        return features ? to_string(*features) : "none";
    }
    std::string best() const { return to_string(isas_of(*detect_features(queries())).back()); }
};

constexpr CpuidRegisters vendor_intel{0x20, 0x756e6547, 0x6c65746e, 0x49656e69},
    vendor_amd{0x10, 0x68747541, 0x444d4163, 0x69746e65};
constexpr std::uint32_t leaf1_ecx = 0x7ffafbff;  // AVX, FMA, F16C and OSXSAVE among others

RecordedCpu haswell() {
    return {{{{0, 0}, vendor_intel}, {{1, 0}, {0x306c3, 0, leaf1_ecx, 0}}, {{7, 0}, {0, 0x27ab, 0, 0}}},
            saves_ymm};
}
RecordedCpu ice_lake() {
    return {{{{0, 0}, vendor_intel},
             {{1, 0}, {0x606a6, 0, leaf1_ecx, 0}},
             {{7, 0}, {0, 0xf3bfbffb, 0x40417f5e, 0xbc040412}}},
            saves_zmm};
}
RecordedCpu zen4() {
    return {{{{0, 0}, vendor_amd},
             {{1, 0}, {0xa60f12, 0, leaf1_ecx, 0}},
             {{7, 0}, {1, 0xf1bf97a9, 0x405fce, 0x10000010}},
             {{7, 1}, {0x20, 0, 0, 0}}},
            saves_zmm};
}
RecordedCpu emerald_rapids() {
    return {{{{0, 0}, vendor_intel},
             {{1, 0}, {0xc06f2, 0, leaf1_ecx, 0}},
             {{7, 0}, {2, 0xf1bf27eb, 0x1b415f6e, 0xffd14410}},
             {{7, 1}, {0x1c30, 0, 0, 0}},
             {{0x1d, 0}, {1, 0, 0, 0}},
             {{0x1d, 1}, {0x04002000, 0x00080040, 0x10, 0}}},
            saves_tiles};
}

}  // namespace

TEST_CASE("isa: a set holds what its features need, and its text names a preset and the rest") {
    const auto text = [](Isa isa) {
        return to_string(isa);
    };
    CHECK(text(Isa()) == "avx2");
    CHECK(text(Isa::avx512_vnni.with(IsaFeature::vbmi)) == "avx512_vnni+vbmi");
    CHECK(text(Isa::avx512.with(IsaFeature::vnni)) == "avx512_vnni");
    CHECK(text(Isa::avx512_fp16.with(IsaFeature::amx_int8)) == "avx512_fp16+amx_tile+amx_int8");
    CHECK(text(Isa::avx2.with(IsaFeature::avx10_2)) == "avx512_fp16+avx10_2");
    CHECK(text(Isa::avx2.with(IsaFeature::amx_bf16)) == "avx512+amx_tile+amx_bf16");
    CHECK(text(Isa::amx.without(IsaFeature::amx_tile)) == "avx512_fp16");
    CHECK(text(Isa::amx.without(IsaFeature::vbmi)) == "avx512_bf16+fp16+amx_tile+amx_bf16+amx_int8");
    CHECK(text(Isa::amx.without(IsaFeature::avx512)) == "avx2");
    CHECK(text(Isa::avx2_vnni & Isa::amx) == "avx2");
    CHECK(Isa::amx.includes(Isa::avx512_vnni));
    CHECK_FALSE(Isa::amx.includes(Isa::avx2_vnni));
    CHECK(*parse_isa("avx512+vnni") == Isa::avx512_vnni);
    CHECK(*parse_isa("avx512_bf16+amx_int8+vbmi") == *parse_isa("avx512_bf16+vbmi+amx_int8+amx_tile"));
}

TEST_CASE("isa: every set of features is read back from its text") {
    for (std::uint32_t wanted = 0; wanted < 1u << isa_feature_count; wanted += 7) {
        Isa isa;
        for (int i = 0; i < isa_feature_count; ++i)
            if ((wanted >> i & 1) != 0) isa = isa.with(static_cast<IsaFeature>(i));
        const Result<Isa> again = parse_isa(to_string(isa));
        REQUIRE_MESSAGE(again.ok(), to_string(isa));
        REQUIRE_MESSAGE(*again == isa, to_string(isa));
    }
}

TEST_CASE("isa: questions to a set") {
    CHECK(has_vnni(Isa::avx2_vnni));
    CHECK(has_vnni(Isa::avx512_vnni));
    CHECK_FALSE(has_vnni(Isa::avx512.with(IsaFeature::avx_vnni)));  // not on zmm registers
    CHECK(has_vbmi(Isa::avx512.with(IsaFeature::vbmi)));
    CHECK_FALSE(has_fp16(Isa::avx512_bf16));
    const Isa int8_only = Isa::avx512_vnni.with(IsaFeature::amx_int8);
    CHECK(has_dot(int8_only, Dot::amx_int8));
    CHECK_FALSE(has_dot(int8_only, Dot::amx_bf16));
    CHECK_FALSE(has_dot(int8_only, Dot::amx_x3));
    CHECK(has_amx(least_isa(DataType::u8, Math::fast, int8_only)));
    CHECK(least_isa(DataType::f32, Math::fast, int8_only) == Isa::avx512);
}

TEST_CASE(
    "isa: quantised kernels use VBMI on Ice Lake and Zen 4, floating-point ones need no more than before") {
    for (const char* cpu : {"avx512_vnni+vbmi", "avx512_bf16+vbmi"}) {
        const Isa isa = *parse_isa(cpu);
        CHECK(to_string(least_isa(DataType::u8, Math::fast, isa)) == "avx512_vnni+vbmi");
        CHECK(least_isa(DataType::f32, Math::fast, isa) == Isa::avx512);
        CHECK(least_isa(DataType::bf16, Math::fast, isa) == (has_bf16(isa) ? Isa::avx512_bf16 : Isa::avx512));
    }
    CHECK(least_isa(DataType::s8, Math::fast, Isa::avx512.with(IsaFeature::vbmi)) == Isa::avx512);
    for (const DataType dtype : {DataType::f32, DataType::bf16, DataType::u8})
        CHECK(least_isa(dtype, Math::fast, Isa::amx.with(IsaFeature::avx_vnni)) == Isa::amx);
}

TEST_CASE("cpuid: known CPUs") {
    CHECK(haswell().text() == "avx2");
    CHECK(ice_lake().text() == "avx512_vnni+vbmi");
    CHECK(zen4().text() == "avx512_bf16+vbmi");
    CHECK(emerald_rapids().text() == "amx+avx_vnni");
    CHECK(emerald_rapids().best() == "amx");
    CHECK(detect_identity(zen4().queries()) == CpuIdentity{"AuthenticAMD", 0x19, 0x61, 2});
    CHECK(detect_identity(emerald_rapids().queries()) == CpuIdentity{"GenuineIntel", 6, 0xcf, 2});
    std::vector<std::string> names;
    for (const Isa isa : isas_of(*detect_features(zen4().queries())))
        names.push_back(to_string(isa));
    CHECK(names ==
          std::vector<std::string>{"avx2", "avx512", "avx512_vnni", "avx512_bf16", "avx512_bf16+vbmi"});
}

TEST_CASE("cpuid: what the operating system does not save is not there") {
    RecordedCpu cpu = emerald_rapids();
    CHECK_FALSE(withholds_amx(cpu.queries()));
    cpu.xcr0 = saves_zmm;
    CHECK(cpu.text() == "avx512_fp16+avx_vnni");
    CHECK(withholds_amx(cpu.queries()));
    cpu.xcr0 = saves_ymm;
    CHECK(cpu.text() == "avx2_vnni");
    cpu.xcr0 = 0x3;
    CHECK(cpu.text() == "none");
    cpu.xcr0 = saves_tiles;
    cpu.leaves[{1, 0}].ecx &= ~(1u << 27);  // OSXSAVE: xgetbv itself would be #UD
    CHECK(cpu.text() == "none");
    RecordedCpu no_fma = haswell();
    no_fma.leaves[{1, 0}].ecx &= ~(1u << 12);
    CHECK(no_fma.text() == "none");
}

TEST_CASE("cpuid: AMX without the palette that tiles are configured by is no AMX, nor one that is withheld") {
    RecordedCpu guest = emerald_rapids();
    guest.leaves.erase({0x1d, 0});
    CHECK(guest.text() == "avx512_fp16+avx_vnni");
    guest = emerald_rapids();
    guest.leaves[{0x1d, 1}].ecx = 8;  // rows of a tile
    CHECK(guest.text() == "avx512_fp16+avx_vnni");
    guest.xcr0 = saves_zmm;
    CHECK_FALSE(withholds_amx(guest.queries()));
}

TEST_CASE("cpuid: features form no ladder") {
    RecordedCpu guest = emerald_rapids();
    guest.leaves[{7, 0}].edx &= ~(1u << 23);  // FP16 is hidden by the hypervisor
    CHECK(guest.text() == "avx512_bf16+avx_vnni+vbmi+amx_tile+amx_bf16+amx_int8");
    CHECK(guest.best() == "avx512_bf16+vbmi+amx_tile+amx_bf16+amx_int8");
    guest.leaves[{7, 0}].ebx &= ~(1u << 30);  // AVX512BW: what needs the base set goes with it
    CHECK(guest.text() == "avx2_vnni");
    RecordedCpu future = emerald_rapids();
    future.leaves[{7, 1}].eax |= 1u << 21;  // AMX-FP16
    future.leaves[{7, 1}].edx |= 1u << 19;  // AVX10
    CHECK(future.text() == "amx+avx_vnni+amx_fp16");
    future.leaves[{0x24, 0}] = {0, 2, 0, 0};
    CHECK(future.text() == "amx+avx_vnni+amx_fp16+avx10_2");
}
