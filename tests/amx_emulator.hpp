// AmxEmulator: runs AMX instructions on machines that have none, so that generated AMX code is tested
// everywhere.
//
// Used by tests only: those that call code emitted for AMX hold an AmxEmulator meanwhile. On a machine
// without AMX each of its instructions raises SIGILL; the handler decodes the instruction, does to the
// calling thread's emulated tiles and to memory what Intel's manual (SDM volume 2, "Operation") says, and
// goes on behind it. So do vcvtneps2bf16 and vcvtne2ps2bf16, where the CPU lacks those too
// (bf16_conversion.hpp). All other instructions run natively. On a machine with AMX the emulator stands
// aside and the same test checks the hardware, with the same expectations.
//
// What it does not do: count cycles, TSX, segment overrides (reported as a fault), or NaN payloads beyond
// those of the host's FMA. Arithmetic follows the manual's order of operations; no AMX hardware was at hand
// to compare every last bit with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace tandem::test {

enum class AmxInstruction : std::uint8_t {
    ldtilecfg,
    sttilecfg,
    tilerelease,
    tilezero,
    tileloadd,
    tileloaddt1,
    tilestored,
    tdpbf16ps,
    tdpfp16ps,
    tdpbssd,
    tdpbsud,
    tdpbusd,
    tdpbuud,
};
inline constexpr std::size_t amx_instruction_count = 13;

class AmxEmulator {
public:
    enum class Report : std::uint8_t {
        printed,   // to stderr, and kept for last_fault()
        recorded,  // for tests that provoke faults
    };

    /// Where needed(), handles SIGILL for the whole process until destroyed, and starts with all tiles of
    /// all threads unconfigured. Any number may be alive, in any threads; the first one's `report` holds.
    /// Handlers of SIGILL installed meanwhile must be gone before the last one is destroyed.
    ///
    /// What is #UD or #GP on hardware (a bad configuration, tiles that are unconfigured or do not fit each
    /// other) is described in last_fault() and goes to the previous handler of SIGILL, as do other illegal
    /// instructions, with RIP where it faulted.
    explicit AmxEmulator(Report report = Report::printed);
    ~AmxEmulator();
    AmxEmulator(const AmxEmulator&) = delete;
    AmxEmulator& operator=(const AmxEmulator&) = delete;

    /// Whether this process cannot use AMX tiles with BF16 and INT8 natively. Where it can, asks Linux for
    /// the permission first.
    static bool needed();
    /// Whether an instruction can be executed while an AmxEmulator is alive: all where needed(), else all
    /// but TDPFP16PS, which came to hardware later, if it is missing.
    static bool runs(AmxInstruction instruction);

    /// Instructions emulated in all threads since the process started or reset_counts(): a test that the
    /// AMX path really ran. Nothing is counted on hardware.
    static std::uint64_t executed(AmxInstruction instruction);
    static std::uint64_t executed();
    static void reset_counts();

    /// Whether emulated tiles of the calling thread are configured: code that is done must have released
    /// them.
    static bool tiles_configured();
    /// The last fault of the calling thread, e.g. "#UD in TDPBF16PS at 0x7f00: ..."; empty if there was
    /// none.
    static std::string last_fault();
};

}  // namespace tandem::test
