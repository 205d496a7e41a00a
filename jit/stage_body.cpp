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

void emit_rounding(const StageContext& context, const Vec& acc, std::span<const int> temps) {
    if (context.out_dtype == DataType::f32 || is_quantized(context.out_dtype)) return;
    const Element element = element_of(context.out_dtype);
    if (element != context.out_element)
        emit_round(context.simd, element, acc, temps);  // else the store rounds
}

namespace {

void store_whole(const StageContext& context, const Address& to, const Vec& v, std::span<const int> temps) {
    if (element_parts(context.out_element) > 1)
        emit_store_parts(context.simd, context.out_element, to, context.out.part, v, temps);
    else
        emit_store(context.simd, context.out_element, to, v, {}, temps);
}

}  // namespace

void emit_store(const StageContext& context, const Address& to, const Vec& acc, int tail_lanes, int mask,
                std::span<const int> temps) {
    const Simd& simd = context.simd;
    const TailVector tail = context.tail_vector(tail_lanes);
    const Simd::Lanes lanes{tail.lanes, mask};
    const Vec full = simd.vec(acc.getIdx());
    switch (context.tail_store) {
        case TailStore::masked: emit_store(simd, context.out_element, to, acc, lanes, temps); break;
        case TailStore::zeroed:
        case TailStore::cleared:
            simd.clear_tail(acc, lanes);
            store_whole(context, to, full, temps);  // a half-width write has cleared the upper half
            break;
        case TailStore::anything: store_whole(context, to, full, temps); break;
    }
}

void emit_stores(const StageContext& context, std::span<const VectorStore> stores, int mask,
                 std::span<const int> temps) {
    std::vector<VectorStore> whole;
    for (const VectorStore& store : stores) {
        const bool paired = stores_pairs(context.simd, context.out_element) && store.tail_lanes == 0;
        if (paired)
            whole.push_back(store);
        else
            emit_store(context, store.to, store.acc, store.tail_lanes, mask, temps);
    }
    const auto displacement = [](const VectorStore& store) {
        return static_cast<std::int64_t>(store.to.getRegExp().getDisp());
    };
    std::ranges::stable_sort(whole, {}, displacement);
    // Neighbours in memory first: a pair of them is one store.
    const auto store_pair = [&](const VectorStore& first, const VectorStore& second) {
        emit_store_pair(context.simd, context.out_element, {first.to, second.to, context.out.part}, first.acc,
                        second.acc, temps);
    };
    std::vector<VectorStore> apart;
    for (std::size_t i = 0; i < whole.size(); ++i) {
        const bool adjacent = i + 1 < whole.size() && displacement(whole[i + 1]) - displacement(whole[i]) ==
                                                          context.simd.lanes * context.out.element;
        if (adjacent) {
            store_pair(whole[i], whole[i + 1]);
            ++i;
        } else {
            apart.push_back(whole[i]);
        }
    }
    for (std::size_t i = 0; i + 1 < apart.size(); i += 2)
        store_pair(apart[i], apart[i + 1]);
    if (apart.size() % 2 == 1) emit_store(context, apart.back().to, apart.back().acc, 0, mask, temps);
}

void emit_pad_block(const StageContext& context, const GroupRun& run, const Address& to, int scratch) {
    if (!run.pads_block || context.tail_store != TailStore::zeroed) return;
    CodeBlock& code = context.simd.code;
    const Xbyak::Ymm zero(scratch);  // only blocks of 16 channels in vectors of 8 have such padding
    context.simd.zero(zero);
    switch (element_bytes(context.out_element)) {
        case 4: code.vmovups(to, zero); break;
        case 2: code.vmovups(to, Xbyak::Xmm(scratch)); break;
        default: code.vmovq(to, Xbyak::Xmm(scratch)); break;
    }
}

}  // namespace tandem::jit
