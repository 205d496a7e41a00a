// The part of DepthwiseBody that computes quantised stages by dot products of bytes.
//
// A window is a vector whose 32-bit lane c holds the bytes of channel c in four neighbouring columns of an
// input row, from an even one on. One vpdpbusd adds a kernel row's share of a pixel: its weights lie in the
// panel as the same four columns, behind a zero for the pixels that begin at odd columns, so that two
// pixels use each window. Kernels wider than a window take several.
//
//   acc(row, pixel) = the zero point's share
//   for each input row: load the weights of the kernel rows that meet it
//     for each window: load four columns, bring their bytes together (vpermd, vpshufb; or vpermb), multiply
//     and add into every accumulator it reaches
//
// Columns of padding are replaced by the zero point; rows of padding are left out, as is their part of the
// zero point's share.
#include <algorithm>
#include <array>

#include "jit/depthwise.hpp"
#include "jit/quantize.hpp"

namespace tandem::jit {
namespace {

constexpr int dword_index = 31, byte_index = 30;  // registers; with vpermb the latter alone

// 4 x 4 bytes in each 128-bit lane, as the index operand of vpshufb.
Address transposed_bytes(CodeBlock& code) {
    std::array<std::uint32_t, 16> words{};
    for (std::uint32_t i = 0; i < 16; ++i)
        words[i] = 0x0c080400 + i % 4 * 0x01010101;
    return code.constant_line(words);
}

// The same across all lanes, as the index operand of vpermb: 16 channels of 4 columns to 4 columns of 16
// channels.
Address transposed_columns(CodeBlock& code) {
    std::array<std::uint32_t, 16> words{};
    for (std::uint32_t channel = 0; channel < 16; ++channel)
        words[channel] = 0x30201000 + channel * 0x01010101;
    return code.constant_line(words);
}

Span common(const Span& a, const Span& b) { return {std::max(a.begin, b.begin), std::min(a.end, b.end)}; }

}  // namespace

// The pixels of a block that a window from column `first` on has a share in.
std::vector<DepthwiseBody::WindowUse> DepthwiseBody::window_uses(const BlockRun& block,
                                                                 std::int64_t first) const {
    const std::int64_t stride = context_.stage->conv.stride.w, columns = context_.stage->conv.kernel.w;
    std::vector<WindowUse> uses;
    for (std::int64_t p = 0; p < block.width; ++p) {
        const std::int64_t begin = p * stride, offset = begin % window_step,
                           distance = first - (begin - offset);
        if (distance < 0 || distance % window_columns != 0 ||
            distance / window_columns >= window_vectors(columns, offset))
            continue;
        uses.push_back({p, distance / window_columns + (offset > 0 ? window_vectors(columns, 0) : 0),
                        common({first, first + window_columns}, {begin, begin + columns})});
    }
    return uses;
}

void DepthwiseBody::emit_block_by_windows(const RowGroup& group, const GroupRun& run, const BlockRun& block) {
    const bool by_bytes = has_vbmi(context_.simd.isa);
    if (!by_bytes) code_.vmovdqu32(Xbyak::Zmm(dword_index), transposed_dwords(code_));
    code_.vmovdqu32(Xbyak::Zmm(byte_index), by_bytes ? transposed_columns(code_) : transposed_bytes(code_));
    emit_zero_points(group, run, block);
    emit_sums(group, run, block,
              [&](std::size_t input_index) { emit_input_row_by_windows(group, run, block, input_index); });
    emit_epilogue(group, run, block);
}

// Accumulators begin with what the sums of all kernel rows inside the image owe to the zero point.
void DepthwiseBody::emit_zero_points(const RowGroup& group, const GroupRun& run, const BlockRun& block) {
    if (loops() || block.columns.size() == 0) return emit_looped_zero_points(group, run, block);
    for (int vector = 0; vector < run.vectors; ++vector)
        emit_zero_points_of(group, run, block, vector);
}

void DepthwiseBody::emit_zero_points_of(const RowGroup& group, const GroupRun& run, const BlockRun& block,
                                        int vector) {
    const auto share = [&](std::int64_t kernel_row) {
        return row_vector(run, kernel_row, 0, vector);
    };
    const std::int64_t rows = context_.stage->conv.kernel.h;
    for (std::size_t row = 0; row < group.taps.size(); ++row) {
        const Span& taps = group.taps[row];
        const Vec first = acc(group, run, row, 0, vector);
        if (taps.size() == 0)
            context_.simd.zero(first);
        else
            code_.vmovdqu32(first, share(taps.size() == rows ? rows : taps.begin));
        for (std::int64_t tap = taps.begin + 1; taps.size() < rows && tap < taps.end; ++tap)
            code_.vpaddd(first, first, share(tap));
        for (std::int64_t p = 1; p < block.width; ++p) {
            if (taps.size() == rows)
                code_.vmovdqu32(acc(group, run, row, p, vector), share(rows));
            else
                code_.vmovdqa32(acc(group, run, row, p, vector), first);
        }
    }
}

// The same in a loop over the kernel rows; none where the block's columns are all padding.
void DepthwiseBody::emit_looped_zero_points(const RowGroup& group, const GroupRun& run,
                                            const BlockRun& block) {
    const auto first = [&](int vector) {
        return acc(group, run, 0, 0, vector);
    };
    for (int v = 0; v < run.vectors; ++v)
        context_.simd.zero(first(v));
    if (group.taps.front().size() > 0 && block.columns.size() > 0)
        emit_kernel_rows(run, [&] {
            for (int v = 0; v < run.vectors; ++v)
                code_.vpaddd(first(v), first(v), row_vector(run, 0, 0, v));
        });
    for (std::size_t row = 0; row < group.taps.size(); ++row)
        for (std::int64_t p = row == 0 ? 1 : 0; p < block.width; ++p)
            for (int v = 0; v < run.vectors; ++v)
                code_.vmovdqa32(acc(group, run, row, p, v), first(v));
}

// One input row into every accumulator it reaches.
void DepthwiseBody::emit_input_row_by_windows(const RowGroup& group, const GroupRun& run,
                                              const BlockRun& block, std::size_t input_index) {
    const std::int64_t stride = context_.stage->conv.stride.w, columns = context_.stage->conv.kernel.w,
                       vectors = window_row_vectors(*context_.stage);
    int next = first_free(group, run, block);
    const std::vector<Use> uses = uses_of(group, input_index);
    for (const Use& use : uses)
        for (std::int64_t v = 0; v < vectors; ++v)
            code_.vmovdqu32(in_width(run, next++),
                            row_vector(run, use.tap, context_.panel.zero_point_taps + v));
    const auto weights = [&](std::size_t use, std::int64_t vector) {
        return in_width(run, first_free(group, run, block) +
                                 static_cast<int>(static_cast<std::int64_t>(use) * vectors + vector));
    };
    const std::int64_t reach = (block.width - 1) * stride + columns;
    for (std::int64_t first = 0; first < reach; first += window_step) {
        const std::vector<WindowUse> pixels = window_uses(block, first);
        if (pixels.empty()) continue;
        Span needed{reach, 0};
        for (const WindowUse& pixel : pixels)
            needed = {std::min(needed.begin, pixel.columns.begin), std::max(needed.end, pixel.columns.end)};
        emit_ahead(group, input_index, {first, first + window_step});
        emit_window(run, input_index, {first, needed, block.columns}, Xbyak::Zmm(next), Xbyak::Xmm(next + 1));
        for (const WindowUse& pixel : pixels)
            for (std::size_t i = 0; i < uses.size(); ++i) {
                const Vec sum = acc(group, run, uses[i].row, pixel.pixel);
                code_.vpdpbusd(sum, Simd::like(sum, next), weights(i, pixel.vector), Xbyak::EvexEncoding);
            }
    }
}

// `spare`: clobbered.
void DepthwiseBody::emit_window(const GroupRun& run, std::size_t input_index, const Window& window,
                                const Xbyak::Zmm& v, const Xbyak::Xmm& spare) {
    const Gpr input = input_pointer(input_index);
    const Span present = common({window.first, window.first + window_columns}, window.present);
    const bool pads = window.needed.begin < present.begin || window.needed.end > present.end;
    if (pads) code_.vpbroadcastd(v, panel_vector(context_.panel.quant_offset(QuantNumber::input_fill)));
    if (present.size() > 0) {
        const bool adjacent = context_.in.pixel == 16 && input_lanes(run).count == 0;
        if (adjacent && present.size() == window_columns) {
            emit_transposition(v,
                               code_.ptr[input + static_cast<std::size_t>(window.first * context_.in.pixel)]);
        } else {
            if (adjacent)
                emit_some_columns(input, window.first, present, pads, v);
            else
                emit_single_columns(run, input, window.first, common(present, window.needed), pads, v, spare);
            emit_transposition(v, v);
        }
    }
    if (context_.in_element == Element::s8)
        code_.vpxord(v, v, code_.constant_bits(0x80808080));  // s8 plus 128 is u8
}

// Brings the bytes of each channel together.
void DepthwiseBody::emit_transposition(const Xbyak::Zmm& v, const Xbyak::Operand& columns) {
    if (has_vbmi(context_.simd.isa)) return code_.vpermb(v, Xbyak::Zmm(byte_index), columns);
    code_.vpermd(v, Xbyak::Zmm(dword_index), columns);
    code_.vpshufb(v, v, Xbyak::Zmm(byte_index));
}

// Those of four adjacent columns that exist; `fills`: v keeps its other bytes.
void DepthwiseBody::emit_some_columns(const Gpr& input, std::int64_t first, const Span& columns, bool fills,
                                      const Xbyak::Zmm& v) {
    std::uint32_t dwords = 0;
    for (std::int64_t column = columns.begin; column < columns.end; ++column)
        dwords |= 0xfu << (column - first) * 4;
    code_.kmovw(column_mask, code_.constant_bits(dwords));
    code_.vmovdqu32(fills ? v | column_mask : v | column_mask | code_.T_z,
                    code_.ptr[input + static_cast<std::size_t>(first * context_.in.pixel)]);
}

// Columns whose channels lie apart, one after the other.
void DepthwiseBody::emit_single_columns(const GroupRun& run, const Gpr& input, std::int64_t first,
                                        const Span& columns, bool fills, const Xbyak::Zmm& v,
                                        const Xbyak::Xmm& spare) {
    const Simd::Lanes lanes = input_lanes(run);
    if (lanes.count > 0 && !fills) context_.simd.zero(v);
    for (std::int64_t column = columns.begin; column < columns.end; ++column) {
        const Address from = code_.ptr[input + static_cast<std::size_t>(column * context_.in.pixel)];
        const auto lane = static_cast<std::uint8_t>(column - first);
        if (lanes.count > 0) {
            code_.vmovdqu8(spare | Xbyak::Opmask(lanes.mask) | code_.T_z, from);
            code_.vinserti32x4(v, v, spare, lane);
        } else if (column == columns.begin && !fills) {
            code_.vbroadcasti32x4(v, from);
        } else {
            code_.vinserti32x4(v, v, from, lane);
        }
    }
}

}  // namespace tandem::jit
