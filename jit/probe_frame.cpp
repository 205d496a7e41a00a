#include "jit/probe_frame.hpp"

namespace tandem::jit {
namespace {

const Gpr rax(Xbyak::Operand::RAX), rsp(Xbyak::Operand::RSP);

// FTZ and DAZ: numbers that shrink must not meet the microcode's help.
constexpr std::uint32_t flush_denormals = 0x8040;

void set_mxcsr(CodeBlock& code) {
    code.sub(rsp, 8);
    code.stmxcsr(code.dword[rsp]);
    code.mov(rax.cvt32(), code.dword[rsp]);
    code.or_(rax.cvt32(), flush_denormals);
    code.mov(code.dword[rsp + 4], rax.cvt32());
    code.ldmxcsr(code.dword[rsp + 4]);
}

void restore_mxcsr(CodeBlock& code) {
    code.ldmxcsr(code.dword[rsp]);
    code.add(rsp, 8);
}

void fill(CodeBlock& code, Isa isa, int index, std::uint32_t bits) {
    code.mov(rax.cvt32(), bits);
    code.vmovd(Xbyak::Xmm(0), rax.cvt32());
    const Vec v = is_avx512(isa) ? Vec(Xbyak::Zmm(index)) : Vec(Xbyak::Ymm(index));
    code.vpbroadcastd(v, Xbyak::Xmm(0));
}

void set_registers(CodeBlock& code, const ProbeFrame& frame) {
    const bool wide = is_avx512(frame.isa);
    for (int i = wide ? 31 : 15; i >= 0; --i)
        fill(code, frame.isa, i, frame.numbers.all);
    fill(code, frame.isa, ProbeRegisters::of(false).second, frame.numbers.second);
    if (wide) fill(code, frame.isa, ProbeRegisters::of(true).second, frame.numbers.second);
    fill(code, frame.isa, 0, frame.numbers.all);
    if (wide) code.kxnorq(Xbyak::Opmask(1), Xbyak::Opmask(1), Xbyak::Opmask(1));
}

const Gpr row_stride(Xbyak::Operand::R8);

void set_tiles(CodeBlock& code) {
    code.ldtilecfg(tile_configuration(code));
    code.mov(row_stride.cvt32(), probe_tile_bytes / probe_tile_rows);
    for (int i = 0; i < 8; ++i)
        code.tileloadd(Xbyak::Tmm(i), code.ptr[probe_memory + row_stride]);
}

}  // namespace

Address tile_configuration(CodeBlock& code) {
    std::array<std::uint32_t, 16> words{1};  // palette 1
    for (std::size_t i = 4; i < 8; ++i)
        words[i] = 64 << 16 | 64;        // bytes of a row, of tiles 0 to 7
    words[12] = words[13] = 0x10101010;  // rows
    return code.constant_line(words);
}

Result<ProbeLoop> emit_probe_loop(const ProbeFrame& frame, double units,
                                  const std::function<void(CodeBlock&)>& body) {
    const Result<EmittedCode> emitted = emit_code([&](CodeBlock& code) {
        code.begin_function("probe loop");
        Label loop, end;
        set_mxcsr(code);
        set_registers(code, frame);
        if (frame.tiles) set_tiles(code);
        if (frame.start) frame.start(code);
        code.test(probe_iterations, probe_iterations);
        code.jle(end, CodeBlock::T_NEAR);
        code.align(64);
        code.L(loop);
        body(code);
        code.dec(probe_iterations);
        code.jnz(loop, CodeBlock::T_NEAR);
        code.L(end);
        if (frame.tiles) code.tilerelease();
        restore_mxcsr(code);
        code.vzeroupper();
        code.ret();
    });
    if (!emitted) return emitted.error();
    return ProbeLoop(emitted->memory, units);
}

}  // namespace tandem::jit
