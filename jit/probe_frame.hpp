// What probe loops have in common: their registers, how they begin, repeat and end.
#pragma once

#include <functional>

#include "jit/probe_loop.hpp"

namespace tandem::jit {

/// The arguments, and r8 to r11, rax and rcx free for bodies.
inline const Gpr probe_iterations(Xbyak::Operand::RDI), probe_memory(Xbyak::Operand::RSI),
    probe_bytes(Xbyak::Operand::RDX);

/// Numbers in vector registers at the start: in all of them, and in the one that forms have as `second`.
struct ProbeNumbers {
    std::uint32_t all, second;
};

/// Registers of a vector loop, by its encoding: VEX reaches 16, EVEX 32.
struct ProbeRegisters {
    int results, first, second;  // results: 0, 1, ... ; `second` + 1 is free
    static ProbeRegisters of(bool evex) {
        return evex ? ProbeRegisters{24, 28, 29} : ProbeRegisters{12, 13, 14};
    }
};

struct ProbeFrame {
    Isa isa = Isa::avx2;
    ProbeNumbers numbers{0x3f800000, 0xbf800000};  // 1 and -1
    bool tiles = false;                            // configured, and loaded from `memory`
    std::function<void(CodeBlock&)> start{};       // before the loop
};

/// The loop around a body. Units: what a body is worth.
Result<ProbeLoop> emit_probe_loop(const ProbeFrame& frame, double units,
                                  const std::function<void(CodeBlock&)>& body);

/// The configuration of eight whole tiles, as ldtilecfg reads it.
Address tile_configuration(CodeBlock& code);
inline constexpr int probe_tile_rows = 16, probe_tile_bytes = 1024;

}  // namespace tandem::jit
