// Small functions of AMX instructions for tests: a tile configuration, and a way to emit and call code.
#pragma once

#include "support/doctest.hpp"

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>

#include "jit/code_block.hpp"

namespace tandem::test {

struct alignas(64) AmxConfig {
    std::uint8_t palette = 1, start_row = 0, reserved_2[14] = {};
    std::uint16_t colsb[8] = {};
    std::uint8_t reserved_32[16] = {}, rows[8] = {}, reserved_56[8] = {};

    AmxConfig& tile(int n, int tile_rows, int tile_colsb) {
        rows[n] = static_cast<std::uint8_t>(tile_rows);
        colsb[n] = static_cast<std::uint16_t>(tile_colsb);
        return *this;
    }
    bool operator==(const AmxConfig& other) const { return std::memcmp(this, &other, sizeof *this) == 0; }
};
static_assert(sizeof(AmxConfig) == 64);

inline const jit::Gpr rax(Xbyak::Operand::RAX), rcx(Xbyak::Operand::RCX), rdx(Xbyak::Operand::RDX),
    rsi(Xbyak::Operand::RSI), rdi(Xbyak::Operand::RDI);

/// A function that `emit` writes, of up to four pointers or integers.
class EmittedFunction {
public:
    explicit EmittedFunction(const std::function<void(jit::CodeBlock&)>& emit) {
        auto code = jit::emit_code([&](jit::CodeBlock& block) {
            emit(block);
            block.ret();
        });
        REQUIRE(code.ok());
        memory_ = code->memory;
    }
    template <class... Arguments>
    void operator()(Arguments... arguments) const {
        reinterpret_cast<void (*)(Arguments...)>(reinterpret_cast<std::uintptr_t>(memory_->bytes().data()))(
            arguments...);
    }

private:
    std::shared_ptr<const jit::ExecutableMemory> memory_;
};

/// (config): the configuration, and then `emit`.
inline EmittedFunction with_config(const std::function<void(jit::CodeBlock&)>& emit) {
    return EmittedFunction([&](jit::CodeBlock& code) {
        code.ldtilecfg(code.ptr[rdi]);
        emit(code);
        code.tilerelease();
    });
}

}  // namespace tandem::test
