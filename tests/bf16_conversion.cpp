#include "bf16_conversion.hpp"

#include <Zydis/Zydis.h>
#include <cpuid.h>

#include <cstring>

namespace tandem::test {

namespace {

constexpr std::size_t longest_instruction = 15;

// Components of an XSAVE area, by their bits in its header.
constexpr std::size_t sse = 1, avx = 2, opmask = 5, zmm_hi256 = 6, hi16_zmm = 7, component_count = 8;
constexpr std::size_t header_at = 512, sse_at = 160;

struct Component {
    std::size_t at = 0, bytes = 0;
};

// CPUID is slow on virtual machines: asked once.
const std::array<Component, component_count> components = [] {
    std::array<Component, component_count> all{};
    all[sse] = {sse_at, 256};
    for (const std::size_t i : {avx, opmask, zmm_hi256, hi16_zmm}) {
        unsigned bytes = 0, at = 0, c = 0, d = 0;
        __get_cpuid_count(0xd, static_cast<unsigned>(i), &bytes, &at, &c, &d);
        all[i] = {at, bytes};
    }
    return all;
}();

}  // namespace

std::uint16_t nearest_bf16(std::uint32_t f32) noexcept {
    constexpr std::uint32_t infinity = 0x7f80'0000, quiet = 0x40, sign = 0x8000;
    const std::uint32_t magnitude = f32 & 0x7fff'ffff, upper = f32 >> 16;
    if (magnitude < 0x0080'0000) return static_cast<std::uint16_t>(upper & sign);
    if (magnitude > infinity) return static_cast<std::uint16_t>(upper | quiet);
    return static_cast<std::uint16_t>((f32 + 0x7fff + (upper & 1)) >> 16);
}

std::optional<Bf16Conversion> decode_bf16_conversion(const std::uint8_t* code) noexcept {
    ZydisDecoder decoder;
    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    // It reads byte by byte and no further than the instruction goes, which may end at the last byte of its
    // page.
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code, longest_instruction, &instruction, operands)))
        return std::nullopt;
    const bool two_sources = instruction.mnemonic == ZYDIS_MNEMONIC_VCVTNE2PS2BF16;
    if (!two_sources && instruction.mnemonic != ZYDIS_MNEMONIC_VCVTNEPS2BF16) return std::nullopt;
    const ZydisDecodedOperand& from = operands[instruction.operand_count_visible - 1];
    if (from.type != ZYDIS_OPERAND_TYPE_REGISTER) return std::nullopt;
    Bf16Conversion conversion;
    conversion.length = instruction.length;
    conversion.elements = static_cast<int>(instruction.avx.vector_length) / 32;
    conversion.to = ZydisRegisterGetId(operands[0].reg.value);
    conversion.from = ZydisRegisterGetId(from.reg.value);
    if (two_sources)
        conversion.above = ZydisRegisterGetId(operands[instruction.operand_count_visible - 2].reg.value);
    conversion.mask =
        instruction.avx.mask.reg == ZYDIS_REGISTER_NONE ? 0 : ZydisRegisterGetId(instruction.avx.mask.reg);
    conversion.zeroing = instruction.avx.mask.mode == ZYDIS_MASK_MODE_ZEROING;
    return conversion;
}

Zmm convert(const Bf16Conversion& conversion, const Zmm& from, const Zmm& above, std::uint64_t mask,
            const Zmm& to) noexcept {
    std::array<std::uint16_t, 32> halves{}, old;
    std::memcpy(old.data(), to.data(), sizeof old);
    const auto elements = static_cast<std::size_t>(conversion.elements);
    for (std::size_t i = 0; i < (conversion.above ? 2 : 1) * elements; ++i) {
        if (conversion.mask == 0 || (mask >> i & 1))
            halves[i] = nearest_bf16(i < elements ? from[i] : above[i - elements]);
        else if (!conversion.zeroing)
            halves[i] = old[i];
    }
    Zmm result;
    std::memcpy(result.data(), halves.data(), sizeof result);
    return result;
}

SignalVectors::SignalVectors(ucontext_t& context) noexcept
    : area_(reinterpret_cast<std::byte*>(context.uc_mcontext.fpregs)) {}

// A component whose bit is not set is in its initial state, zeros, whatever lies there.
void SignalVectors::read(std::size_t component, std::size_t at, void* to, std::size_t bytes) const noexcept {
    std::uint64_t present = 0;
    std::memcpy(&present, area_ + header_at, sizeof present);
    if (present >> component & 1)
        std::memcpy(to, area_ + components[component].at + at, bytes);
    else
        std::memset(to, 0, bytes);
}

void SignalVectors::write(std::size_t component, std::size_t at, const void* from,
                          std::size_t bytes) noexcept {
    std::uint64_t present = 0;
    std::memcpy(&present, area_ + header_at, sizeof present);
    std::byte* const data = area_ + components[component].at;
    if (!(present >> component & 1)) std::memset(data, 0, components[component].bytes);
    present |= std::uint64_t{1} << component;
    std::memcpy(area_ + header_at, &present, sizeof present);
    std::memcpy(data + at, from, bytes);
}

Zmm SignalVectors::zmm(int n) const noexcept {
    Zmm value;
    const auto i = static_cast<std::size_t>(n);
    if (n >= 16) {
        read(hi16_zmm, 64 * (i - 16), value.data(), 64);
        return value;
    }
    read(sse, 16 * i, value.data(), 16);
    read(avx, 16 * i, value.data() + 4, 16);
    read(zmm_hi256, 32 * i, value.data() + 8, 32);
    return value;
}

void SignalVectors::set_zmm(int n, const Zmm& value) noexcept {
    const auto i = static_cast<std::size_t>(n);
    if (n >= 16) return write(hi16_zmm, 64 * (i - 16), value.data(), 64);
    write(sse, 16 * i, value.data(), 16);
    write(avx, 16 * i, value.data() + 4, 16);
    write(zmm_hi256, 32 * i, value.data() + 8, 32);
}

std::uint64_t SignalVectors::mask(int n) const noexcept {
    std::uint64_t value = 0;
    read(opmask, 8 * static_cast<std::size_t>(n), &value, sizeof value);
    return value;
}

void execute(const Bf16Conversion& conversion, ucontext_t& context) noexcept {
    SignalVectors vectors(context);
    const Zmm from = vectors.zmm(conversion.from),
              above = vectors.zmm(conversion.above.value_or(conversion.from));
    vectors.set_zmm(conversion.to, convert(conversion, from, above, vectors.mask(conversion.mask),
                                           vectors.zmm(conversion.to)));
}

}  // namespace tandem::test
