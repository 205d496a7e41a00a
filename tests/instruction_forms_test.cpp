// The table of instruction forms against what kernels are made of, and every form on this host.
#include "jit/instruction_forms.hpp"

#include <Zydis/Zydis.h>

#include <set>
#include <string>

#include "core/cpu/cycle_clock.hpp"
#include "core/plan/problem.hpp"
#include "core/run/amx_permission.hpp"
#include "core/run/compile.hpp"
#include "jit/memory_loop.hpp"
#include "support/doctest.hpp"
#include "tests/amx_emulator.hpp"

using namespace tandem;

namespace {

/// Mnemonics of the parts of kernels that are neither scalar nor data.
void add_mnemonics(std::span<const std::byte> code, std::span<const CodeSymbol> symbols,
                   std::set<std::string>& found) {
    ZydisDecoder decoder;
    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    std::size_t end = code.size();
    for (const CodeSymbol& symbol : symbols)
        if (symbol.kind == CodeSymbolKind::constants) end = std::min(end, symbol.offset);
    for (std::size_t at = 0; at < end;) {
        ZydisDecodedInstruction instruction;
        ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
        if (!ZYAN_SUCCESS(
                ZydisDecoderDecodeFull(&decoder, code.data() + at, end - at, &instruction, operands))) {
            ++at;  // between routines
            continue;
        }
        const std::string mnemonic = ZydisMnemonicGetString(instruction.mnemonic);
        for (const char* const start : {"v", "t", "ldtile", "sttile", "prefetch", "k"})
            if (mnemonic.starts_with(start) && mnemonic != "test") found.insert(mnemonic);
        at += instruction.length;
    }
}

std::set<std::string> mnemonics_of_kernels() {
    std::set<std::string> found;
    const std::string stages[] = {
        "1x24x14x14:conv1o48+bias+relu6:dw3s2+bias+relu6:conv1o24+bias+sum",
        "1x20x9x9:dw3+bias+swish:conv1o40+bias+prelu", "1x3x17x17:conv3o32s2+bias+relu:dw3+bias",
        "1x64x14x14:conv3o64+bias+relu:conv1o64+sum+relu", "1x16x9x9:dw5+bias+clip(-1,2):conv3o8"};
    const std::string types[] = {"f32/fast", "f32/strict",    "f32/bf16",       "bf16/fast", "f16/fast",
                                 "f16/f16",  "u8-s8-u8/fast", "u8-u8-f32/fast", "s8/fast"};
    const std::string layouts[] = {"nhwc", "nchw16c", "nchw8c", "in=nchw/out=nchw"};
    int kernels = 0;
    for (const std::string& stage : stages) {
        for (const std::string& type : types) {
            for (const std::string& layout : layouts) {
                const Result<ConvChain> chain = ConvChain::parse(stage + "/" + layout + "/" + type);
                const Result<Problem> problem = chain ? make_problem(*chain) : Result<Problem>(chain.error());
                if (!problem) continue;
                for (const Isa isa : isa_presets) {
                    const Machine machine = imagined_machine(least_isa(chain->dtype, chain->math, isa));
                    const Result<Kernel> kernel = kernel_for(*problem, machine, 1);
                    if (!kernel) continue;
                    ++kernels;
                    add_mnemonics(kernel->code(), kernel->symbols(), found);
                }
            }
        }
    }
    CHECK(kernels > 300);
    return found;
}

}  // namespace

TEST_CASE("instruction forms: the table has every vector, tile and prefetch instruction of kernels") {
    // At the edges of tensors only, or once in a call.
    const std::set<std::string> exceptions{"vzeroupper", "vmovd",   "vmovq",   "vmovss",    "vpextrb",
                                           "vpextrw",    "vpextrd", "vpinsrb", "vpinsrw",   "vpinsrd",
                                           "kmovw",      "kmovq",   "kmovd",   "ldtilecfg", "tilerelease"};
    std::set<std::string> table{"vpaddd"};
    for (const jit::InstructionForm& form : jit::instruction_forms())
        table.insert(form.mnemonic);
    const std::set<std::string> found = mnemonics_of_kernels();
    CHECK(found.contains("vfmadd231ps"));
    CHECK(found.contains("tdpbf16ps"));
    CHECK(found.contains("vpdpbusd"));
    for (const std::string& mnemonic : found)
        if (!exceptions.contains(mnemonic)) CHECK_MESSAGE(table.contains(mnemonic), mnemonic);
}

TEST_CASE("instruction forms: names are one's own, and what they say of memory is so") {
    std::set<std::string> names;
    for (const jit::InstructionForm& form : jit::instruction_forms()) {
        CAPTURE(form.name());
        CHECK(names.insert(form.name()).second);
        CHECK(jit::find_form(form.name()) == &form);
        CHECK_FALSE((form.reads_memory() && form.writes_memory()));
    }
    const jit::InstructionForm* const fma = jit::find_form("vfmadd231ps zmm, zmm, m{1to16}");
    REQUIRE(fma);
    CHECK(fma->reads_memory());
    CHECK(fma->needs == Isa::avx512);
    REQUIRE(jit::find_form("vfmadd231ps ymm, ymm, m{1to8}"));
    REQUIRE(jit::find_form("vmovups m, ymm"));
    CHECK(jit::find_form("vmovups m, ymm")->writes_memory());
    CHECK(jit::find_form("vcvtps2ph ymm, zmm, i"));
    CHECK(jit::find_form("prefetcht0 m")->reads_memory());
    CHECK_FALSE(jit::find_form("vmulps zmm, zmm, zmm")->reads_memory());
    CHECK(jit::find_form("nonsense") == nullptr);
}

TEST_CASE("instruction forms: every form assembles for its ISA and runs where the host has it") {
    const test::AmxEmulator emulator;
    Result<ProbeMemory> memory = ProbeMemory::create(jit::probe_memory_bytes);
    REQUIRE(memory.ok());
    memory->fill(0x3ebd3ebd);
    int ran = 0;
    for (const jit::InstructionForm& form : jit::instruction_forms()) {
        CAPTURE(form.name());
        const Result<jit::ProbeLoop> loops[] = {jit::throughput_loop(form, form.needs),
                                                jit::mixed_loop(form, 1, 3, form.needs)};
        for (const Result<jit::ProbeLoop>& loop : loops) {
            REQUIRE_MESSAGE(loop.ok(), loop.error().message);
            if (!host_offers(form.needs) || (has_amx(form.needs) && !request_amx())) continue;
            loop->run(2, memory->data());
            ++ran;
        }
        const Result<jit::ProbeLoop> chain = jit::latency_loop(form, form.needs);
        CHECK(chain.ok() == (form.chain != jit::FormChain::none));
        if (chain && host_offers(form.needs) && (!has_amx(form.needs) || request_amx()))
            chain->run(2, memory->data());
    }
    CHECK(ran > 50);
    CHECK_FALSE(test::AmxEmulator::tiles_configured());
}

TEST_CASE("instruction forms: no iterations run nothing, and stores stay inside the memory") {
    Result<ProbeMemory> memory = ProbeMemory::create(2 * jit::probe_memory_bytes);
    REQUIRE(memory.ok());
    memory->fill(7);
    for (const jit::InstructionForm* const form : jit::instruction_forms(host_machine()->features)) {
        if (has_amx(form->needs)) continue;
        const Result<jit::ProbeLoop> loop = jit::throughput_loop(*form, form->needs);
        REQUIRE(loop.ok());
        loop->run(0, memory->data());
        if (!form->writes_memory()) continue;
        loop->run(1, memory->data());
    }
    const auto* const words = reinterpret_cast<const std::uint32_t*>(memory->data());
    const std::size_t limit = jit::probe_memory_bytes / 4;
    for (std::size_t i = limit; i < 2 * limit; ++i)
        REQUIRE(words[i] == 7);
    CHECK(std::any_of(words, words + limit, [](std::uint32_t word) { return word != 7; }));
}
