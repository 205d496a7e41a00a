// The only file that asks the CPU. A feature is a row of a table: its bits of CPUID and of XCR0.
#include "core/plan/cpuid.hpp"

#include <cpuid.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

namespace tandem {
namespace {

enum class Register : std::uint8_t { eax, ebx, ecx, edx };

std::uint32_t value_of(const CpuidRegisters& registers, Register which) {
    switch (which) {
        case Register::eax: return registers.eax;
        case Register::ebx: return registers.ebx;
        case Register::ecx: return registers.ecx;
        case Register::edx: return registers.edx;
    }
    return 0;
}

struct CpuidBit {
    std::uint32_t leaf, subleaf;
    Register which;
    int bit;
};

bool is_set(const CpuQueries& cpu, const CpuidBit& b) {
    return (value_of(cpu.cpuid(b.leaf, b.subleaf), b.which) >> b.bit & 1) != 0;
}

constexpr std::uint64_t ymm_state = 0x6, zmm_state = 0xe6, tile_state = 0x60000;

struct FeatureRow {
    IsaFeature feature;
    std::array<CpuidBit, 5> bits;
    int bit_count;
    std::uint64_t state;  // of XCR0
};

// Each behind what it needs.
constexpr std::array<FeatureRow, isa_feature_count> feature_rows{{
    {IsaFeature::avx2,
     {{{1, 0, Register::ecx, 28},
       {1, 0, Register::ecx, 12},
       {1, 0, Register::ecx, 29},
       {7, 0, Register::ebx, 5}}},
     4,
     ymm_state},
    {IsaFeature::avx_vnni, {{{7, 1, Register::eax, 4}}}, 1, ymm_state},
    {IsaFeature::avx512,
     {{{7, 0, Register::ebx, 16},
       {7, 0, Register::ebx, 17},
       {7, 0, Register::ebx, 28},
       {7, 0, Register::ebx, 30},
       {7, 0, Register::ebx, 31}}},
     5,
     zmm_state},
    {IsaFeature::vnni, {{{7, 0, Register::ecx, 11}}}, 1, zmm_state},
    {IsaFeature::bf16, {{{7, 1, Register::eax, 5}}}, 1, zmm_state},
    {IsaFeature::vbmi, {{{7, 0, Register::ecx, 1}}}, 1, zmm_state},
    {IsaFeature::fp16, {{{7, 0, Register::edx, 23}}}, 1, zmm_state},
    {IsaFeature::amx_tile, {{{7, 0, Register::edx, 24}}}, 1, tile_state},
    {IsaFeature::amx_bf16, {{{7, 0, Register::edx, 22}}}, 1, tile_state},
    {IsaFeature::amx_int8, {{{7, 0, Register::edx, 25}}}, 1, tile_state},
    {IsaFeature::amx_fp16, {{{7, 1, Register::eax, 21}}}, 1, tile_state},
    {IsaFeature::avx_vnni_int8, {{{7, 1, Register::edx, 4}}}, 1, ymm_state},
    {IsaFeature::avx_ne_convert, {{{7, 1, Register::edx, 5}}}, 1, ymm_state},
    {IsaFeature::avx10_2, {{{7, 1, Register::edx, 19}}}, 1, zmm_state},
}};

bool has_bits(const CpuQueries& cpu, const FeatureRow& row) {
    for (int i = 0; i < row.bit_count; ++i)
        if (!is_set(cpu, row.bits[static_cast<std::size_t>(i)])) return false;
    return true;
}

// Guests are told of AMX without the palette that tiles are configured by, and every ldtilecfg is #UD then.
bool has_tile_palette(const CpuQueries& cpu) {
    constexpr std::uint32_t leaf = 0x1d, palette = 1;
    constexpr std::uint32_t tile_bytes = 1024, tiles = 8, row_bytes = 64, rows = 16;
    if (cpu.cpuid(leaf, 0).eax < palette) return false;
    const CpuidRegisters found = cpu.cpuid(leaf, palette);
    return found.eax >> 16 >= tile_bytes && (found.ebx & 0xffff) >= row_bytes && found.ebx >> 16 >= tiles &&
           (found.ecx & 0xffff) >= rows;
}

// What a feature's bits do not say.
bool is_usable(const CpuQueries& cpu, IsaFeature feature) {
    if (feature == IsaFeature::amx_tile) return has_tile_palette(cpu);
    if (feature == IsaFeature::avx10_2) return (cpu.cpuid(0x24, 0).ebx & 0xff) >= 2;
    return true;
}

std::uint64_t saved_state(const CpuQueries& cpu) {
    constexpr CpuidBit osxsave{1, 0, Register::ecx, 27};
    return is_set(cpu, osxsave) ? cpu.xcr0() : 0;
}

/// The features of a CPU whose operating system saves `state`.
std::optional<Isa> features_with(const CpuQueries& cpu, std::uint64_t state) {
    std::optional<Isa> isa;
    for (const FeatureRow& row : feature_rows) {
        if ((state & row.state) != row.state || !has_bits(cpu, row) || !is_usable(cpu, row.feature)) continue;
        const Isa one = Isa().with(row.feature);
        if (row.feature == IsaFeature::avx2)
            isa = one;
        else if (isa && isa->includes(one.without(row.feature)))
            isa = isa->with(row.feature);
    }
    return isa;
}

constexpr std::uint32_t hypervisor_leaf = 0x40000000;

CpuidRegisters ask_cpu(std::uint32_t leaf, std::uint32_t subleaf) {
    CpuidRegisters r;
    // The hypervisor's leaves are above what __get_cpuid_max() knows; they are asked only where there is one.
    const bool hypervisor = leaf == hypervisor_leaf;
    if (hypervisor || __get_cpuid_max(leaf & 0x80000000, nullptr) >= leaf)
        __cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
    return r;
}

std::uint64_t ask_xcr0() {
    std::uint32_t low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return std::uint64_t{high} << 32 | low;
}

std::string text_of(std::span<const std::uint32_t> words) {
    std::string text(words.size_bytes(), '\0');
    std::memcpy(text.data(), words.data(), text.size());
    text.resize(std::min(text.find('\0'), text.size()));
    const std::size_t begin = text.find_first_not_of(' ');
    return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(' ') + 1 - begin);
}

}  // namespace

CpuQueries host_cpu() { return {ask_cpu, ask_xcr0}; }

std::optional<Isa> detect_features(const CpuQueries& cpu) { return features_with(cpu, saved_state(cpu)); }

bool withholds_amx(const CpuQueries& cpu) {
    const std::uint64_t state = saved_state(cpu);
    const std::optional<Isa> all = features_with(cpu, state | tile_state);
    return all && has_amx(*all) && (state & tile_state) != tile_state;
}

CpuIdentity detect_identity(const CpuQueries& cpu) {
    const CpuidRegisters vendor = cpu.cpuid(0, 0);
    const std::uint32_t signature = cpu.cpuid(1, 0).eax;
    const auto field = [&](int low, int bits) {
        return static_cast<int>(signature >> low & ((1u << bits) - 1));
    };
    const int family = field(8, 4), model = field(4, 4);
    return {.vendor = text_of(std::array{vendor.ebx, vendor.edx, vendor.ecx}),
            .family = family == 15 ? family + field(20, 8) : family,
            .model = family == 15 || family == 6 ? model + (field(16, 4) << 4) : model,
            .stepping = field(0, 4)};
}

std::string detect_name(const CpuQueries& cpu) {
    std::array<std::uint32_t, 12> words{};
    for (std::uint32_t i = 0; i < 3; ++i) {
        const CpuidRegisters r = cpu.cpuid(0x80000002 + i, 0);
        words[4 * i] = r.eax, words[4 * i + 1] = r.ebx, words[4 * i + 2] = r.ecx, words[4 * i + 3] = r.edx;
    }
    const std::string text = text_of(words);
    return text.empty() ? "unknown x86-64 CPU" : text;
}

std::string detect_hypervisor(const CpuQueries& cpu) {
    constexpr CpuidBit present{1, 0, Register::ecx, 31};
    if (!is_set(cpu, present)) return "";
    const CpuidRegisters r = cpu.cpuid(hypervisor_leaf, 0);
    const std::string signature = text_of(std::array{r.ebx, r.ecx, r.edx});
    return signature.empty() ? "unknown" : signature;
}

std::size_t detect_l1_instructions(const CpuQueries& cpu) {
    constexpr std::uint32_t intel = 4, amd = 0x8000001d, caches = 8;
    for (const std::uint32_t leaf : {intel, amd}) {
        for (std::uint32_t i = 0; i < caches; ++i) {
            const CpuidRegisters r = cpu.cpuid(leaf, i);
            const bool instructions = (r.eax & 0x1f) == 2, first = (r.eax >> 5 & 7) == 1;
            if (!instructions || !first) continue;
            const std::size_t ways = (r.ebx >> 22) + 1, parts = (r.ebx >> 12 & 0x3ff) + 1,
                              line = (r.ebx & 0xfff) + 1;
            return ways * parts * line * (std::size_t{r.ecx} + 1);
        }
    }
    return 0;
}

std::uint64_t detect_saved_state(const CpuQueries& cpu) { return saved_state(cpu); }

std::vector<std::string> detect_tile_palettes(const CpuQueries& cpu) {
    constexpr std::uint32_t leaf = 0x1d, most = 16;
    std::vector<std::string> palettes;
    const std::uint32_t last = std::min(cpu.cpuid(leaf, 0).eax, most);
    for (std::uint32_t i = 1; i <= last; ++i) {
        const CpuidRegisters r = cpu.cpuid(leaf, i);
        palettes.push_back("palette " + std::to_string(i) + ": " + std::to_string(r.ebx >> 16) +
                           " tiles of " + std::to_string(r.ecx & 0xffff) + " rows of " +
                           std::to_string(r.ebx & 0xffff) + " bytes");
    }
    return palettes;
}

}  // namespace tandem
