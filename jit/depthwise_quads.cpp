// The part of DepthwiseBody that computes quantised stages by dot products of bytes (jit/depthwise_int8.cpp),
// 64 channels at a time, where a pixel's channels lie together: one load then has a column of all of them.
//
// Two rounds of unpacking, each within 128-bit lanes, that is within 16 channels, bring columns together:
//
//   pair      two columns: bytes of both by turns; channels 0-7 of each 16 in one vector, 8-15 in the other
//   window    two pairs: of four columns; channels 4v to 4v + 3 of each 16 in vector v (quad_place())
//
// Windows begin at every second column, so that each shares a pair with the one before it. Packing the four
// vectors of sums by twos and twos again then gives the bytes of 64 channels in their order.
#include "jit/depthwise.hpp"

namespace tandem::jit {

void DepthwiseBody::emit_block_by_quads(const RowGroup& group, const GroupRun& run, const BlockRun& block) {
    emit_zero_points(group, run, block);
    emit_sums(group, run, block,
              [&](std::size_t input_index) { emit_input_row_by_quads(group, run, block, input_index); });
    emit_epilogue(group, run, block);
}

// One input row into every accumulator it reaches. Weights come from memory: accumulators take the registers.
void DepthwiseBody::emit_input_row_by_quads(const RowGroup& group, const GroupRun& run, const BlockRun& block,
                                            std::size_t input_index) {
    const int free = first_free(group, run, block);
    const Xbyak::Zmm window(free);
    const auto pair = [&](std::int64_t column) {  // neighbouring ones by turns
        const int at = free + 1 + static_cast<int>(column / window_step % 2) * 2;
        return std::array{Xbyak::Zmm(at), Xbyak::Zmm(at + 1)};
    };
    const std::vector<Use> uses = uses_of(group, input_index);
    const std::int64_t reach =
        (block.width - 1) * context_.stage->conv.stride.w + context_.stage->conv.kernel.w;
    std::int64_t loaded = 0;  // columns before it lie in pairs, the last two at least
    for (std::int64_t first = 0; first < reach; first += window_step) {
        const std::vector<WindowUse> pixels = window_uses(block, first);
        if (pixels.empty()) continue;
        emit_ahead(group, input_index, {first, first + window_step});
        for (std::int64_t column = std::max(first, loaded); column < first + window_columns;
             column += window_step)
            emit_column_pair(input_index, column, block.columns, {pair(column), window});
        loaded = first + window_columns;
        const auto [low, low_behind] = pair(first);
        const auto [high, high_behind] = pair(first + window_step);
        for (int v = 0; v < run.vectors; ++v) {
            const Xbyak::Zmm& left = v < 2 ? low : low_behind;
            const Xbyak::Zmm& right = v < 2 ? high : high_behind;
            if (v % 2 == 0)
                code_.vpunpcklwd(window, left, right);
            else
                code_.vpunpckhwd(window, left, right);
            for (const WindowUse& pixel : pixels)
                for (const Use& use : uses)
                    code_.vpdpbusd(acc(group, run, use.row, pixel.pixel, v), window,
                                   row_vector(run, use.tap, context_.panel.zero_point_taps + pixel.vector, v),
                                   Xbyak::EvexEncoding);
        }
    }
}

// The pair of columns from `column` on; those that are not `present` are the zero point, which does not
// matter where weights are zero. Clobbers the window.
void DepthwiseBody::emit_column_pair(std::size_t input_index, std::int64_t column, const Span& present,
                                     const QuadRegisters& to) {
    const Gpr input = input_pointer(input_index);
    const auto& [low, high] = to.pair;
    const auto exists = [&](std::int64_t c) {
        return c >= present.begin && c < present.end;
    };
    const auto at = [&](std::int64_t c) {
        return code_.ptr[input + static_cast<std::size_t>(c * context_.in.pixel)];
    };
    const auto load = [&](const Xbyak::Zmm& v, std::int64_t c) {
        if (exists(c))
            code_.vmovdqu32(v, at(c));
        else
            code_.vpbroadcastd(v, panel_vector(context_.panel.quant_offset(QuantNumber::input_fill)));
    };
    load(high, column);
    if (!exists(column + 1)) load(to.window, column + 1);
    const Address behind = at(column + 1);
    const Xbyak::Operand& second =
        exists(column + 1) ? static_cast<const Xbyak::Operand&>(behind) : to.window;
    code_.vpunpcklbw(low, high, second);
    code_.vpunpckhbw(high, high, second);
    if (context_.in_element == Element::s8)
        for (const Xbyak::Zmm& v : to.pair)
            code_.vpxord(v, v, code_.constant_bits(0x80808080));  // s8 plus 128 is u8
}

}  // namespace tandem::jit
