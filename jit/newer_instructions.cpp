#include "jit/newer_instructions.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include <fmt/format.h>

namespace tandem::jit {
namespace {

struct Row {
    NewerMnemonic mnemonic;
    std::uint8_t opcode, prefix;  // the latter: VEX.pp, 66 is 1, F3 2, F2 3
    bool has_first, takes_register, takes_memory;
};
constexpr std::array rows{Row{NewerMnemonic::vpdpbssd, 0x50, 3, true, true, true},
                          Row{NewerMnemonic::vcvtneps2bf16, 0x72, 2, false, true, true},
                          Row{NewerMnemonic::vbcstnebf162ps, 0xb1, 2, false, false, true},
                          Row{NewerMnemonic::vbcstnesh2ps, 0xb1, 1, false, false, true},
                          Row{NewerMnemonic::tdpfp16ps, 0x5c, 3, true, true, false}};
constexpr std::size_t prefix_bytes = 5;  // VEX, opcode and ModRM

const Row* row_of(std::uint8_t opcode, int prefix) noexcept {
    const auto row =
        std::ranges::find_if(rows, [&](const Row& r) { return r.opcode == opcode && r.prefix == prefix; });
    return row == rows.end() ? nullptr : &*row;
}

int bit(std::uint8_t byte, int at) noexcept { return byte >> at & 1; }

// What follows ModRM: SIB and displacement. False: no base, or bytes are missing.
bool decode_memory(std::span<const std::byte> code, std::uint8_t vex, std::uint8_t modrm,
                   NewerInstruction& instruction) noexcept {
    NewerInstruction::Memory memory;
    std::size_t at = prefix_bytes;
    const int mod = modrm >> 6, high_base = (1 - bit(vex, 5)) * 8, high_index = (1 - bit(vex, 6)) * 8;
    memory.base = (modrm & 7) + high_base;
    if ((modrm & 7) == 4) {
        if (code.size() <= at) return false;
        const auto sib = std::to_integer<std::uint8_t>(code[at++]);
        memory.base = (sib & 7) + high_base;
        if (const int index = (sib >> 3 & 7) + high_index; index != 4) memory.index = index;
        memory.scale = 1 << (sib >> 6);
    }
    if (mod == 0 && (memory.base & 7) == 5) return false;
    const std::size_t bytes = mod == 0 ? 0 : mod == 1 ? 1 : 4;
    if (code.size() < at + bytes) return false;
    if (mod == 1) memory.displacement = static_cast<std::int8_t>(std::to_integer<std::uint8_t>(code[at]));
    if (mod == 2) std::memcpy(&memory.displacement, code.data() + at, bytes);
    instruction.memory = memory;
    instruction.length = at + bytes;
    return true;
}

std::string register_name(const char* kind, int number) { return fmt::format("{}{}", kind, number); }

std::string memory_text(const NewerInstruction::Memory& memory, const char* size) {
    constexpr std::array names{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                               "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    std::string text = fmt::format("{} ptr [{}", size, names[static_cast<std::size_t>(memory.base)]);
    if (memory.index >= 0)
        text += fmt::format("+{}*{}", names[static_cast<std::size_t>(memory.index)], memory.scale);
    const std::int64_t displacement = memory.displacement;
    if (displacement != 0)
        text += fmt::format("{}{:#x}", displacement < 0 ? '-' : '+',
                            displacement < 0 ? -displacement : displacement);
    return text + ']';
}

}  // namespace

const char* to_string(NewerMnemonic mnemonic) noexcept {
    switch (mnemonic) {
        case NewerMnemonic::vpdpbssd: return "vpdpbssd";
        case NewerMnemonic::vcvtneps2bf16: return "vcvtneps2bf16";
        case NewerMnemonic::vbcstnebf162ps: return "vbcstnebf162ps";
        case NewerMnemonic::vbcstnesh2ps: return "vbcstnesh2ps";
        case NewerMnemonic::tdpfp16ps: return "tdpfp16ps";
    }
    return "?";
}

std::optional<NewerInstruction> decode_newer(std::span<const std::byte> code) noexcept {
    constexpr std::uint8_t three_byte_vex = 0xc4, map_0f38 = 2;
    if (code.size() < prefix_bytes) return std::nullopt;
    const auto byte = [&](std::size_t at) {
        return std::to_integer<std::uint8_t>(code[at]);
    };
    const std::uint8_t low = byte(1), high = byte(2), modrm = byte(4);
    const Row* const row = row_of(byte(3), high & 3);
    if (byte(0) != three_byte_vex || (low & 0x1f) != map_0f38 || bit(high, 7) != 0 || !row)
        return std::nullopt;
    NewerInstruction found{.mnemonic = row->mnemonic, .length = prefix_bytes, .wide = bit(high, 2) != 0};
    found.to = (modrm >> 3 & 7) + (1 - bit(low, 7)) * 8;
    found.first = ~high >> 3 & 15;
    if (!row->has_first && found.first != 0) return std::nullopt;
    if (modrm >> 6 == 3) {
        found.second = (modrm & 7) + (1 - bit(low, 5)) * 8;
        return row->takes_register ? std::optional(found) : std::nullopt;
    }
    return row->takes_memory && decode_memory(code, low, modrm, found) ? std::optional(found) : std::nullopt;
}

std::string to_string(const NewerInstruction& instruction) {
    const std::string name = to_string(instruction.mnemonic);
    const auto [mnemonic, length, wide, to, first, second, memory] = instruction;
    const char* const vector = wide ? "ymm" : "xmm";
    const std::string source =
        memory ? memory_text(*memory, wide ? "ymmword" : "xmmword") : register_name(vector, second);
    switch (mnemonic) {
        case NewerMnemonic::tdpfp16ps: return fmt::format("{} tmm{}, tmm{}, tmm{}", name, to, second, first);
        case NewerMnemonic::vcvtneps2bf16: return fmt::format("{} xmm{}, {}", name, to, source);
        case NewerMnemonic::vbcstnebf162ps:
        case NewerMnemonic::vbcstnesh2ps:
            return fmt::format("{} {}, {}", name, register_name(vector, to), memory_text(*memory, "word"));
        case NewerMnemonic::vpdpbssd: break;
    }
    return fmt::format("{} {}, {}, {}", name, register_name(vector, to), register_name(vector, first),
                       source);
}

}  // namespace tandem::jit
