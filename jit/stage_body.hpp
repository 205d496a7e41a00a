// StageBody: what a stage's emitter (depthwise.*, dense.*) offers to the composer (chain_kernel.*), and what
// both share.
//
// A body emits, into a tile function, the code that computes the stage's rows of the tile. Inner routines
// are asked for while the tile functions are emitted, shared between them, and emitted behind them.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/plan/panel.hpp"
#include "core/plan/stage_io.hpp"
#include "jit/elements.hpp"
#include "jit/reg_pool.hpp"
#include "jit/simd.hpp"
#include "jit/tile_args.hpp"

namespace tandem::jit {

inline constexpr std::int64_t line_bytes = 64;  // of a cache line

/// The register that `lanes` valid channels take: half a register where that is enough, with the lanes of
/// it to touch.
struct TailVector {
    bool half = false;
    int lanes = 0;  // of that register; 0 = all
};

/// What one stage's code is emitted for. Members are decided before any instruction.
struct StageContext {
    Simd simd;
    const Stage* stage;
    StagePlan plan;
    int index;             // of the stage: which residual table, and its name
    std::size_t panel_at;  // offset in TileArgs of the panel's address
    PanelLayout panel;
    TensorStrides in, out, residual;
    Element in_element, out_element;
    DataType out_dtype;  // what out_element's numbers are rounded to
    TailStore tail_store;
    std::size_t source_rows;  // offset in TileArgs of the table of input rows
    std::size_t output_rows;  // offset in TileArgs of the table of output rows
    std::int64_t weights_ahead =
        0;  // Winograd's GEMMs: bytes from the weights being read to those to prefetch to L2; 0: none
    std::int64_t rows_ahead =
        0;  // depthwise: the same for the input rows that the next tile reads and this one does not

    /// A permuted vector is always full-width: its lanes come from anywhere in the input vector.
    TailVector tail_vector(int tail_lanes) const noexcept {
        if (simd.lanes == 16 && tail_lanes > 0 && tail_lanes <= 8 && !panel.permute)
            return {true, tail_lanes % 8};
        return {false, tail_lanes};
    }
    std::string name() const {
        constexpr std::array<const char*, max_stages> names{"first", "second", "third", "fourth"};
        return names[static_cast<std::size_t>(index)];
    }
};

/// Inner routines by key, each emitted once.
class Routines {
public:
    /// The label of routine `key`; `emit` writes it when its turn comes.
    Label& get(const std::string& key, std::function<void()> emit);
    void emit_pending(CodeBlock& code);

private:
    struct Routine {
        std::string key;
        Label label;
        std::function<void()> emit;
    };
    std::map<std::string, std::size_t> by_key_;
    std::deque<Routine> routines_;
    std::size_t emitted_ = 0;
};

class StageBody {
public:
    virtual ~StageBody() = default;
    /// Emits the computation of `tile` for the output channels of `runs`. `first_row`: index of the tile's
    /// first computed row in the table of output rows.
    virtual void emit_tile(const StageTile& tile, std::span<const GroupRun> runs, std::int64_t first_row) = 0;
    /// Emits the inner routines asked for so far.
    virtual void emit_routines(CodeBlock& code) { routines_.emit_pending(code); }

protected:
    Routines routines_;
};

/// A run of equal pixel blocks of a row.
struct BlockRun {
    std::int64_t width = 0, count = 0;
    Span columns{};  // input columns that exist, from the block's virtual column
    bool operator==(const BlockRun&) const = default;
};
/// Cuts a segment into balanced blocks of at most `at_most` pixels, multiples of `step` but for the last,
/// and joins equal neighbours.
std::vector<BlockRun> block_runs(const Axis& axis, const SegmentShape& segment, std::int64_t at_most,
                                 std::int64_t step = 1);

/// Offsets in TileArgs.
inline std::size_t local_offset(Local local) {
    return offsetof(TileArgs, locals) + static_cast<std::size_t>(local) * sizeof(std::int64_t);
}
inline std::size_t mid_offset(int stage) {
    return offsetof(TileArgs, mid_rows) + static_cast<std::size_t>(stage) * sizeof(void*);
}
inline std::size_t panel_offset(int stage) {
    return offsetof(TileArgs, panels) + static_cast<std::size_t>(stage) * sizeof(void*);
}
inline std::size_t residual_offset(int stage) {
    return offsetof(TileArgs, residual_rows) + static_cast<std::size_t>(stage) * sizeof(void*);
}

/// Emits `body` `count` times at run time, counting in `counter` (memory or register); count 1 emits no
/// loop.
void emit_loop(CodeBlock& code, const Xbyak::Operand& counter, std::int64_t count,
               const std::function<void()>& body);
/// Emits the prefetch to L2 of the next lines of TileArgs::upcoming, as many as fit into `cycles` of
/// computing, or nothing once the end is reached. `scratch`: clobbered.
void emit_prefetch_upcoming(CodeBlock& code, const Gpr& args, const Gpr& scratch, std::int64_t cycles);
/// `value` as an immediate operand, which instructions sign-extend: 0 to 2^31 - 1. Throws
/// std::overflow_error (an Error once it leaves emit_code) for any other, as wrapped it would be a wrong
/// address.
std::uint32_t immediate(std::int64_t value);
/// reg += value, nothing for 0. Magnitudes as in immediate().
void emit_add(CodeBlock& code, const Gpr& reg, std::int64_t value);

inline constexpr int output_mask = 1, residual_mask = 2,
                     input_mask = 3;  // k registers, held through a stage; jit/elements.cpp uses k4
inline const Xbyak::Opmask byte_mask(5), column_mask(6);  // set where they are used

}  // namespace tandem::jit
