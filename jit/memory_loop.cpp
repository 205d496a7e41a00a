#include "jit/memory_loop.hpp"

#include <bit>

#include "jit/probe_frame.hpp"

namespace tandem::jit {
namespace {

const Gpr rax(Xbyak::Operand::RAX), rcx(Xbyak::Operand::RCX), r8(Xbyak::Operand::R8), r9(Xbyak::Operand::R9),
    r10(Xbyak::Operand::R10), r11(Xbyak::Operand::R11);

constexpr int line_shift = 6;
constexpr std::int64_t line = 64, page = 4096;
constexpr int stream_vectors = 16;  // in a round: going back takes three cycles, which must not count
constexpr int loads = 24;           // of an awkward access in a loop

// An additive sequence modulo a power of two, with constants of Knuth's MMIX: all lines come once.
constexpr std::uint64_t factor = 6364136223846793005u, summand = 1442695040888963407u;

ProbeFrame frame_of(Isa isa) {
    ProbeFrame frame;
    frame.isa = isa;
    frame.numbers = {0x3ebd3ebd, 0xbebd3ebd};
    return frame;
}

Vec vector_of(Isa isa, int index) { return is_avx512(isa) ? Vec(Xbyak::Zmm(index)) : Vec(Xbyak::Ymm(index)); }
std::int64_t vector_bytes_of(Isa isa) { return is_avx512(isa) ? 64 : 32; }

/// r9 = a line of its own at each call, so that no call finds what the last one left in the caches; r10 = the
/// mask of lines. rdx is probe_bytes and the clock's.
void start_somewhere(CodeBlock& code) {
    code.mov(r10, probe_bytes);
    code.shr(r10, line_shift);
    code.dec(r10);
    code.rdtsc();
    code.mov(rcx, factor);
    code.imul(rax, rcx);
    code.shr(rax, 16);
    code.mov(r9, rax);
    code.and_(r9, r10);
}

void emit_stream_step(CodeBlock& code, Stream stream, Isa isa, int i) {
    const std::int64_t at = i * vector_bytes_of(isa);
    if (stream != Stream::write) code.vmovups(vector_of(isa, i), code.ptr[rax + at]);
    if (stream == Stream::write) code.vmovups(code.ptr[rax + at], vector_of(isa, 0));
    if (stream == Stream::copy) code.vmovups(code.ptr[rax + r8 + at], vector_of(isa, i));
}

// (to the power of `distance`, and the sum that goes with it)
std::pair<std::uint64_t, std::uint64_t> ahead(int distance) {
    std::uint64_t a = 1, c = 0;
    for (int i = 0; i < distance; ++i)
        a *= factor, c = c * factor + summand;
    return {a, c};
}

void emit_awkward(CodeBlock& code, AwkwardAccess access, Isa isa, int i) {
    const Vec v = vector_of(isa, i % 8);
    const Vec own = vector_of(isa, 0);
    const Xbyak::Xmm narrow(0);
    const std::int64_t split = line - vector_bytes_of(isa) / 2;
    switch (access) {
        case AwkwardAccess::aligned_load: return code.vmovups(v, code.ptr[probe_memory + i * line]);
        case AwkwardAccess::line_split: return code.vmovups(v, code.ptr[probe_memory + i * line + split]);
        case AwkwardAccess::page_split:
            return code.vmovups(v, code.ptr[probe_memory + (i % 8 + 1) * page - vector_bytes_of(isa) / 2]);
        case AwkwardAccess::forward:
            code.vmovups(code.ptr[probe_memory], own);
            return code.vmovups(own, code.ptr[probe_memory]);
        case AwkwardAccess::forward_narrow:
            code.vmovups(code.ptr[probe_memory], own);
            return code.vmovups(narrow, code.ptr[probe_memory + 16]);
        case AwkwardAccess::forward_wide:
            code.vmovups(code.ptr[probe_memory], narrow);
            code.vmovups(code.ptr[probe_memory + 16], narrow);
            return code.vmovups(own, code.ptr[probe_memory]);
        case AwkwardAccess::alias_4k:
            code.vmovups(code.ptr[probe_memory + page], own);
            return code.vmovups(own, code.ptr[probe_memory]);
        case AwkwardAccess::no_alias:
            code.vmovups(code.ptr[probe_memory + page + page / 2], own);
            return code.vmovups(own, code.ptr[probe_memory]);
    }
}

}  // namespace

const char* to_string(Stream stream) noexcept {
    switch (stream) {
        case Stream::read: return "read";
        case Stream::write: return "write";
        case Stream::copy: return "copy";
    }
    return "?";
}

// One loop over all passes, that goes back to the start without a branch: the inner of two loops would be
// mispredicted at the end of each pass.
Result<ProbeLoop> stream_loop(Stream stream, Isa isa) {
    const auto step = static_cast<std::uint32_t>(stream_vectors * vector_bytes_of(isa));
    ProbeFrame frame = frame_of(isa);
    frame.start = [&](CodeBlock& code) {
        code.mov(r8, probe_bytes);
        if (stream == Stream::copy) code.shr(r8, 1);  // what one of both halves has
        code.lea(r9, code.ptr[probe_memory + r8]);
        code.mov(rax, r8);
        code.shr(rax, std::countr_zero(step));
        code.imul(probe_iterations, rax);
        code.mov(rax, probe_memory);
    };
    return emit_probe_loop(frame, 1, [&](CodeBlock& code) {
        for (int i = 0; i < stream_vectors; ++i)
            emit_stream_step(code, stream, isa, i);
        code.add(rax, step);
        code.cmp(rax, r9);
        code.cmovae(rax, probe_memory);
    });
}

Result<ProbeLoop> tile_stream_loop(std::int64_t stride, Isa isa) {
    constexpr int tiles = 8;  // in turn: a load must not wait for the one before
    ProbeFrame frame = frame_of(isa);
    frame.tiles = true;
    frame.start = [&](CodeBlock& code) {
        code.mov(r8.cvt32(), static_cast<std::uint32_t>(stride));
    };
    return emit_probe_loop(frame, 1, [&](CodeBlock& code) {
        Label rows, end;
        code.mov(rax, probe_memory);
        code.lea(r9, code.ptr[probe_memory + probe_bytes]);
        code.L(rows);
        for (int tile = 0; tile < tiles; ++tile) {
            Label columns;
            code.lea(r10, code.ptr[rax + stride]);
            code.L(columns);
            code.tileloadd(Xbyak::Tmm(tile), code.ptr[rax + r8]);
            code.add(rax, static_cast<std::uint32_t>(line));
            code.cmp(rax, r10);
            code.jb(columns);
            code.add(rax, static_cast<std::uint32_t>(stride * (probe_tile_rows - 1)));
            code.cmp(rax, r9);
            code.jae(end, CodeBlock::T_NEAR);
        }
        code.jmp(rows, CodeBlock::T_NEAR);
        code.L(end);
    });
}

Result<ProbeLoop> chase_loop() {
    constexpr int steps = 16;
    ProbeFrame frame;
    frame.start = [](CodeBlock& code) {
        start_somewhere(code);
        code.shl(r9, line_shift);
        code.add(r9, probe_memory);
    };
    return emit_probe_loop(frame, steps, [](CodeBlock& code) {
        for (int i = 0; i < steps; ++i)
            code.mov(r9, code.ptr[r9]);
    });
}

std::uint64_t next_line(std::uint64_t at, std::uint64_t lines) noexcept {
    return (at * factor + summand) & (lines - 1);
}

Result<ProbeLoop> prefetch_loop(int distance) {
    const auto [factor_ahead, summand_ahead] = ahead(distance);
    ProbeFrame frame;
    frame.start = [](CodeBlock& code) {
        start_somewhere(code);
        code.mov(r11, factor);
    };
    return emit_probe_loop(frame, 1,
                           [&, factor_ahead = factor_ahead, summand_ahead = summand_ahead](CodeBlock& code) {
                               code.mov(rax, r9);
                               code.shl(rax, line_shift);
                               code.add(r9, code.ptr[probe_memory + rax]);  // 0, once it has arrived
                               if (distance > 0) {
                                   code.mov(rax, factor_ahead);
                                   code.imul(rax, r9);
                                   code.mov(rcx, summand_ahead);
                                   code.add(rax, rcx);
                                   code.and_(rax, r10);
                                   code.shl(rax, line_shift);
                                   code.prefetcht0(code.ptr[probe_memory + rax]);
                               }
                               code.imul(r9, r11);
                               code.mov(rcx, summand);
                               code.add(r9, rcx);
                               code.and_(r9, r10);
                           });
}

const char* to_string(AwkwardAccess access) noexcept {
    switch (access) {
        case AwkwardAccess::aligned_load: return "load within a line";
        case AwkwardAccess::line_split: return "load across two lines";
        case AwkwardAccess::page_split: return "load across two pages";
        case AwkwardAccess::forward: return "store, load of the same";
        case AwkwardAccess::forward_narrow: return "store, load of a part";
        case AwkwardAccess::forward_wide: return "two stores, load of both";
        case AwkwardAccess::alias_4k: return "store, load 4 KB away";
        case AwkwardAccess::no_alias: return "store, load elsewhere";
    }
    return "?";
}

Result<ProbeLoop> awkward_loop(AwkwardAccess access, Isa isa) {
    return emit_probe_loop(frame_of(isa), loads, [&](CodeBlock& code) {
        for (int i = 0; i < loads; ++i)
            emit_awkward(code, access, isa, i);
    });
}

}  // namespace tandem::jit
