// Decodes the instructions of kernels that came after Zydis 4.0 (Debian 12's): for listings, and for tests
// that execute them where the CPU has none.
//
//   vpdpbssd v, v, v/m            VEX.F2.0F38.W0 50     AVX-VNNI-INT8
//   vcvtneps2bf16 h, v/m          VEX.F3.0F38.W0 72     AVX-NE-CONVERT
//   vbcstnebf162ps v, m           VEX.F3.0F38.W0 B1
//   vbcstnesh2ps v, m             VEX.66.0F38.W0 B1
//   tdpfp16ps t, t, t             VEX.F2.0F38.W0 5C     AMX-FP16
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace tandem::jit {

enum class NewerMnemonic : std::uint8_t { vpdpbssd, vcvtneps2bf16, vbcstnebf162ps, vbcstnesh2ps, tdpfp16ps };
const char* to_string(NewerMnemonic mnemonic) noexcept;

struct NewerInstruction {
    NewerMnemonic mnemonic{};
    std::size_t length = 0;
    bool wide = false;  // ymm, else xmm
    /// Registers by number: the destination, what VEX.vvvv says, what ModRM says unless that is memory.
    int to = 0, first = 0, second = 0;
    struct Memory {
        int base = 0, index = -1, scale = 1;  // index -1: none
        std::int32_t displacement = 0;
    };
    std::optional<Memory> memory{};
};

/// nullopt: something else, or an address without a base.
std::optional<NewerInstruction> decode_newer(std::span<const std::byte> code) noexcept;
/// As Intel writes it, in Zydis' style.
std::string to_string(const NewerInstruction& instruction);

}  // namespace tandem::jit
