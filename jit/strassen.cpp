#include "jit/strassen.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "core/plan/ceil_div.hpp"

namespace tandem::jit {

void StrassenBody::emit_tile(const StageTile& tile, std::span<const GroupRun> runs, std::int64_t first_row) {
    if (tile.rows.size() > 0 && tile.cols.size() > 0) emit_sums(tile);
    DenseBody::emit_tile(tile, runs, first_row);
}

// S1 to S4 of every pair of rows.
void StrassenBody::emit_sums(const StageTile& tile) {
    const Gpr first = input_, second = weights_, low = *parked_, high = *ahead_, table = rows_.table(),
              count = count_;
    const std::int64_t pixels = tile.cols.size(), bytes = context_.simd.bytes(),
                       blocks = context_.stage->in_channels / 2 / context_.simd.lanes;
    code_.note(fmt::format("{}: Strassen, sums of {} rows", context_.name(), tile.rows.size()));
    code_.mov(table, code_.ptr[args_ + context_.source_rows]);
    code_.mov(low, code_.ptr[args_ + offsetof(TileArgs, workspace)]);
    emit_add(code_, low, layout_.sums);
    emit_loop(code_, code_.qword[args_ + local_offset(Local::rows)], tile.rows.size() / 2, [&] {
        code_.mov(first, code_.ptr[table]);
        code_.mov(second, code_.ptr[table + 8]);
        for (const Gpr& row : {first, second})
            emit_add(code_, row, tile.shift * context_.in.pixel);
        code_.lea(high, code_.ptr[low + immediate(context_.in.row)]);
        emit_loop(code_, code_.qword[args_ + local_offset(Local::channels)], blocks, [&] {
            emit_loop(code_, count, pixels, [&] {
                emit_sums_of_vector();
                for (const Gpr& at : {first, second, low, high})
                    emit_add(code_, at, bytes);
            });
            for (const Gpr& at : {first, second, low, high})
                emit_add(code_, at, context_.in.block_stride - pixels * bytes);
        });
        emit_add(code_, low, 2 * context_.in.row - blocks * context_.in.block_stride);
        emit_add(code_, table, 2 * 8);
    });
}

void StrassenBody::emit_sums_of_vector() {
    const auto at = [&](const Gpr& pixel, std::int64_t half) {
        return code_.ptr[pixel + immediate(half * half_offset())];
    };
    const auto vec = [&](int index) {
        return context_.simd.vec(index);
    };
    const Gpr first = input_, second = weights_, low = *parked_, high = *ahead_;
    code_.vmovups(vec(0), at(first, 0));
    code_.vmovups(vec(1), at(second, 0));
    code_.vaddps(vec(2), vec(1), at(second, 1));
    code_.vmovups(at(low, 0), vec(2));
    code_.vsubps(vec(2), vec(2), vec(0));
    code_.vmovups(at(low, 1), vec(2));
    code_.vsubps(vec(0), vec(0), vec(1));
    code_.vmovups(at(high, 0), vec(0));
    code_.vmovups(vec(3), at(first, 1));
    code_.vsubps(vec(3), vec(3), vec(2));
    code_.vmovups(at(high, 1), vec(3));
}

std::vector<BlockRun> StrassenBody::blocks_of(const StageTile& tile) const {
    return block_runs(column_axis(*context_.stage), {tile.cols.size(), {0, tile.cols.size()}},
                      context_.plan.block_pixels);
}

void StrassenBody::emit_group(const StageTile& tile, const GroupRun& run, std::int64_t first_row) {
    const std::int64_t bytes = context_.stage->in_channels / 2 * run.vectors * context_.panel.vector_bytes;
    std::int64_t calls = 0;
    for (const BlockRun& blocks : blocks_of(tile))
        calls += blocks.count * tile.rows.size() / 2;
    const std::int64_t ahead = std::min<std::int64_t>(bytes, context_.plan.weights_ahead),
                       lines = ceil_div(ceil_div(ahead, line_bytes), std::max<std::int64_t>(calls, 1));
    for (std::size_t i = 0; i < strassen_products.size(); ++i)
        emit_product(tile, run, first_row,
                     {i,
                      context_.panel.weights_offset(run.vectors) + static_cast<std::int64_t>(i) * bytes -
                          strassen_products[i].out_half * context_.panel.upper_offset(run.vectors),
                      lines});
}

// A product of all pairs of rows. The group's pointer is at the header of the half that is stored; parked
// accumulators follow each other like the pixels.
void StrassenBody::emit_product(const StageTile& tile, const GroupRun& run, std::int64_t first_row,
                                const Step& step) {
    const StrassenProduct& product = step.product();
    const Gpr group = group_, ahead = *ahead_, parked = *parked_;
    const Address sums_row = code_.qword[args_ + local_offset(Local::k_input)];
    const std::int64_t bytes = context_.stage->in_channels / 2 * run.vectors * context_.panel.vector_bytes;
    emit_add(code_, group, product.out_half * context_.panel.upper_offset(run.vectors));
    if (step.ahead_lines > 0) code_.lea(ahead, code_.ptr[group + immediate(step.weights_at + bytes)]);
    code_.mov(parked, code_.ptr[args_ + offsetof(TileArgs, workspace)]);
    if (product.of_sums) {
        const Gpr row = input_;
        code_.lea(row, code_.ptr[parked + immediate(layout_.sums + product.row * context_.in.row)]);
        code_.mov(sums_row, row);
    }
    rows_.emit_begin(tile, first_row);
    rows_.emit_advance(product.out_row);
    emit_loop(code_, code_.qword[args_ + local_offset(Local::rows)], tile.rows.size() / 2, [&] {
        emit_pair(tile, run, step);
        rows_.emit_advance(2);
        if (product.of_sums) code_.add(sums_row, immediate(2 * context_.in.row));
    });
    emit_add(code_, group, -product.out_half * context_.panel.upper_offset(run.vectors));
}

// Of one pair of rows.
void StrassenBody::emit_pair(const StageTile& tile, const GroupRun& run, const Step& step) {
    const StrassenProduct& product = step.product();
    const Gpr group = group_, column = column_, parked = *parked_, input = input_, weights = weights_;
    const Address sums_row = code_.qword[args_ + local_offset(Local::k_input)];
    rows_.emit_first_pixel(group_);
    code_.mov(column, column_bias(context_) + product.half * half_offset() +
                          (product.of_sums ? 0 : tile.shift * context_.in.pixel));
    for (const BlockRun& blocks : blocks_of(tile)) {
        const Pass pass{{0, 1}, context_.stage->in_channels / 2, product.resumes < 0, product.parks < 0};
        const Block block{blocks, run, pass, step.ahead_lines};
        emit_loop(code_, code_.qword[args_ + local_offset(Local::blocks)], blocks.count, [&] {
            code_.mov(input, product.of_sums ? sums_row : code_.ptr[rows_.input_row(0)]);
            code_.add(input, column);
            code_.lea(weights, code_.ptr[group + immediate(step.weights_at)]);
            code_.call(routines_.get(fmt::format("{} product {}{}{}", block.key(), product.resumes,
                                                 product.parks, step.index == strassen_fork ? " fork" : ""),
                                     [this, block, index = step.index] { emit_block(block, index); }));
            emit_add(code_, column, block.run.width * context_.in.pixel);
            rows_.emit_step(block.run.width);
            emit_add(code_, parked, sums(block).bytes(block.run.width));
        });
    }
}

void StrassenBody::emit_block(const Block& block, std::size_t index) {
    const StrassenProduct& product = strassen_products[index];
    const Gpr parked = *parked_;
    const DenseSums block_sums = sums(block);
    code_.note(fmt::format("{}: Strassen product {}, {} px x {} vectors", context_.name(), index + 1,
                           block.run.width, block.group.vectors));
    // Around what touches the second set.
    const auto at_set = [&](int set, const auto& emit) {
        emit_add(code_, parked, set * layout_.second_parked);
        emit();
        emit_add(code_, parked, -set * layout_.second_parked);
    };
    if (product.resumes < 0)
        block_sums.emit_zero();
    else
        at_set(product.resumes, [&] { block_sums.emit_resume(parked); });
    emit_sum(block);
    if (index == strassen_fork) emit_fork(block);
    if (product.parks < 0)
        block_sums.emit_epilogue(epilogue_, rows_, false);
    else
        at_set(product.parks, [&] { block_sums.emit_park(parked); });
}

// The product goes into both sets' sums: U4 stays parked in the place of U2, C22 is in the accumulators.
void StrassenBody::emit_fork(const Block& block) {
    const DenseSums block_sums = sums(block);
    const Vec sum = context_.simd.vec(block_sums.first_free());
    const Gpr parked = *parked_;
    for (std::int64_t p = 0; p < block.run.width; ++p) {
        for (int v = 0; v < block.group.vectors; ++v) {
            const Vec product = block_sums.acc(p, v);
            const std::int64_t at = block_sums.bytes(p) + v * context_.panel.vector_bytes;
            const Address first = code_.ptr[parked + immediate(at)],
                          second = code_.ptr[parked + immediate(at + layout_.second_parked)];
            code_.vaddps(sum, product, first);
            code_.vmovups(first, sum);
            code_.vaddps(product, product, second);
        }
    }
}

}  // namespace tandem::jit
