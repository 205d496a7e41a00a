// Generated code in memory: never writable and executable, constants behind it, room found for any size.
#include "jit/code_block.hpp"

#include "support/doctest.hpp"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "core/plan/machine.hpp"
#include "jit/stage_body.hpp"
#include "tandem/context.hpp"

using namespace tandem;
using namespace tandem::jit;

namespace {

struct Mapping {
    std::uintptr_t begin = 0, end = 0;
    std::string permissions;  // "r-xp"
};

std::vector<Mapping> mappings() {
    std::vector<Mapping> all;
    std::ifstream file("/proc/self/maps");
    for (std::string line; std::getline(file, line);) {
        Mapping mapping;
        std::istringstream words(line);
        char dash = 0;
        words >> std::hex >> mapping.begin >> dash >> mapping.end >> mapping.permissions;
        all.push_back(mapping);
    }
    return all;
}

/// "" where nothing is mapped.
std::string permissions_at(const void* address) {
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    for (const Mapping& mapping : mappings())
        if (mapping.begin <= at && at < mapping.end) return mapping.permissions;
    return {};
}

bool anything_writable_and_executable() {
    for (const Mapping& mapping : mappings())
        if (mapping.permissions.find('w') != std::string::npos &&
            mapping.permissions.find('x') != std::string::npos)
            return true;
    return false;
}

template <class Function>
Function* function_of(const EmittedCode& code) {
    return reinterpret_cast<Function*>(reinterpret_cast<std::uintptr_t>(code.memory->bytes().data()));
}

}  // namespace

TEST_CASE("code block: pages of a kernel are executable and not writable, and nothing is both") {
    const bool before =
        anything_writable_and_executable();  // of the process that runs the tests, e.g. a sanitizer's
    Context context;
    const auto kernel = context.dispatch(*ConvPair::parse("1x20x8x8:dw3+bias+relu6:conv1o24+bias"));
    REQUIRE(kernel.ok());
    const auto code = kernel->code();
    REQUIRE_FALSE(code.empty());
    CHECK(permissions_at(code.data()) == "r-xp");
    CHECK(permissions_at(code.data() + code.size() - 1) == "r-xp");
    CHECK(anything_writable_and_executable() == before);
}

TEST_CASE("code block: while code is emitted its pages are not executable") {
    std::string during = "not emitted";
    const auto code = emit_code([&](CodeBlock& block) {
        block.ret();
        during = permissions_at(block.getCode());
    });
    REQUIRE(code.ok());
    CHECK(during.starts_with("rw-"));
}

TEST_CASE("code block: the last owner gives the code's memory back") {
    const std::byte* at = nullptr;
    {
        auto code = emit_code([](CodeBlock& block) { block.ret(); });
        REQUIRE(code.ok());
        at = code->memory->bytes().data();
        const auto shared = code->memory;
        code = Error{};
        CHECK(permissions_at(at) == "r-xp");
        CHECK(*at == std::byte{0xc3});
    }
    // Pages may stay with what they are part of, but then they are new ones.
    CHECK((permissions_at(at) != "r-xp" || *at == std::byte{0}));
}

TEST_CASE("code block: constants are aligned, shared when equal, and hold what was asked for") {
    const auto code = emit_code([](CodeBlock& block) {
        block.vmovups(Xbyak::Ymm(0), block.constant(1.5f));
        block.vaddps(Xbyak::Ymm(0), Xbyak::Ymm(0), block.constant(1.5f));
        block.vandps(Xbyak::Ymm(0), Xbyak::Ymm(0), block.lane_mask(3));
        block.vmovups(block.ptr[Gpr(Xbyak::Operand::RDI)], Xbyak::Ymm(0));
        block.vzeroupper();
        block.ret();
    });
    REQUIRE(code.ok());
    REQUIRE_FALSE(code->symbols.empty());
    const CodeSymbol& constants = code->symbols.back();
    CHECK(constants.kind == CodeSymbolKind::constants);
    CHECK(constants.offset % 64 == 0);
    CHECK(constants.size == 2 * 64);
    const auto bytes = code->memory->bytes();
    CHECK(bytes.size() == constants.offset + constants.size);
    float lanes[16];
    std::memcpy(lanes, bytes.data() + constants.offset, sizeof lanes);
    for (const float lane : lanes)
        CHECK(lane == 1.5f);
    std::uint32_t mask[16];
    std::memcpy(mask, bytes.data() + constants.offset + 64, sizeof mask);
    for (int lane = 0; lane < 16; ++lane)
        CHECK(mask[lane] == (lane < 3 ? 0xffffffffu : 0));
    if (!host_isas().empty()) {
        float result[8];
        function_of<void(float*)> (*code)(result);
        for (int lane = 0; lane < 8; ++lane)
            CHECK(result[lane] == (lane < 3 ? 3.0f : 0.0f));
    }
}

TEST_CASE("code block: functions, routines and constants are told apart, with sizes; notes lie in them") {
    const auto code = emit_code([](CodeBlock& block) {
        const auto nops = [&](int count) {
            for (int i = 0; i < count; ++i)
                block.nop();
        };
        CHECK(block.begin_function("one") == 0);
        block.note("prologue");
        nops(10);
        block.note("body");
        block.vmovups(Xbyak::Ymm(0), block.constant(1.5f));
        nops(2);
        CHECK(block.begin_routine("key") == 64);
        block.note("a routine's name");
        nops(3);
        block.note("its end");
        block.ret();
        block.begin_routine("unnoted");
        block.ret();
    });
    REQUIRE(code.ok());
    using enum CodeSymbolKind;
    const std::size_t body = 8 + 2;  // vmovups ymm, [rip + d32] and the nops
    const std::vector<CodeSymbol> expected{
        {0, 10 + body, function, "one"},      {0, 10, note, "prologue"}, {10, body, note, "body"},
        {64, 4, routine, "a routine's name"}, {67, 1, note, "its end"},  {128, 1, routine, "unnoted"},
        {192, 64, constants, "constants"}};
    CHECK(code->symbols == expected);
}

TEST_CASE("code block: the symbols of a kernel are sorted, do not overlap, and are named by stage") {
    Context context;
    ConvPair pair = *ConvPair::parse("1x64x20x20:conv3o64+bias+relu:conv3o64+bias");  // Winograd, both
    const auto kernel = context.dispatch(pair, {.isa = Isa::avx2});
    REQUIRE(kernel.ok());
    std::size_t end = 0, at = 0;
    int functions = 0, first_gemms = 0, second_gemms = 0;
    for (const CodeSymbol& symbol : kernel->symbols()) {
        CHECK(symbol.offset >= at);
        CHECK(symbol.size > 0);
        at = symbol.offset;
        if (symbol.kind == CodeSymbolKind::note) {
            CHECK(symbol.offset + symbol.size <= end);
            continue;
        }
        CHECK(symbol.offset >= end);
        end = symbol.offset + symbol.size;
        functions += symbol.kind == CodeSymbolKind::function;
        first_gemms += symbol.name.starts_with("first: GEMM");
        second_gemms += symbol.name.starts_with("second: GEMM");
    }
    CHECK(end == kernel->code().size());
    CHECK(functions > 0);
    CHECK(first_gemms > 0);
    CHECK(second_gemms > 0);
}

TEST_CASE("code block: code that does not fit is emitted again on more room") {
    int attempts = 0;
    const auto code = emit_code([&](CodeBlock& block) {
        ++attempts;
        for (int i = 0; i < 3 << 20; ++i)
            block.db(0x90);
        block.note("the end");
        block.mov(Xbyak::Reg32(Xbyak::Operand::EAX), 42);
        block.ret();
    });
    REQUIRE(code.ok());
    CHECK(attempts == 2);
    CHECK(code->memory->bytes().size() > 3u << 20);
    REQUIRE(code->symbols.size() == 1);  // those of the first attempt are gone
    CHECK(code->symbols[0] == CodeSymbol{3u << 20, 6, CodeSymbolKind::note, "the end"});
    CHECK(function_of<int()>(*code)() == 42);
}

TEST_CASE("code block: too much code, the assembler's errors and those of the emitters are sentences") {
    const auto huge = emit_code([](CodeBlock& block) {
        for (int i = 0; i < 65 << 20; ++i)
            block.db(0x90);
    });
    REQUIRE_FALSE(huge.ok());
    CHECK(huge.error().code == ErrorCode::unsupported);
    CHECK(huge.error().message.find("assembler") != std::string::npos);
    const auto wrong = emit_code([](CodeBlock& block) {
        Label nowhere;
        block.jmp(nowhere, Xbyak::CodeGenerator::T_SHORT);
        for (int i = 0; i < 300; ++i)
            block.nop();
        block.L(nowhere);
    });
    REQUIRE_FALSE(wrong.ok());
    CHECK(wrong.error().code == ErrorCode::internal);
    const auto thrown = emit_code([](CodeBlock&) { throw std::runtime_error("no register is left"); });
    REQUIRE_FALSE(thrown.ok());
    CHECK(thrown.error().code == ErrorCode::internal);
    CHECK(thrown.error().message == "Emitting the kernel failed: no register is left.");
}

TEST_CASE("a step that does not fit an immediate is an error, not a wrong address") {
    const auto add = [](std::int64_t value) {
        return emit_code([value](CodeBlock& code) {
            emit_add(code, Xbyak::util::rax, value);
            code.ret();
        });
    };
    constexpr std::int64_t most = (std::int64_t{1} << 31) - 1;
    CHECK(add(most).ok());
    CHECK(add(-most).ok());
    for (const std::int64_t value : {most + 1, -most - 1, std::int64_t{1} << 32}) {
        const auto code = add(value);
        REQUIRE(!code.ok());
        CHECK(code.error().code == ErrorCode::overflow);
        CHECK(code.error().message.find(std::to_string(std::abs(value))) != std::string::npos);
    }
}
