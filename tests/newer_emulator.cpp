#include "newer_emulator.hpp"

#include <cpuid.h>
#include <ucontext.h>

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <span>

#include "amx_tiles.hpp"
#include "bf16_conversion.hpp"
#include "tandem/data_type.hpp"

namespace tandem::test {

namespace {

using jit::NewerInstruction, jit::NewerMnemonic;

constexpr std::size_t longest_instruction = 15, mnemonic_count = 5;
std::array<std::atomic<std::uint64_t>, mnemonic_count> counts{};
struct sigaction previous = {};

/// Where tiles lie in a signal frame, which is an XSAVE area in the standard format: their configuration and
/// data, by their bits in its header.
constexpr unsigned tile_config = 17, tile_data = 18;
std::array<unsigned, 2> tiles_at{};

unsigned component_at(unsigned component) {
    unsigned bytes = 0, at = 0, c = 0, d = 0;
    __get_cpuid_count(0xd, component, &bytes, &at, &c, &d);
    return at;
}

const std::byte* address_of(const NewerInstruction::Memory& memory, const gregset_t& registers) {
    // In the order of register numbers in instructions.
    static constexpr std::array slots{REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                      REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    const auto value = [&](int number) {
        return registers[slots[static_cast<std::size_t>(number)]];
    };
    greg_t address = value(memory.base) + memory.displacement;
    if (memory.index >= 0) address += value(memory.index) * memory.scale;
    return reinterpret_cast<const std::byte*>(address);
}

/// The vector that a register or memory holds: of the instruction's width, zero above.
Zmm source_of(const NewerInstruction& instruction, const SignalVectors& vectors, const gregset_t& registers) {
    const std::size_t bytes = instruction.wide ? 32 : 16;
    Zmm value{};
    const Zmm whole = instruction.memory ? Zmm{} : vectors.zmm(instruction.second);
    std::memcpy(value.data(),
                instruction.memory ? address_of(*instruction.memory, registers)
                                   : reinterpret_cast<const std::byte*>(whole.data()),
                bytes);
    return value;
}

std::uint32_t dot_of_bytes(std::uint32_t sum, std::uint32_t a, std::uint32_t b) {
    for (int i = 0; i < 4; ++i)
        sum += static_cast<std::uint32_t>(static_cast<std::int8_t>(a >> 8 * i) *
                                          static_cast<std::int8_t>(b >> 8 * i));
    return sum;
}

/// What becomes of the destination; VEX zeroes what is above.
Zmm result_of(const NewerInstruction& instruction, const SignalVectors& vectors, const gregset_t& registers) {
    const std::size_t lanes = instruction.wide ? 8 : 4;
    Zmm result{};
    switch (instruction.mnemonic) {
        case NewerMnemonic::vpdpbssd: {
            const Zmm sums = vectors.zmm(instruction.to), a = vectors.zmm(instruction.first),
                      b = source_of(instruction, vectors, registers);
            for (std::size_t i = 0; i < lanes; ++i)
                result[i] = dot_of_bytes(sums[i], a[i], b[i]);
            break;
        }
        case NewerMnemonic::vcvtneps2bf16: {
            const Zmm from = source_of(instruction, vectors, registers);
            for (std::size_t i = 0; i < lanes; ++i)
                result[i / 2] |= std::uint32_t{nearest_bf16(from[i])} << i % 2 * 16;
            break;
        }
        case NewerMnemonic::vbcstnebf162ps:
        case NewerMnemonic::vbcstnesh2ps: {
            std::uint16_t bits = 0;
            std::memcpy(&bits, address_of(*instruction.memory, registers), sizeof bits);
            const bool bf16 = instruction.mnemonic == NewerMnemonic::vbcstnebf162ps;
            for (std::size_t i = 0; i < lanes; ++i)
                result[i] = std::bit_cast<std::uint32_t>(bf16 ? from_bf16(bits) : from_f16(bits));
            break;
        }
        case NewerMnemonic::tdpfp16ps: break;
    }
    return result;
}

/// The frame's tiles, whatever became of them since.
bool multiply_tiles(const NewerInstruction& instruction, ucontext_t& context) {
    auto* const frame = reinterpret_cast<std::byte*>(context.uc_mcontext.fpregs);
    std::byte* const data = frame + tiles_at[1];
    const auto tile_at = [&](int tile) {
        return AmxMemory{reinterpret_cast<std::uint64_t>(data) +
                             static_cast<std::uint64_t>(tile) * AmxTiles::max_rows * AmxTiles::max_colsb,
                         AmxTiles::max_colsb};
    };
    AmxTiles tiles;
    if (tiles.load_config(frame + tiles_at[0])) return false;
    for (const int tile : {instruction.to, instruction.second, instruction.first})
        if (tiles.load(tile, tile_at(tile))) return false;
    if (tiles.dot_pairs(AmxFloat::fp16, instruction.to, instruction.second, instruction.first)) return false;
    return !tiles.store(instruction.to, tile_at(instruction.to));
}

bool execute(const NewerInstruction& instruction, ucontext_t& context) {
    if (instruction.mnemonic == NewerMnemonic::tdpfp16ps)
        return tiles_at[1] != 0 && multiply_tiles(instruction, context);
    SignalVectors vectors(context);
    vectors.set_zmm(instruction.to, result_of(instruction, vectors, context.uc_mcontext.gregs));
    return true;
}

void pass_on(int signal, siginfo_t* info, void* context) {
    if ((previous.sa_flags & SA_SIGINFO) != 0) return previous.sa_sigaction(signal, info, context);
    if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) return previous.sa_handler(signal);
    sigaction(signal, &previous, nullptr);  // the instruction faults again
}

void on_illegal_instruction(int signal, siginfo_t* info, void* context) {
    const int saved_errno = errno;
    auto& frame = *static_cast<ucontext_t*>(context);
    greg_t& rip = frame.uc_mcontext.gregs[REG_RIP];
    const std::span code(reinterpret_cast<const std::byte*>(rip), longest_instruction);
    const auto instruction = info->si_code > 0 ? jit::decode_newer(code) : std::nullopt;
    if (!instruction || !execute(*instruction, frame)) return pass_on(signal, info, context);
    counts[static_cast<std::size_t>(instruction->mnemonic)].fetch_add(1, std::memory_order_relaxed);
    rip += static_cast<greg_t>(instruction->length);
    errno = saved_errno;
}

}  // namespace

NewerEmulator::NewerEmulator() {
    tiles_at = {component_at(tile_config), component_at(tile_data)};
    struct sigaction action = {};
    action.sa_sigaction = on_illegal_instruction;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGILL, &action, &previous);
}

NewerEmulator::~NewerEmulator() { sigaction(SIGILL, &previous, nullptr); }

std::uint64_t NewerEmulator::executed(jit::NewerMnemonic mnemonic) {
    return counts[static_cast<std::size_t>(mnemonic)].load();
}

}  // namespace tandem::test
