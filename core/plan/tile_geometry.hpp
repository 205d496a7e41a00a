// Which rows and columns a tile computes and reads: pure functions of (Problem, Plan).
//
// Vocabulary. Span: a half-open range. Taps of an output row: the kernel rows that fall inside the image;
// those in the padding are never computed. Virtual column: the column that tap 0 of a segment's first pixel
// reads, possibly left of the image.
// Held rows: those of a stage's output that the next stage reads; fresh ones among them are computed now, the
// others found in a ring. Flat: a pointwise stage whose rows are adjacent where it reads and where it writes,
// so that a tile's rows are one long row of pixels.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/plan/plan.hpp"
#include "core/plan/tensor_strides.hpp"

namespace tandem {

struct Span {
    std::int64_t begin = 0, end = 0;
    std::int64_t size() const noexcept { return end - begin; }
    bool operator==(const Span&) const = default;
};

/// One axis of a stage.
struct Axis {
    std::int64_t in, out, kernel, stride, dilation, pad;

    std::int64_t first_tap(std::int64_t o) const noexcept { return o * stride - pad; }
    Span taps(std::int64_t o) const noexcept;  // kernel positions inside the image for output o; may be empty
    Span inputs(const Span& outputs)
        const noexcept;  // input positions read for a range of outputs, clipped to the image
};
Axis row_axis(const Stage& stage) noexcept;
Axis column_axis(const Stage& stage) noexcept;

/// A run of output pixels in one row: width, and the input columns that exist, counted from the virtual
/// column.
struct SegmentShape {
    std::int64_t width = 0;
    Span columns{};
    bool operator==(const SegmentShape&) const = default;
};

/// What one stage does in one tile, in image coordinates.
struct StageTile {
    Span rows{}, cols{};         // outputs computed
    Span grid_rows{};            // Winograd: whole output tiles that cover the rows; else the rows
    Span in_rows{};              // first to last input row any of them reads; empty if none reads any
    std::int64_t first_row = 0;  // index of the first computed row among the held ones
    std::int64_t in_column = 0;  // virtual column
    Span in_columns{};           // input columns that are read, counted from the virtual column; likewise
    std::int64_t shift = 0;      // virtual column minus the column that the input row pointers point at
    SegmentShape segment{};
    std::vector<Span> taps;  // per computed row
};

/// The shape of a tile: tiles of equal shape run the same code.
struct TileShape {
    std::vector<StageTile> stages;
};

/// How a plan cuts the output; all counts follow from problem and plan.
struct TileGrid {
    std::int64_t images = 1, tiles_y = 1, tiles_x = 1, splits = 1;
    bool rows_inside = false;  // parts take all rows of a column of tiles before the next channel split
    std::int64_t count() const noexcept { return images * tiles_y * tiles_x * splits; }
};
TileGrid tile_grid(const Problem& problem, const Plan& plan) noexcept;

/// A tile's place in the grid.
struct TileIndex {
    std::int64_t n = -1, ty = -1, tx = -1, split = -1;
};
/// The order in which parts take tiles. Sliding windows walk down a column of tiles, and so does a stage
/// alone, which reads a split's weights again and again; otherwise the channel splits of a tile are
/// neighbours, so that one part computes the stages before the last once for all its splits.
TileIndex tile_at(const TileGrid& grid, std::int64_t item) noexcept;

/// What a tile finds when it comes after `before` in one part.
struct TileStart {
    bool start = true;   // nothing of the intermediates is there yet
    bool reuse = false;  // all of them are there: another channel split of the same tile has computed them
};
TileStart tile_start(const TileIndex& tile, const TileIndex& before, bool slides) noexcept;

/// Rows of stage i are laid end to end.
bool is_flat(const Problem& problem, const Plan& plan, int i) noexcept;
/// The same of the last stage.
bool is_flat(const Problem& problem, const Plan& plan) noexcept;

/// The rows and columns of a tile, without the shapes: what the executor needs of each tile, free of
/// allocation.
struct TileSpans {
    struct Stage {
        Span held{};  // rows of its output in scratch, for what comes next; the last stage's: output rows
        Span rows{}, cols{};  // computed now: the fresh ones of the held rows
    };
    std::array<Stage, max_stages> stages{};
    Span source_rows{};  // input rows of the first stage
    const Stage& stage(int i) const noexcept { return stages[static_cast<std::size_t>(i)]; }
};
TileSpans tile_spans(const Problem& problem, const Plan& plan, std::int64_t ty, std::int64_t tx,
                     bool start) noexcept;

/// Output rows and columns of a Winograd tile: 4 or 2 where the kernel has more than one row or column, else
/// 1, as of a direct stage.
Size2 winograd_tile(const Stage& stage, Algorithm algorithm) noexcept;
/// The most rows and columns of the plan's stages.
Size2 largest_winograd_tile(const Problem& problem, const Plan& plan) noexcept;

/// Whole Winograd tiles that cover these rows of stage i's output, else the rows. Where the grid lies follows
/// from the problem alone, so that a result comes out the same to the bit whatever tile or part computes it.
Span grid_rows(const Problem& problem, const Plan& plan, int i, const Span& rows) noexcept;

/// The tile in row ty and column tx of the grid. `start`: nothing of the intermediates is there yet (always
/// so where no edge is sliding).
TileShape tile_shape(const Problem& problem, const Plan& plan, std::int64_t ty, std::int64_t tx, bool start);

/// Rows in scratch: `slots` of them, each `width` pixels, channel-blocked. In flat buffers the rows are
/// adjacent.
struct RowBuffer {
    std::int64_t slots = 0, width = 0;
    std::int64_t left = 0;  // of the width: columns of padding before the first one that is stored
    TensorStrides strides{};
    std::int64_t bytes = 0;
};
/// The output of stage i that stage i + 1 of the same segment reads, with blocks of a vector of channels, or
/// as LIBXSMM likes them.
RowBuffer mid_buffer(const Problem& problem, const Plan& plan, int i);
/// Bytes of all of them.
std::int64_t mid_bytes(const Problem& problem, const Plan& plan);
/// The staged input rows of a tile (core/plan/arithmetic.hpp); empty where nothing is staged.
RowBuffer staging_buffer(const Problem& problem, const Plan& plan);

/// Equal pieces, the larger ones first: 49 in pieces of at most 14 -> 13 12 12 12.
std::vector<std::int64_t> balanced_split(std::int64_t total, std::int64_t at_most);

}  // namespace tandem
