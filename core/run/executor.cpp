#include "core/run/executor.hpp"

#include <algorithm>
#include <cstring>

#include "core/plan/float_state.hpp"
#include "core/plan/partition.hpp"

namespace tandem {
namespace {

/// The tensors of one image that a segment reads and writes.
struct Tensors {
    const std::byte* input = nullptr;
    const float* factors = nullptr;  // of the input's channels, where it has them
    std::byte* output = nullptr;
    std::array<const std::byte*, max_stages> residual{};
};

/// Runs tiles of one segment: fills each tile's row tables and calls its function.
class SegmentRunner {
public:
    SegmentRunner(const SegmentCode& segment, const PackedData& packed, std::byte* scratch) noexcept
        : code_(segment), scratch_(scratch) {
        auto* at = reinterpret_cast<std::uintptr_t*>(scratch + code_.offsets.tables);
        const auto take = [&at](std::int64_t rows) {
            std::uintptr_t* table = at;
            at += rows;
            return table;
        };
        source_ = take(code_.source_rows);
        staged_ = take(code_.source_rows);
        planes_ = take(code_.held_rows[stage_count() - 1]);
        call_.plane_rows = reinterpret_cast<void* const*>(planes_);
        call_.workspace = scratch + code_.offsets.workspace;
        call_.source_rows = reinterpret_cast<const void* const*>(source_);
        call_.staged_rows = reinterpret_cast<void* const*>(staged_);
        for (std::size_t i = 0; i < stage_count(); ++i) {
            outputs_[i] = take(code_.held_rows[i]);
            residuals_[i] = take(code_.held_rows[i]);
            auto* rows = reinterpret_cast<void* const*>(outputs_[i]);
            (i + 1 < stage_count() ? call_.mid_rows[i] : call_.output_rows) = rows;
            call_.residual_rows[i] = reinterpret_cast<const void* const*>(residuals_[i]);
            const std::size_t stage = static_cast<std::size_t>(code_.first) + i;
            call_.panels[i] = packed.buffer.data() + packed.panel_offset[stage];
            if (!code_.fills_source[i]) continue;
            const RowBuffer& source = i == 0 ? code_.staging : code_.mids[i - 1];
            const std::size_t offset = i == 0 ? code_.offsets.staging : code_.offsets.mids[i - 1];
            std::memset(scratch + offset, packed.fill[stage], static_cast<std::size_t>(source.bytes));
        }
    }

    /// Tiles prefetch what lies behind `address`: none so far.
    void prefetch_from(std::uintptr_t address) noexcept { call_.upcoming = call_.upcoming_end = address; }
    /// The next tile goes on to `end`.
    void prefetch_to(std::uintptr_t end) noexcept { call_.upcoming_end = end; }

    void run(const Tensors& tensors, const TileIndex& tile, const TileStart& how) noexcept {
        const TileSpans spans = tile_spans(code_.problem, code_.plan, tile.ty, tile.tx, how.start);
        const std::size_t last = stage_count() - 1;
        for (std::size_t i = how.reuse ? last : 0; i <= last; ++i) {
            const TileSpans::Stage& stage = spans.stages[i];
            if (tensors.residual[i] != nullptr)
                fill(residuals_[i], stage.rows,
                     address(tensors.residual[i], stage.cols.begin, code_.residual[i]),
                     code_.residual[i].row);
        }
        for (std::size_t i = 0; i < last; ++i)
            fill_mid(i, spans.stages[i].held);
        fill_output(tensors.output, spans.stages[last].rows, spans.stages[last].cols.begin);
        fill_source(tensors.input, spans.source_rows, spans.stages[0].cols.begin);
        call_.factors = tensors.factors;
        code_.runner->run(call_, code_.code.table.index(tile.ty, tile.tx, how.start, tile.split, how.reuse),
                          scratch_ + code_.offsets.runner);
    }

private:
    std::size_t stage_count() const noexcept { return static_cast<std::size_t>(code_.problem.stage_count); }
    static std::uintptr_t offset(std::int64_t index, std::int64_t stride) noexcept {
        return static_cast<std::uintptr_t>(index * stride);
    }
    static std::uintptr_t address(const std::byte* image, std::int64_t column,
                                  const TensorStrides& strides) noexcept {
        return reinterpret_cast<std::uintptr_t>(image) + offset(column, strides.pixel);
    }
    static void fill(std::uintptr_t* table, const Span& rows, std::uintptr_t base,
                     std::int64_t stride) noexcept {
        for (std::int64_t r = rows.begin; r < rows.end; ++r)
            table[r - rows.begin] = base + offset(r, stride);
    }
    // Rows of a ring keep their slot while tiles move down; rows of a tile that starts afresh begin at slot
    // 0.
    void fill_mid(std::size_t i, const Span& held) noexcept {
        const RowBuffer& mid = code_.mids[i];
        const bool ring = code_.plan.edges[i] == Edge::sliding;
        const std::uintptr_t base = reinterpret_cast<std::uintptr_t>(scratch_ + code_.offsets.mids[i]) +
                                    offset(mid.left, mid.strides.pixel);
        for (std::int64_t r = held.begin; r < held.end; ++r)
            outputs_[i][r - held.begin] =
                base + offset(ring ? r % mid.slots : r - held.begin, mid.strides.row);
    }
    // Rows of the tensor, or of scratch, from where they go to the tensor's planes.
    void fill_output(std::byte* image, const Span& rows, std::int64_t column) noexcept {
        std::uintptr_t* written = outputs_[stage_count() - 1];
        const std::uintptr_t base = address(image, column, code_.output);
        if (code_.written.bytes == 0) return fill(written, rows, base, code_.output.row);
        fill(planes_, rows, base, code_.output.row);
        for (std::int64_t r = 0; r < rows.size(); ++r)
            written[r] = reinterpret_cast<std::uintptr_t>(scratch_ + code_.offsets.written) +
                         offset(r, code_.written.strides.row);
    }
    // Source rows point at the virtual column, which may lie left of the image: such addresses are never
    // read.
    void fill_source(const std::byte* image, const Span& rows, std::int64_t column) noexcept {
        const std::int64_t virtual_column = column_axis(code_.problem.stage(0)).first_tap(column);
        const std::uintptr_t base = address(image, virtual_column, code_.input);
        fill(source_, rows, base, code_.input.row);
        call_.prefetch = reinterpret_cast<const void*>(base + offset(rows.end, code_.input.row));
        if (code_.staging.bytes == 0) return;
        // A staged row begins with the first column that exists.
        const std::int64_t missing = std::max<std::int64_t>(0, -virtual_column);
        const std::uintptr_t staging = reinterpret_cast<std::uintptr_t>(scratch_ + code_.offsets.staging) +
                                       offset(code_.staging.left - missing, code_.staging.strides.pixel);
        fill(staged_, {0, rows.size()}, staging, code_.staging.strides.row);
    }

    const SegmentCode& code_;
    std::byte* scratch_;
    std::uintptr_t *source_, *staged_, *planes_;
    std::array<std::uintptr_t*, max_stages> outputs_{}, residuals_{};
    jit::TileArgs call_{};
};

/// The tensors between segments: of one image, whichever is being computed, in a part's scratch; or of all
/// images, in memory that parts share.
class StoredTensors {
public:
    StoredTensors(const KernelCode& code, std::byte* base, std::int64_t images) noexcept
        : code_(code), base_(base), images_(static_cast<std::size_t>(images)) {}
    /// What segment `segment` writes of image n.
    std::byte* output(std::size_t segment, std::int64_t n) const noexcept {
        const std::size_t image = static_cast<std::size_t>(n) % images_;
        return base_ + code_.stored_offsets[segment] * images_ + image * code_.stored_bytes(segment);
    }

private:
    const KernelCode& code_;
    std::byte* base_;
    std::size_t images_;
};

class PartRunner {
public:
    PartRunner(const KernelCode& code, const Args& args, const PackedData& packed, std::byte* scratch,
               const StoredTensors& stored) noexcept
        : code_(code), args_(args), packed_(packed), scratch_(scratch), stored_(stored) {}

    /// Tiles `items` of the last segment, counted over all images, and what they read of the segments before.
    void run(const Range& items) noexcept {
        const std::int64_t per_image = code_.last().grid.count();
        if (code_.segments.size() == 1) return run_tiles(0, items);
        for (std::int64_t begin = items.begin; begin < items.end;) {
            const std::int64_t n = begin / per_image, end = std::min(items.end, (n + 1) * per_image);
            run_image(code_.segments.size() - 1, n, {begin, end});
            begin = end;
        }
    }

    /// Tiles of one segment; what they read is there already.
    void run_tiles(std::size_t segment, const Range& items) noexcept {
        const SegmentCode& code = code_.segments[segment];
        SegmentRunner runner(code, packed_, scratch_ + code_.segments_offset);
        const auto next = reinterpret_cast<std::uintptr_t>(args_.next.data());
        const std::uintptr_t next_bytes = upcoming_bytes(segment);
        runner.prefetch_from(next);
        TileIndex before;
        for (std::int64_t item = items.begin; item < items.end; ++item) {
            const TileIndex tile = tile_at(code.grid, item);
            const auto done = static_cast<std::uintptr_t>(item + 1 - items.begin);
            runner.prefetch_to(next + next_bytes * done / static_cast<std::uintptr_t>(items.size()));
            runner.run(tensors(segment, tile.n), tile, tile_start(tile, before, code.slides));
            before = tile;
        }
    }

private:
    /// What tiles of a segment prefetch of Args::next, an equal share each: half of L2 is left to what they
    /// work on.
    std::size_t upcoming_bytes(std::size_t segment) const noexcept {
        if (segment != code_.fetching_segment) return 0;
        return std::min(args_.next.size(), code_.machine.caches.l2 / 2);
    }

    /// Tiles of a segment that lie in one image, and before them what they read of the segments before.
    void run_image(std::size_t segment, std::int64_t n, const Range& items) noexcept {
        if (segment > 0) run_image(segment - 1, n, tiles_of(segment - 1, n, source_rows(segment, items)));
        run_tiles(segment, items);
    }

    /// Input rows that tiles of one image read.
    Span source_rows(std::size_t segment, const Range& items) const noexcept {
        const SegmentCode& code = code_.segments[segment];
        Span rows{code.problem.stage(0).in_h, 0};
        for (std::int64_t item = items.begin; item < items.end; ++item) {
            const TileIndex tile = tile_at(code.grid, item);
            const Span read = tile_spans(code.problem, code.plan, tile.ty, tile.tx, true).source_rows;
            if (read.size() > 0) rows = {std::min(rows.begin, read.begin), std::max(rows.end, read.end)};
        }
        return rows;
    }

    /// The tiles of image n that compute these output rows, and where they are not neighbours all of the
    /// image's.
    Range tiles_of(std::size_t segment, std::int64_t n, const Span& rows) const noexcept {
        const SegmentCode& code = code_.segments[segment];
        const TileGrid& grid = code.grid;
        const std::int64_t first = n * grid.count();
        if (rows.size() <= 0) return {first, first};
        if (grid.tiles_x > 1 || (grid.rows_inside && grid.splits > 1)) return {first, first + grid.count()};
        const std::int64_t top = rows.begin / code.plan.tile_h,
                           bottom = (rows.end - 1) / code.plan.tile_h + 1;
        return {first + top * grid.splits, first + bottom * grid.splits};
    }

    Tensors tensors(std::size_t segment, std::int64_t n) const noexcept {
        const SegmentCode& code = code_.segments[segment];
        const bool first = segment == 0, last = segment + 1 == code_.segments.size();
        Tensors tensors;
        tensors.input = first ? static_cast<const std::byte*>(args_.input) + n * code.input.image
                              : stored_.output(segment - 1, n);
        if (code.problem.input.factors) tensors.factors = args_.input_factors + n * code.problem.input.c;
        tensors.output =
            last ? static_cast<std::byte*>(args_.output) + n * code.output.image : stored_.output(segment, n);
        for (int i = 0; i < code.problem.stage_count; ++i) {
            const void* residual = args_.residual[static_cast<std::size_t>(code.first + i)];
            const auto s = static_cast<std::size_t>(i);
            if (residual != nullptr)
                tensors.residual[s] = static_cast<const std::byte*>(residual) + n * code.residual[s].image;
        }
        return tensors;
    }

    const KernelCode& code_;
    const Args& args_;
    const PackedData& packed_;
    std::byte* scratch_;
    const StoredTensors& stored_;
};

}  // namespace

void run_part(const KernelImpl& kernel, int part, int nparts, const Args& args, const PackedData& packed,
              std::byte* scratch) noexcept {
    const DefaultMxcsr mxcsr;
    const StoredTensors stored(*kernel.code, scratch, 1);
    PartRunner(*kernel.code, args, packed, scratch, stored).run(part_range(kernel.tiles(), part, nparts));
}

void run_step(const KernelImpl& kernel, int step, int part, int nparts, const Args& args,
              const PackedData& packed, std::byte* scratch, std::byte* shared) noexcept {
    const DefaultMxcsr mxcsr;
    const StoredTensors stored(*kernel.code, shared, kernel.problem.input.n);
    const auto segment = static_cast<std::size_t>(step);
    const std::int64_t tiles = kernel.problem.input.n * kernel.code->segments[segment].grid.count();
    PartRunner(*kernel.code, args, packed, scratch, stored)
        .run_tiles(segment, part_range(tiles, part, nparts));
}

}  // namespace tandem
