// The composer: stage -> row buffer -> stage, one generated function for every distinct tile shape of a
// segment.
//
// A tile function takes a TileArgs* and computes the tile: each stage's fresh rows into scratch, the last
// stage's into the output. Tiles that differ only in where they lie run the same function; edges are tile
// shapes of their own.
//
// Under backend libxsmm a tile function does the depthwise stages only, and dense stages get functions that
// finish their rows; who runs them in turn with LIBXSMM's kernels is core/run/batch_reduce.*.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/plan/segments.hpp"
#include "core/plan/tile_geometry.hpp"
#include "jit/code_block.hpp"
#include "jit/row_post_ops.hpp"
#include "jit/tile_args.hpp"

namespace tandem::jit {

/// Which tile function serves which tile.
class TileTable {
public:
    /// Classes of tile rows (by whether the intermediate starts afresh) and of tile columns; one function
    /// for each combination.
    TileTable(const Problem& problem, const Plan& plan);

    struct Class {  // a representative tile
        std::int64_t ty = 0, tx = 0;
        bool start = false;
    };
    const std::vector<Class>& row_classes() const noexcept { return row_classes_; }
    const std::vector<Class>& column_classes() const noexcept { return column_classes_; }

    /// Index of the function of a tile. `reuse`: the intermediate of the same tile is already there
    /// (another split computed it).
    std::size_t index(std::int64_t ty, std::int64_t tx, bool start, std::int64_t split,
                      bool reuse) const noexcept {
        const std::size_t row = row_of_[static_cast<std::size_t>(ty * 2 + start)];
        const std::size_t column = column_of_[static_cast<std::size_t>(tx)];
        return ((row * column_classes_.size() + column) * splits_ + static_cast<std::size_t>(split)) * 2 +
               reuse;
    }
    std::size_t size() const noexcept { return row_classes_.size() * column_classes_.size() * splits_ * 2; }

private:
    std::vector<Class> row_classes_, column_classes_;
    std::vector<std::size_t> row_of_, column_of_;
    std::size_t splits_;
};

/// The functions that finish a group's rows, by what the output holds before; `present` is null where there
/// is nothing to do.
struct RowFinishers {
    RowFinish present = nullptr, none = nullptr;
};

/// The functions of one segment.
struct SegmentFunctions {
    TileTable table;
    std::vector<TileFunction> functions;  // by TileTable::index; empty where no stage is Tandem's own
    std::array<std::vector<RowFinishers>, max_stages>
        finishers;  // of LIBXSMM's stages, one a GroupRun of the panel
};

struct ChainCode {
    EmittedCode code;
    std::vector<SegmentFunctions> segments;
};

/// Emits every tile function of a chain's segments. Their plans must have passed check_plan().
Result<ChainCode> emit_chain_kernel(std::span<const Segment> segments);

}  // namespace tandem::jit
