// Probe loops: small functions that run one kind of work again and again, so that the time of a call says
// what the CPU makes of it. They are emitted like kernels; how long they take is core/cpu's business.
//
// All have one signature: (iterations, memory, bytes). `memory` is aligned to a page and holds what the loop
// says; registers begin with numbers that are neither 0 nor denormal, and denormals count as 0 inside.
#pragma once

#include <cstdint>

#include "jit/instruction_forms.hpp"

namespace tandem::jit {

/// What loops of registers may touch of `memory`: enough for tiles of any stride they use.
inline constexpr std::size_t probe_memory_bytes = 64 * 1024;

class ProbeLoop {
public:
    ProbeLoop() = default;
    ProbeLoop(std::shared_ptr<const ExecutableMemory> code, double units)
        : code_(std::move(code)), units_(units) {}
    void run(std::int64_t iterations, std::byte* memory, std::size_t bytes = 0) const noexcept;
    /// What one iteration is worth: instructions, adds, bytes; the emitting function says.
    double units() const noexcept { return units_; }
    std::size_t code_bytes() const noexcept { return code_->bytes().size(); }

private:
    std::shared_ptr<const ExecutableMemory> code_;
    double units_ = 1;
};

/// Dependent adds of registers: one takes one cycle on every CPU known. Units: adds.
Result<ProbeLoop> add_chain_loop();
/// Dependent multiplications: 3 cycles on nearly every CPU, which checks the adds. Units: multiplications.
Result<ProbeLoop> multiply_chain_loop();

/// Independent instances, as many as hide the latency. Units: instances. `isa` must include what the form
/// needs, here and below; tiles are configured and released inside.
Result<ProbeLoop> throughput_loop(const InstructionForm& form, Isa isa);
/// Each instance waits for the one before. The form must have a chain. Units: instances.
Result<ProbeLoop> latency_loop(const InstructionForm& form, Isa isa);
/// A group of `fmas` f32 multiply-adds of the form's width (zmm beside tiles) from registers for every
/// `forms` instances of the form. Units: groups.
Result<ProbeLoop> mixed_loop(const InstructionForm& form, int forms, int fmas, Isa isa);
/// Configures tiles and releases them. Units: pairs of that.
Result<ProbeLoop> tile_configuration_loop(Isa isa);
/// Stores a tile, loads it as a vector and adds that to what is stored next: the way from tiles to registers.
/// Units: tiles.
Result<ProbeLoop> tile_round_trip_loop(Isa isa);

/// What takes no execution unit, or nearly none.
enum class CheapInstruction : std::uint8_t { nop, move, lea, load };
const char* to_string(CheapInstruction instruction) noexcept;
/// Many of them, independent. Units: instructions.
Result<ProbeLoop> front_end_loop(CheapInstruction instruction, Isa isa);
/// FMAs from registers in straight code of about `code_bytes`. Units: FMAs.
Result<ProbeLoop> footprint_loop(std::size_t code_bytes, Isa isa);

}  // namespace tandem::jit
