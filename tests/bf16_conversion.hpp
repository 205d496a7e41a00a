// Bf16Conversion: vcvtneps2bf16 and vcvtne2ps2bf16 for CPUs without AVX512-BF16, so that AMX kernels, which
// round with them, are tested on every AVX-512 machine.
//
// AmxEmulator's handler of SIGILL decodes the instructions here and converts in the interrupted code's
// registers, where the signal frame holds them. Written from the manual's "Operation" (SDM volume 2).
// Register operands only: memory operands are not emitted.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <ucontext.h>

namespace tandem::test {

/// Rounds to nearest even whatever MXCSR says; denormals become zeros of their sign, NaNs quiet.
std::uint16_t nearest_bf16(std::uint32_t f32) noexcept;

using Zmm = std::array<std::uint32_t, 16>;

struct Bf16Conversion {
    int length = 0;    // of the instruction, bytes
    int elements = 0;  // of each source: 4, 8, 16
    int to = 0, from = 0;
    std::optional<int> above{};  // vcvtne2ps2bf16: the source of the destination's upper half
    int mask = 0;                // k0: none
    bool zeroing = false;
};
/// nullopt: another instruction, or operands in memory.
std::optional<Bf16Conversion> decode_bf16_conversion(const std::uint8_t* code) noexcept;
/// What becomes of the destination. `above`: looked at where the conversion has one.
Zmm convert(const Bf16Conversion& conversion, const Zmm& from, const Zmm& above, std::uint64_t mask,
            const Zmm& to) noexcept;

/// The vector and mask registers of interrupted code: a signal frame is an XSAVE area in the standard
/// format.
class SignalVectors {
public:
    explicit SignalVectors(ucontext_t& context) noexcept;
    Zmm zmm(int n) const noexcept;
    void set_zmm(int n, const Zmm& value) noexcept;
    std::uint64_t mask(int n) const noexcept;

private:
    void read(std::size_t component, std::size_t at, void* to, std::size_t bytes) const noexcept;
    void write(std::size_t component, std::size_t at, const void* from, std::size_t bytes) noexcept;

    std::byte* area_;
};

/// Executes the instruction in the frame, RIP aside.
void execute(const Bf16Conversion& conversion, ucontext_t& context) noexcept;

}  // namespace tandem::test
