// NewerEmulator: runs the instructions of AVX-VNNI-INT8, AVX-NE-CONVERT and AMX-FP16
// (jit/newer_instructions.hpp) on CPUs that have none, so that kernels for them are tested everywhere.
//
// Each raises SIGILL there; the handler does to the registers in the signal frame, and reads of memory, what
// Intel's manual (SDM volume 2, "Operation") says, and goes on behind it. TDPFP16PS works on the tiles in the
// frame, for CPUs whose AMX lacks it alone; without any AMX it is AmxEmulator's. All other instructions run
// natively. Where the CPU has the instructions, they never get here and the same test checks the hardware.
#pragma once

#include <cstdint>

#include "jit/newer_instructions.hpp"

namespace tandem::test {

class NewerEmulator {
public:
    /// Handles SIGILL for the whole process until destroyed; one at a time. What is not its business goes to
    /// the handler there was.
    NewerEmulator();
    ~NewerEmulator();
    NewerEmulator(const NewerEmulator&) = delete;
    NewerEmulator& operator=(const NewerEmulator&) = delete;

    /// Instructions emulated since the process started, in all threads: nothing on CPUs that have them.
    static std::uint64_t executed(jit::NewerMnemonic mnemonic);
};

}  // namespace tandem::test
