#include "core/run/executor.hpp"

#include <algorithm>
#include <cstring>

#include "core/run/partition.hpp"

namespace tandem {
namespace {

// A tile's place in the grid.
struct TileIndex {
    std::int64_t n = -1, ty = -1, tx = -1, split = -1;
};

// Sliding windows walk down a column of tiles; otherwise the channel splits of a tile are neighbours, so
// that one part computes the intermediate once for all its splits.
TileIndex tile_at(const KernelCode& code, std::int64_t item) noexcept {
    const TileGrid& grid = code.grid;
    TileIndex tile;
    const auto take = [&item](std::int64_t size) {
        const std::int64_t digit = item % size;
        item /= size;
        return digit;
    };
    if (code.plan.fusion == Fusion::sliding) {
        tile.ty = take(grid.tiles_y);
        tile.split = take(grid.splits);
        tile.tx = take(grid.tiles_x);
    } else {
        tile.split = take(grid.splits);
        tile.ty = take(grid.tiles_y);
        tile.tx = take(grid.tiles_x);
    }
    tile.n = item;
    return tile;
}

class PartRunner {
public:
    PartRunner(const KernelImpl& kernel, const Args& args, const PackedData& packed,
               std::byte* scratch) noexcept
        : code_(*kernel.code), args_(args), mid_(reinterpret_cast<std::uintptr_t>(scratch)),
          staging_(reinterpret_cast<std::uintptr_t>(scratch + code_.staging_offset())),
          runner_scratch_(scratch + code_.runner_offset()) {
        std::uintptr_t* at = reinterpret_cast<std::uintptr_t*>(scratch + code_.tables_offset());
        const auto take = [&at](std::int64_t rows) {
            std::uintptr_t* table = at;
            at += rows;
            return table;
        };
        source_ = take(code_.source_rows);
        staged_ = take(code_.source_rows);
        mid_rows_ = take(code_.table_rows[0]);
        residual_[0] = take(code_.table_rows[0]);
        output_ = take(code_.table_rows[1]);
        residual_[1] = take(code_.table_rows[1]);
        call_.workspace = scratch + code_.workspace_offset();
        call_.source_rows = reinterpret_cast<const void* const*>(source_);
        call_.staged_rows = reinterpret_cast<void* const*>(staged_);
        call_.mid_rows = reinterpret_cast<void* const*>(mid_rows_);
        call_.output_rows = reinterpret_cast<void* const*>(output_);
        const bool pair = code_.problem.stage_count == 2;
        call_.residual_rows[0] = reinterpret_cast<const void* const*>(pair ? residual_[0] : residual_[1]);
        call_.residual_rows[1] = reinterpret_cast<const void* const*>(residual_[1]);
        for (std::size_t i = 0; i < 2; ++i)
            call_.panels[i] = packed.buffer.data() + packed.panel_offset[i];
    }

    void run(const TileIndex& tile, bool start, bool reuse) noexcept {
        const Problem& problem = code_.problem;
        const TileSpans spans = tile_spans(problem, code_.plan, tile.ty, tile.tx, start);
        fill(output_, spans.rows,
             address(args_.output, code_.output, tile.n) + offset(spans.cols.begin, code_.output.pixel),
             code_.output.row);
        const auto last = static_cast<std::size_t>(problem.stage_count - 1);
        if (args_.residual[last] != nullptr)
            fill_residual(last, residual_[1], tile.n, spans.rows, spans.cols.begin);
        if (problem.stage_count == 2) {
            for (std::int64_t r = spans.mid_rows.begin; r < spans.mid_rows.end; ++r)
                mid_rows_[r - spans.mid_rows.begin] =
                    mid_ + offset(slot(r, spans.mid_rows.begin), code_.mid.strides.row) +
                    offset(code_.mid.left, code_.mid.strides.pixel);
            if (args_.residual[0] != nullptr && !reuse)
                fill_residual(0, residual_[0], tile.n, spans.fresh, spans.mid_cols.begin);
        }
        fill_source(problem.stage(0), tile.n, spans.source_rows,
                    problem.stage_count == 2 ? spans.mid_cols.begin : spans.cols.begin);
        code_.runner->run(call_, code_.pair.table.index(tile.ty, tile.tx, start, tile.split, reuse),
                          runner_scratch_);
    }

private:
    static std::uintptr_t offset(std::int64_t index, std::int64_t stride) noexcept {
        return static_cast<std::uintptr_t>(index * stride);
    }
    static std::uintptr_t address(const void* base, const TensorStrides& strides, std::int64_t n) noexcept {
        return reinterpret_cast<std::uintptr_t>(base) + static_cast<std::uintptr_t>(n * strides.image);
    }
    // Rows of a ring keep their slot while tiles move down; rows of a tile that starts afresh begin at slot
    // 0.
    std::int64_t slot(std::int64_t row, std::int64_t first) const noexcept {
        return code_.plan.fusion == Fusion::sliding ? row % code_.mid.slots : row - first;
    }
    static void fill(std::uintptr_t* table, const Span& rows, std::uintptr_t base,
                     std::int64_t stride) noexcept {
        for (std::int64_t r = rows.begin; r < rows.end; ++r)
            table[r - rows.begin] = base + static_cast<std::uintptr_t>(r * stride);
    }
    void fill_residual(std::size_t i, std::uintptr_t* table, std::int64_t n, const Span& rows,
                       std::int64_t column) noexcept {
        const TensorStrides& strides = code_.residual[i];
        fill(table, rows,
             address(args_.residual[i], strides, n) + static_cast<std::uintptr_t>(column * strides.pixel),
             strides.row);
    }
    // Source rows point at the virtual column, which may lie left of the image: such addresses are never
    // read.
    void fill_source(const Stage& stage, std::int64_t n, const Span& rows, std::int64_t column) noexcept {
        const std::int64_t virtual_column = column_axis(stage).first_tap(column);
        const std::uintptr_t base =
            address(args_.input, code_.input, n) + offset(virtual_column, code_.input.pixel);
        fill(source_, rows, base, code_.input.row);
        // A staged row begins with the first column that exists.
        const std::int64_t missing = std::max<std::int64_t>(0, -virtual_column);
        fill(staged_, {0, code_.staging.bytes > 0 ? rows.size() : 0},
             staging_ + offset(code_.staging.left - missing, code_.staging.strides.pixel),
             code_.staging.strides.row);
        call_.prefetch = reinterpret_cast<const void*>(base + offset(rows.end, code_.input.row));
    }

    const KernelCode& code_;
    const Args& args_;
    std::uintptr_t mid_, staging_;
    std::byte* runner_scratch_;
    std::uintptr_t *source_, *staged_, *mid_rows_, *output_, *residual_[2];
    jit::TileArgs call_{};
};

}  // namespace

void run_part(const KernelImpl& kernel, int part, int nparts, const Args& args, const PackedData& packed,
              std::byte* scratch) noexcept {
    const KernelCode& code = *kernel.code;
    const Range items = part_range(kernel.tiles(), part, nparts);
    if (code.fills_source[0])
        std::memset(scratch + code.staging_offset(), packed.fill[0],
                    static_cast<std::size_t>(code.staging.bytes));
    if (code.fills_source[1]) std::memset(scratch, packed.fill[1], static_cast<std::size_t>(code.mid.bytes));
    PartRunner runner(kernel, args, packed, scratch);
    TileIndex before;
    for (std::int64_t item = items.begin; item < items.end; ++item) {
        const TileIndex tile = tile_at(code, item);
        const bool column = tile.n == before.n && tile.tx == before.tx;
        const bool follows = column && tile.split == before.split && tile.ty == before.ty + 1;
        const bool start = !(code.plan.fusion == Fusion::sliding && follows);
        const bool reuse = code.plan.fusion == Fusion::recompute && column && tile.ty == before.ty;
        runner.run(tile, start, reuse);
        before = tile;
    }
}

}  // namespace tandem
