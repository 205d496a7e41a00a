#include "jit/stage_body.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include <fmt/format.h>

#include "core/plan/ceil_div.hpp"

namespace tandem::jit {

Label& Routines::get(const std::string& key, std::function<void()> emit) {
    const auto [it, fresh] = by_key_.try_emplace(key, routines_.size());
    if (fresh) {
        routines_.emplace_back();
        routines_.back().key = key;
        routines_.back().emit = std::move(emit);
    }
    return routines_[it->second].label;
}

void Routines::emit_pending(CodeBlock& code) {
    for (; emitted_ < routines_.size(); ++emitted_) {  // a routine may ask for further ones
        code.begin_routine(routines_[emitted_].key);
        code.L(routines_[emitted_].label);
        routines_[emitted_].emit();
        code.ret();
    }
}

std::vector<BlockRun> block_runs(const Axis& axis, const SegmentShape& segment, std::int64_t at_most,
                                 std::int64_t step) {
    std::vector<BlockRun> runs;
    std::int64_t x = 0;
    for (const std::int64_t steps : balanced_split(ceil_div(segment.width, step), at_most / step)) {
        const std::int64_t width = std::min(steps * step, segment.width - x);
        const std::int64_t first = x * axis.stride;
        const std::int64_t reach = (width - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1;
        const std::int64_t lo = std::clamp<std::int64_t>(segment.columns.begin - first, 0, reach);
        const std::int64_t hi = std::clamp<std::int64_t>(segment.columns.end - first, lo, reach);
        const BlockRun run{width, 1, {lo, hi}};
        if (!runs.empty() && runs.back().width == run.width && runs.back().columns == run.columns) {
            ++runs.back().count;
        } else {
            runs.push_back(run);
        }
        x += width;
    }
    return runs;
}

void emit_loop(CodeBlock& code, const Xbyak::Operand& counter, std::int64_t count,
               const std::function<void()>& body) {
    if (count <= 0) return;
    if (count == 1) return body();
    const auto set = [&] {
        if (counter.isMEM()) {
            code.mov(static_cast<const Address&>(counter), static_cast<std::uint32_t>(count));
        } else {
            code.mov(static_cast<const Gpr&>(counter).cvt32(), static_cast<std::uint32_t>(count));
        }
    };
    set();
    Label again;
    code.align(16);
    code.L(again);
    body();
    if (counter.isMEM()) {
        code.dec(static_cast<const Address&>(counter));
    } else {
        code.dec(static_cast<const Gpr&>(counter).cvt32());
    }
    code.jnz(again, CodeBlock::T_NEAR);
}

void emit_prefetch_upcoming(CodeBlock& code, const Gpr& args, const Gpr& scratch, std::int64_t cycles) {
    // A 7x7 layer has 25 cycles of FMAs for each line of its weights, and the next one's are as many. Twice
    // the lines gained less: they hold up the kernel's own (docs/performance.md).
    constexpr std::int64_t cycles_a_line = 28, most_lines = 8;
    const std::int64_t lines = std::clamp<std::int64_t>(cycles / cycles_a_line, 1, most_lines);
    const Address upcoming = code.qword[args + offsetof(TileArgs, upcoming)];
    Label done;
    code.mov(scratch, upcoming);
    code.cmp(scratch, code.qword[args + offsetof(TileArgs, upcoming_end)]);
    code.jae(done);
    for (std::int64_t line = 0; line < lines; ++line)
        code.prefetcht1(code.ptr[scratch + static_cast<std::size_t>(line * line_bytes)]);
    code.add(upcoming, immediate(lines * line_bytes));
    code.L(done);
}

std::uint32_t immediate(std::int64_t value) {
    if (value < 0 || value > std::numeric_limits<std::int32_t>::max())
        throw std::overflow_error(
            fmt::format("a step of {} bytes does not fit the 32 bits of an instruction's immediate", value));
    return static_cast<std::uint32_t>(value);
}

void emit_add(CodeBlock& code, const Gpr& reg, std::int64_t value) {
    if (value > 0) code.add(reg, immediate(value));
    if (value < 0) code.sub(reg, immediate(-value));
}

}  // namespace tandem::jit
