#include "jit/dense.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "core/plan/ceil_div.hpp"

namespace tandem::jit {
namespace {

bool blocked(const StageContext& context) { return parks_sums(context.plan); }

std::optional<RegPool::Lease> lease_if(bool wanted, RegPool& pool, const char* name) {
    if (!wanted) return std::nullopt;
    return pool.lease(name);
}

}  // namespace

DenseBody::DenseBody(StageContext context, const Gpr& args, RegPool& gprs, InputPrefetch prefetch)
    : context_(std::move(context)), code_(context_.simd.code), args_(args), prefetch_(prefetch),
      group_(gprs.lease("group panel")), epilogue_(context_, context_.panel, group_),
      rows_(context_, args, gprs), column_(gprs.lease("input column")),
      table_(lease_if(!blocked(context_), gprs, "tap rows")),
      parked_(lease_if(blocked(context_), gprs, "parked pixel")), input_(gprs.lease("input pixel")),
      weights_(gprs.lease("weights")), taps_left_(lease_if(!blocked(context_), gprs, "taps left")),
      ahead_(lease_if(blocked(context_), gprs, "weights ahead")), count_(gprs.lease("channel loop")),
      upcoming_(gprs.lease("prefetch for the next kernel")), next_(gprs.lease("prefetch")) {}

void DenseBody::emit_tile(const StageTile& tile, std::span<const GroupRun> runs, std::int64_t first_row) {
    if (runs.empty() || tile.taps.empty() || tile.segment.width == 0) return;
    const Gpr group = group_, next = next_;
    code_.note(
        fmt::format("{}: GEMM, {} rows of {} pixels", context_.name(), tile.taps.size(), tile.segment.width));
    code_.mov(group, code_.ptr[args_ + context_.panel_at]);
    emit_add(code_, group, runs.front().offset);
    if (prefetch_.lines > 0) code_.mov(next, code_.ptr[args_ + offsetof(TileArgs, prefetch)]);
    for (const GroupRun& run : runs) {
        const Gpr scratch = count_;
        epilogue_.emit_opmasks(run, scratch);
        emit_loop(code_, code_.qword[args_ + local_offset(Local::groups)], run.count, [&] {
            emit_group(tile, run, first_row);
            emit_add(code_, group, context_.panel.group_bytes(run));
        });
    }
}

// All rows of the tile for one group of output vectors.
void DenseBody::emit_group(const StageTile& tile, const GroupRun& run, std::int64_t first_row) {
    for (const KBlockRun& k : k_block_runs(*context_.stage, context_.plan)) {
        const std::vector<RowRun> rows = dense_row_runs(*context_.stage, tile, k.first);
        if (rows.empty()) continue;
        if (has_k_blocks()) {
            emit_k_blocks(tile, run, k, first_row, rows);
        } else {
            emit_rows(tile, run, first_row, rows);
        }
    }
}

// A run of K blocks. Where the current one begins in the weights and in the input is kept in locals.
void DenseBody::emit_k_blocks(const StageTile& tile, const GroupRun& run, const KBlockRun& k,
                              std::int64_t first_row, std::span<const RowRun> row_runs) {
    const Gpr group = group_, ahead = *ahead_, next = next_;
    const Address k_weights = code_.qword[args_ + local_offset(Local::k_weights)],
                  k_input = code_.qword[args_ + local_offset(Local::k_input)];
    const std::int64_t channels = k.first.channels.size(), begin = k.first.channels.begin;
    const std::int64_t tap_bytes = run.vectors * context_.panel.vector_bytes;
    const auto weight_bytes = [&](std::int64_t count) {
        return ceil_div(count, dot_channels(context_.plan.dot)) * context_.stage->conv.kernel.w * tap_bytes;
    };
    const std::int64_t bytes = weight_bytes(channels), calls = block_calls(tile, row_runs);
    const std::int64_t ahead_lines = calls > 0 ? ceil_div(ceil_div(bytes, line_bytes), calls) : 0;
    code_.mov(k_weights, immediate(k.first.kernel_rows.begin * context_.panel.row_taps * tap_bytes +
                                   weight_bytes(begin)));
    code_.mov(k_input, immediate(context_.in.channel(begin)));
    emit_loop(code_, code_.qword[args_ + local_offset(Local::k_blocks)], k.count, [&] {
        // The next K block's weights follow this one's, and the next group's its last one's.
        code_.lea(ahead, code_.ptr[group + immediate(context_.panel.weights_offset(run.vectors) + bytes)]);
        code_.add(ahead, k_weights);
        emit_rows(tile, run, first_row, row_runs, ahead_lines);
        if (k.count > 1) {
            code_.add(k_weights, immediate(bytes));
            code_.add(k_input, immediate(context_.in.channel(channels)));
        }
        // Back to the first of the pixels that this K block has fetched, unless it was the last to fetch
        // them.
        const bool last = k.first.channels.end == context_.stage->in_channels;
        const std::int64_t fetched = calls * prefetch_.lines * prefetch_.source.pixel;
        if (prefetch_.lines > 0)
            emit_add(code_, next,
                     last ? -prefetch_.source.channel(begin) : prefetch_.source.channel(channels) - fetched);
    });
}

// Calls of inner routines that multiply, for one K block of a group.
std::int64_t DenseBody::block_calls(const StageTile& tile, std::span<const RowRun> row_runs) const {
    std::int64_t rows = 0, blocks = 0;
    for (const RowRun& row_run : row_runs)
        rows += row_run.pass.kernel_rows.size() > 0 ? row_run.count : 0;
    for (const BlockRun& run : this->blocks(tile))
        blocks += run.count;
    return rows * blocks;
}

std::vector<BlockRun> DenseBody::blocks(const StageTile& tile) const {
    return block_runs(column_axis(*context_.stage), tile.segment, context_.plan.block_pixels,
                      pixel_step(context_.plan));
}

void DenseBody::emit_rows(const StageTile& tile, const GroupRun& run, std::int64_t first_row,
                          std::span<const RowRun> row_runs, std::int64_t ahead_lines) {
    rows_.emit_begin(tile, first_row);
    std::int64_t at = 0;
    for (const RowRun& row_run : row_runs) {
        rows_.emit_advance(row_run.row - at);
        if (has_k_blocks()) {
            const Gpr parked = *parked_;
            code_.mov(parked, code_.ptr[args_ + offsetof(TileArgs, workspace)]);
            emit_add(code_, parked,
                     row_run.row * tile.segment.width * run.vectors * context_.panel.vector_bytes);
        }
        emit_loop(code_, code_.qword[args_ + local_offset(Local::rows)], row_run.count, [&] {
            emit_row(tile, run, row_run.pass, ahead_lines);
            rows_.emit_advance(1);
        });
        at = row_run.row + row_run.count;
    }
}

// One output row: calls the inner routine for each block of pixels.
void DenseBody::emit_row(const StageTile& tile, const GroupRun& run, const Pass& pass,
                         std::int64_t ahead_lines) {
    const Gpr column = column_;
    const Axis axis = column_axis(*context_.stage);
    rows_.emit_first_pixel(group_);
    code_.mov(column, column_bias(context_) + tile.shift * context_.in.pixel);
    if (has_k_blocks()) code_.add(column, code_.qword[args_ + local_offset(Local::k_input)]);
    for (const BlockRun& blocks_run : this->blocks(tile)) {
        const Block block{blocks_run, run, pass, ahead_lines};
        emit_loop(code_, code_.qword[args_ + local_offset(Local::blocks)], blocks_run.count, [&] {
            if (pass.kernel_rows.size() > 0) emit_operands(block);
            code_.call(routines_.get(block.key(), [this, block] { emit_block(block); }));
            emit_add(code_, column, block.run.width * axis.stride * context_.in.pixel);
            rows_.emit_step(block.run.width);
            if (has_k_blocks()) emit_add(code_, *parked_, sums(block).bytes(block.run.width));
        });
    }
}

// Where an inner routine finds its input and weights.
void DenseBody::emit_operands(const Block& block) {
    const Gpr group = group_, column = column_, input = input_, weights = weights_;
    const Span& taps = block.pass.kernel_rows;
    const Address first_row = code_.ptr[rows_.input_row(taps.begin)];
    const std::int64_t weights_offset = context_.panel.weights_offset(block.group.vectors);
    if (has_k_blocks()) {
        code_.mov(input, first_row);
        code_.add(input, column);
        code_.lea(weights, code_.ptr[group + static_cast<std::size_t>(weights_offset)]);
        code_.add(weights, code_.qword[args_ + local_offset(Local::k_weights)]);
        return;
    }
    const Gpr table = *table_, taps_left = *taps_left_;
    const std::int64_t tap_bytes =
        context_.panel.row_taps * sums(block).vectors() * context_.panel.vector_bytes;
    code_.lea(table, first_row);
    code_.lea(weights, code_.ptr[group + static_cast<std::size_t>(weights_offset + taps.begin * tap_bytes)]);
    code_.mov(taps_left.cvt32(), static_cast<std::uint32_t>(taps.size()));
}

}  // namespace tandem::jit
