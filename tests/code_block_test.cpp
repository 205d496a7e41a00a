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

TEST_CASE("code block: the last owner unmaps the code") {
    const void* at = nullptr;
    {
        auto code = emit_code([](CodeBlock& block) { block.ret(); });
        REQUIRE(code.ok());
        at = code->memory->bytes().data();
        const auto shared = code->memory;
        code = Error{};
        CHECK(permissions_at(at) == "r-xp");
    }
    CHECK(permissions_at(at) != "r-xp");
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
    REQUIRE_FALSE(code->labels.empty());
    const CodeLabel& label = code->labels.back();
    CHECK(label.text == "constants");
    CHECK(label.offset % 64 == 0);
    const auto bytes = code->memory->bytes();
    CHECK(bytes.size() == label.offset + 2 * 64);
    float lanes[16];
    std::memcpy(lanes, bytes.data() + label.offset, sizeof lanes);
    for (const float lane : lanes)
        CHECK(lane == 1.5f);
    std::uint32_t mask[16];
    std::memcpy(mask, bytes.data() + label.offset + 64, sizeof mask);
    for (int lane = 0; lane < 16; ++lane)
        CHECK(mask[lane] == (lane < 3 ? 0xffffffffu : 0));
    if (!host_isas().empty()) {
        float result[8];
        function_of<void(float*)> (*code)(result);
        for (int lane = 0; lane < 8; ++lane)
            CHECK(result[lane] == (lane < 3 ? 3.0f : 0.0f));
    }
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
    REQUIRE(code->labels.size() == 1);  // those of the first attempt are gone
    CHECK(code->labels[0].offset == 3u << 20);
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
    CHECK(wrong.error().code == ErrorCode::unsupported);
    const auto thrown = emit_code([](CodeBlock&) { throw std::runtime_error("no register is left"); });
    REQUIRE_FALSE(thrown.ok());
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
        CHECK(code.error().message.find(std::to_string(std::abs(value))) != std::string::npos);
    }
}
