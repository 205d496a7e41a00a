#include "amx_emulator.hpp"

#include <Zydis/Zydis.h>
#include <cpuid.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <mutex>
#include <optional>

#include "amx_tiles.hpp"
#include "bf16_conversion.hpp"

namespace tandem::test {

namespace {

constexpr std::size_t longest_instruction = 15;
constexpr const char* names[amx_instruction_count] = {
    "LDTILECFG", "STTILECFG", "TILERELEASE", "TILEZERO", "TILELOADD", "TILELOADDT1", "TILESTORED",
    "TDPBF16PS", "TDPFP16PS", "TDPBSSD",     "TDPBSUD",  "TDPBUSD",   "TDPBUUD",
};

struct Decoded {
    AmxInstruction instruction{};
    int length = 0;
    int tiles[3] = {};  // as in the manual's syntax: a product's destination first
    AmxMemory memory;
    bool has_segment = false;
};

using Registers = gregset_t;

// The state of the one handler of the process. What it reads is set before it is installed.
std::mutex mutex;
int alive = 0;
struct sigaction previous = {};
bool print_faults = true;
ZydisDecoder decoder;
std::atomic<std::uint64_t> generation{0};  // of emulators; a thread's tiles are those of one
std::array<std::atomic<std::uint64_t>, amx_instruction_count> counts{};

struct ThreadState {
    std::uint64_t generation = 0;
    AmxTiles tiles;
    char fault[256] = {};
};
constinit thread_local ThreadState thread_state;

ThreadState& this_thread() {
    const std::uint64_t now = generation.load(std::memory_order_relaxed);
    if (thread_state.generation != now) {
        thread_state.tiles.release();
        thread_state.fault[0] = 0;
        thread_state.generation = now;
    }
    return thread_state;
}

/// Everything but products, see decode_product().
std::optional<AmxInstruction> move_of(ZydisMnemonic mnemonic) {
    switch (mnemonic) {
        case ZYDIS_MNEMONIC_LDTILECFG: return AmxInstruction::ldtilecfg;
        case ZYDIS_MNEMONIC_STTILECFG: return AmxInstruction::sttilecfg;
        case ZYDIS_MNEMONIC_TILERELEASE: return AmxInstruction::tilerelease;
        case ZYDIS_MNEMONIC_TILEZERO: return AmxInstruction::tilezero;
        case ZYDIS_MNEMONIC_TILELOADD: return AmxInstruction::tileloadd;
        case ZYDIS_MNEMONIC_TILELOADDT1: return AmxInstruction::tileloaddt1;
        case ZYDIS_MNEMONIC_TILESTORED: return AmxInstruction::tilestored;
        default: return std::nullopt;
    }
}

std::uint64_t register_value(ZydisRegister reg, const Registers& registers, std::uint64_t next) {
    // In the order of register numbers in instructions.
    static constexpr int slots[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                    REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    if (reg == ZYDIS_REGISTER_NONE) return 0;
    if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP) return next;
    return static_cast<std::uint64_t>(registers[slots[ZydisRegisterGetId(reg)]]);
}

// An address-size prefix cuts every address to 32 bits, and the stride counts in the address only.
AmxMemory memory_of(const ZydisDecodedOperandMem& operand, int address_width, const Registers& registers,
                    std::uint64_t next) {
    AmxMemory memory;
    memory.base =
        register_value(operand.base, registers, next) + static_cast<std::uint64_t>(operand.disp.value);
    memory.stride = register_value(operand.index, registers, next) * operand.scale;
    if (address_width == 32) memory.mask = 0xffff'ffff;
    return memory;
}

// By hand, because Zydis 4.0 does not know TDPFP16PS, and rejects products of a tile with itself, which
// deserve a description: VEX.128.pp.0F38.W0 5C or 5E 11:rrr:bbb. Bits R, X, B and the highest of vvvv, all
// stored inverted, would name tiles from 8 on.
std::optional<Decoded> decode_product(const std::uint8_t* code) {
    using enum AmxInstruction;
    static constexpr AmxInstruction quads[4] = {tdpbuud, tdpbusd, tdpbsud,
                                                tdpbssd};  // by pp: none, 66, F3, F2
    if (code[0] != 0xc4 || code[1] != 0xe2 || (code[2] & 0xc4) != 0x40) return std::nullopt;
    const int pp = code[2] & 3;
    if (!(code[3] == 0x5e || (code[3] == 0x5c && pp >= 2)) || code[4] < 0xc0) return std::nullopt;
    const AmxInstruction instruction = code[3] == 0x5e ? quads[pp] : pp == 2 ? tdpbf16ps : tdpfp16ps;
    return Decoded{instruction, 5, {code[4] >> 3 & 7, code[4] & 7, ~code[2] >> 3 & 7}, {}, false};
}

std::optional<Decoded> decode(const Registers& registers) {
    const auto rip = static_cast<std::uint64_t>(registers[REG_RIP]);
    const auto* code = reinterpret_cast<const std::uint8_t*>(rip);
    if (const auto decoded = decode_product(code)) return decoded;
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    // It reads byte by byte and no further than the instruction goes, which may end at the last byte of its
    // page.
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code, longest_instruction, &instruction, operands)))
        return std::nullopt;
    const auto known = move_of(instruction.mnemonic);
    if (!known) return std::nullopt;
    Decoded decoded{*known, instruction.length, {}, {}, false};
    int* tile = decoded.tiles;
    for (int i = 0; i < instruction.operand_count_visible; ++i) {
        const ZydisDecodedOperand& operand = operands[i];
        if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) *tile++ = ZydisRegisterGetId(operand.reg.value);
        if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY) continue;
        decoded.memory =
            memory_of(operand.mem, instruction.address_width, registers, rip + instruction.length);
        decoded.has_segment =
            operand.mem.segment == ZYDIS_REGISTER_FS || operand.mem.segment == ZYDIS_REGISTER_GS;
    }
    return decoded;
}

AmxFault execute(const Decoded& decoded, AmxTiles& tiles) {
    if (decoded.has_segment) return AmxFault::make("segment overrides are not emulated");
    const auto [first, second, third] = decoded.tiles;
    switch (decoded.instruction) {
        case AmxInstruction::ldtilecfg: return tiles.load_config(decoded.memory.row(0));
        case AmxInstruction::sttilecfg: return tiles.store_config(decoded.memory.row(0)), AmxFault{};
        case AmxInstruction::tilerelease: return tiles.release(), AmxFault{};
        case AmxInstruction::tilezero: return tiles.zero(first);
        case AmxInstruction::tileloadd:
        case AmxInstruction::tileloaddt1: return tiles.load(first, decoded.memory);
        case AmxInstruction::tilestored: return tiles.store(first, decoded.memory);
        case AmxInstruction::tdpbf16ps: return tiles.dot_pairs(AmxFloat::bf16, first, second, third);
        case AmxInstruction::tdpfp16ps: return tiles.dot_pairs(AmxFloat::fp16, first, second, third);
        case AmxInstruction::tdpbssd: return tiles.dot_quads(true, true, first, second, third);
        case AmxInstruction::tdpbsud: return tiles.dot_quads(true, false, first, second, third);
        case AmxInstruction::tdpbusd: return tiles.dot_quads(false, true, first, second, third);
        case AmxInstruction::tdpbuud: return tiles.dot_quads(false, false, first, second, third);
    }
    return {};
}

void report(const Decoded& decoded, const AmxFault& fault, std::uint64_t rip, ThreadState& state) {
    const char* exception = decoded.instruction == AmxInstruction::ldtilecfg ? "#GP" : "#UD";
    *fmt::format_to_n(state.fault, sizeof state.fault - 1, "{} in {} at {:#x}: {}", exception,
                      names[static_cast<std::size_t>(decoded.instruction)], rip, fault.text)
         .out = 0;
    if (!print_faults) return;
    char line[sizeof state.fault + 32];
    const auto end = fmt::format_to_n(line, sizeof line, "AmxEmulator: {}\n", state.fault).out;
    [[maybe_unused]] const auto written = write(STDERR_FILENO, line, static_cast<std::size_t>(end - line));
}

// After the default action is installed, an instruction that returns to itself faults again and dies of it,
// with its registers as they were; a signal that somebody sent does not come again by itself.
void pass_on(int signal, siginfo_t* info, void* context) {
    if (previous.sa_flags & SA_SIGINFO) return previous.sa_sigaction(signal, info, context);
    if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) return previous.sa_handler(signal);
    if (info->si_code <= 0 && previous.sa_handler == SIG_IGN) return;
    struct sigaction fatal = {};
    fatal.sa_handler = SIG_DFL;
    sigaction(signal, &fatal, nullptr);
    if (info->si_code <= 0) raise(signal);
}

// The instructions of AVX512-BF16 that AMX kernels have.
bool convert_to_bf16(ucontext_t& context) {
    greg_t& rip = context.uc_mcontext.gregs[REG_RIP];
    const auto conversion = decode_bf16_conversion(reinterpret_cast<const std::uint8_t*>(rip));
    if (!conversion) return false;
    execute(*conversion, context);
    rip += conversion->length;
    return true;
}

void on_illegal_instruction(int signal, siginfo_t* info, void* context) {
    const int saved_errno = errno;
    Registers& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    const bool trapped = info->si_code > 0;  // else sent by a process, and RIP is anywhere
    if (trapped && convert_to_bf16(*static_cast<ucontext_t*>(context))) return;
    const auto decoded = trapped ? decode(registers) : std::nullopt;
    if (!decoded) return pass_on(signal, info, context);
    ThreadState& state = this_thread();
    if (const AmxFault fault = execute(*decoded, state.tiles)) {
        report(*decoded, fault, static_cast<std::uint64_t>(registers[REG_RIP]), state);
        return pass_on(signal, info, context);
    }
    counts[static_cast<std::size_t>(decoded->instruction)].fetch_add(1, std::memory_order_relaxed);
    registers[REG_RIP] += decoded->length;
    errno = saved_errno;
}

std::array<unsigned, 4> cpuid(unsigned leaf, unsigned subleaf) {
    std::array<unsigned, 4> r{};
    __get_cpuid_count(leaf, subleaf, &r[0], &r[1], &r[2], &r[3]);
    return r;
}

// Bits of CPUID.(7,0):EDX: BF16 22, tiles 24, INT8 25. Of XCR0: configuration 17, data 18. Tile data is
// large, so that Linux lets a process use it only after it has asked.
bool hardware_is_usable() {
    constexpr unsigned features = 1u << 22 | 1u << 24 | 1u << 25, states = 3u << 17, osxsave = 1u << 27;
    constexpr long request_permission = 0x1023 /* ARCH_REQ_XCOMP_PERM */, tile_data = 18;
    if ((cpuid(7, 0)[3] & features) != features || !(cpuid(1, 0)[2] & osxsave)) return false;
    unsigned low = 0, high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & states) == states && syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

}  // namespace

bool AmxEmulator::needed() {
    static const bool result = !hardware_is_usable();
    return result;
}

bool AmxEmulator::runs(AmxInstruction instruction) {
    return needed() || instruction != AmxInstruction::tdpfp16ps || (cpuid(7, 1)[0] & 1u << 21);
}

// SA_NODEFER: a previous handler may leave by longjmp(), and SIGILL must not stay blocked then.
AmxEmulator::AmxEmulator(Report report) {
    const std::lock_guard lock(mutex);
    if (!needed() || alive++ != 0) return;
    print_faults = report == Report::printed;
    generation.fetch_add(1);
    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    sigaction(SIGILL, nullptr, &previous);
    struct sigaction action = {};
    action.sa_sigaction = on_illegal_instruction;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGILL, &action, nullptr);
}

AmxEmulator::~AmxEmulator() {
    const std::lock_guard lock(mutex);
    if (needed() && --alive == 0) sigaction(SIGILL, &previous, nullptr);
}

std::uint64_t AmxEmulator::executed(AmxInstruction instruction) {
    return counts[static_cast<std::size_t>(instruction)].load();
}

std::uint64_t AmxEmulator::executed() {
    std::uint64_t sum = 0;
    for (const auto& count : counts)
        sum += count.load();
    return sum;
}

void AmxEmulator::reset_counts() {
    for (auto& count : counts)
        count = 0;
}

bool AmxEmulator::tiles_configured() { return this_thread().tiles.configured(); }

std::string AmxEmulator::last_fault() { return this_thread().fault; }

}  // namespace tandem::test
