#include "jit/dense_rows.hpp"

#include <algorithm>

#include <fmt/format.h>

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
    EpilogueBlock block{.group = group,
                        .vectors = {0, group.vectors},
                        .rows = 1,
                        .pixels = pixels,
                        .acc = [this](const Place& at) { return acc(at.pixel, at.vector); },
                        .output = [&](const Place& at) { return rows.output(at); },
                        .residual = [&](const Place& at) { return rows.residual(at); },
                        .temps = {},
                        .biased = biased};
    for (int i = first_free(); i < context.simd.registers(); ++i)
        block.temps.push_back(i);
    epilogue.emit(block);
}

std::int64_t column_bias(const StageContext& context) {
    const std::int64_t reach =
        (context.plan.block_pixels - 1) * context.stage->conv.stride.w * context.in.pixel;
    return std::min<std::int64_t>(context.simd.avx512() ? 512 : 128, reach / 2 / 64 * 64);
}

}  // namespace tandem::jit
