#include "jit/dense_rows.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "core/plan/register_budget.hpp"
#include "jit/pixel_pairs.hpp"

namespace tandem::jit {
namespace {

// What rows with these kernel rows inside the image get of their sum in a K block. A row without any gets
// its bias in the first one.
std::optional<DensePass> pass_of(const Stage& stage, const Span& taps, const KBlock& k) {
    const bool first_channels = k.channels.begin == 0, last_channels = k.channels.end == stage.in_channels;
    if (taps.size() == 0)
        return k.kernel_rows.begin == 0 && first_channels ? std::optional(DensePass{}) : std::nullopt;
    const Span rows{std::max(taps.begin, k.kernel_rows.begin), std::min(taps.end, k.kernel_rows.end)};
    if (rows.size() <= 0) return std::nullopt;
    return DensePass{rows, k.channels.size(), first_channels && rows.begin == taps.begin,
                     last_channels && rows.end == taps.end};
}

}  // namespace

// Where all columns are padding, no kernel row matters.
std::vector<DenseRowRun> dense_row_runs(const Stage& stage, const StageTile& tile, const KBlock& k) {
    std::vector<DenseRowRun> runs;
    for (std::size_t i = 0; i < tile.taps.size(); ++i) {
        const auto row = static_cast<std::int64_t>(i);
        const std::optional<DensePass> pass =
            pass_of(stage, tile.segment.columns.size() > 0 ? tile.taps[i] : Span{}, k);
        if (!pass) continue;
        if (runs.empty() || runs.back().row + runs.back().count != row || runs.back().pass != *pass)
            runs.push_back({row, 0, *pass});
        ++runs.back().count;
    }
    return runs;
}

DenseRows::DenseRows(const StageContext& context, const Gpr& args, RegPool& gprs)
    : context_(context), code_(context.simd.code), args_(args),
      has_sum_(context.stage->conv.has(PostOpKind::sum)), rows_(gprs.lease("input rows")),
      outs_(gprs.lease("output rows")), residuals_(gprs.lease("residual rows")),
      out_(gprs.lease("output pixel")), residual_(gprs.lease("residual pixel")) {}

void DenseRows::emit_begin(const StageTile& tile, std::int64_t first_row) const {
    const Gpr rows = rows_, outs = outs_, residuals = residuals_;
    code_.mov(outs, code_.ptr[args_ + context_.output_rows]);
    emit_add(code_, outs, first_row * 8);
    if (has_sum_) code_.mov(residuals, code_.ptr[args_ + residual_offset(context_.index)]);
    code_.mov(rows, code_.ptr[args_ + context_.source_rows]);
    emit_add(code_, rows, (row_axis(*context_.stage).first_tap(tile.rows.begin) - tile.in_rows.begin) * 8);
}

void DenseRows::emit_advance(std::int64_t count) const {
    emit_add(code_, rows_, count * row_axis(*context_.stage).stride * 8);
    emit_add(code_, outs_, count * 8);
    if (has_sum_) emit_add(code_, residuals_, count * 8);
}

void DenseRows::emit_first_pixel(const Gpr& group) const {
    const Gpr out = out_, residual = residual_;
    code_.mov(out, code_.ptr[Gpr(outs_)]);
    code_.add(out, code_.ptr[group + offsetof(GroupHeader, output)]);
    if (!has_sum_) return;
    code_.mov(residual, code_.ptr[Gpr(residuals_)]);
    code_.add(residual, code_.ptr[group + offsetof(GroupHeader, residual)]);
}

void DenseRows::emit_step(std::int64_t pixels) const {
    emit_add(code_, out_, pixels * context_.out.pixel);
    if (has_sum_) emit_add(code_, residual_, pixels * context_.residual.pixel);
}

Xbyak::RegExp DenseRows::input_row(std::int64_t tap) const {
    return Gpr(rows_) + static_cast<std::size_t>(tap * context_.stage->conv.dilation.h * 8);
}

std::string DenseSums::key() const {
    return fmt::format("{} x{} t{} r{}.{} p{}", pixels, group.vectors, group.tail_lanes,
                       group.residual_vectors, group.residual_tail_lanes, group.pads_block);
}

Vec DenseSums::in_width(int vector, int index) const {
    return context.plan.pixel_pairs ? context.simd.vec(index) : output_width(vector, index);
}

// The same for a vector of output channels.
Vec DenseSums::output_width(int vector, int index) const {
    const bool tail = vector == group.vectors - 1 && group.tail_lanes > 0;
    if (tail && context.tail_vector(group.tail_lanes).half) return Vec(Xbyak::Ymm(index));
    return context.simd.vec(index);
}

Address DenseSums::parked(const Gpr& base, std::int64_t pixel, int vector) const {
    return context.simd.code
        .ptr[base + static_cast<std::size_t>(bytes(pixel) + vector * context.panel.vector_bytes)];
}

void DenseSums::emit_zero() const {
    for (std::int64_t p = 0; p < pixels; ++p)
        for (int v = 0; v < group.vectors; ++v)
            context.simd.zero(acc(p, v));
}

void DenseSums::emit_resume(const Gpr& from) const {
    for (std::int64_t p = 0; p < pixels; ++p)
        for (int v = 0; v < group.vectors; ++v)
            context.simd.code.vmovups(acc(p, v), parked(from, p, v));
}

void DenseSums::emit_park(const Gpr& to) const {
    for (std::int64_t p = 0; p < pixels; ++p)
        for (int v = 0; v < group.vectors; ++v)
            context.simd.code.vmovups(parked(to, p, v), acc(p, v));
}

void DenseSums::emit_epilogue(const Epilogue& epilogue, const DenseRows& rows, bool biased) const {
    using Place = EpilogueBlock::Place;
    const std::string chain = epilogue.text();
    context.simd.code.note(fmt::format("{}: {}{}store", context.name(), chain, chain.empty() ? "" : ", "));
    std::vector<int> free;
    for (int i = first_free(); i < context.simd.registers(); ++i)
        free.push_back(i);
    if (context.plan.pixel_pairs) return emit_pairs_epilogue(epilogue, rows, biased, std::move(free));
    EpilogueBlock block = epilogue_block(rows, {0, pixels});
    block.acc = [this](const Place& at) {
        return acc(at.pixel, at.vector);
    };
    block.temps = std::move(free);
    block.biased = biased;
    epilogue.emit(block);
}

// Some of the pixels, all vectors of the group.
EpilogueBlock DenseSums::epilogue_block(const DenseRows& rows, const Span& some) const {
    using Place = EpilogueBlock::Place;
    const auto from_first = [first = some.begin](Place at) {
        at.pixel += first;
        return at;
    };
    return {.group = group,
            .vectors = {0, group.vectors},
            .rows = 1,
            .pixels = some.size(),
            .acc = {},
            .output = [&rows, from_first](const Place& at) { return rows.output(from_first(at)); },
            .residual = [&rows, from_first](const Place& at) { return rows.residual(from_first(at)); },
            .temps = {}};
}

// As many pairs at a time as find registers when they come apart; each leaves more of them to the next.
void DenseSums::emit_pairs_epilogue(const Epilogue& epilogue, const DenseRows& rows, bool biased,
                                    std::vector<int> free) const {
    const std::int64_t registers_more = 2 * group.vectors - vectors();
    for (std::int64_t column = 0; column < columns();) {
        const std::int64_t room = std::ssize(free) - epilogue_temps, left = columns() - column;
        const std::int64_t count = registers_more > 0 ? std::min(room / registers_more, left) : left;
        std::vector<Vec> apart;  // [pixel][vector]
        for (std::int64_t i = 0; i < count; ++i)
            emit_pair_apart(column + i, apart, free);
        EpilogueBlock block = epilogue_block(rows, {2 * column, std::min(2 * (column + count), pixels)});
        block.acc = [&](const EpilogueBlock::Place& at) {
            return apart[static_cast<std::size_t>(at.pixel * group.vectors + at.vector)];
        };
        block.temps = free;
        block.biased = biased;
        epilogue.emit(block);
        for (const Vec& v : apart)
            free.push_back(v.getIdx());
        column += count;
    }
}

// Appends the vectors of both pixels. Registers come from `free`, where others go.
void DenseSums::emit_pair_apart(std::int64_t column, std::vector<Vec>& apart, std::vector<int>& free) const {
    std::vector<Vec> second;
    const auto take = [&](int vector) {
        const int index = free.back();
        free.pop_back();
        return output_width(vector, index);
    };
    for (int v = 0; v < group.vectors; ++v) {
        const Vec low = acc(column, 2 * v), x = take(v);
        const bool half = 2 * v + 1 == vectors();
        const Vec y = half ? take(v) : acc(column, 2 * v + 1);
        if (half)
            emit_half_apart(context.simd, x, y, low.getIdx());
        else
            emit_apart(context.simd, x, y, low, y);
        free.push_back(low.getIdx());
        apart.push_back(x);
        second.push_back(y);
    }
    apart.insert(apart.end(), second.begin(), second.end());
}

std::int64_t column_bias(const StageContext& context) {
    const std::int64_t reach =
        (context.plan.block_pixels - 1) * context.stage->conv.stride.w * context.in.pixel;
    return std::min<std::int64_t>(context.simd.avx512() ? 512 : 128, reach / 2 / 64 * 64);
}

}  // namespace tandem::jit
