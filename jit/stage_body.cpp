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
        routines_.back().emit = std::move(emit);
    }
    return routines_[it->second].label;
}

void Routines::emit_pending(CodeBlock& code) {
    for (; emitted_ < routines_.size(); ++emitted_) {  // a routine may ask for further ones
        code.align(64);
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
