// K blocks: how a direct dense stage's sum is cut so that the weights of a piece stay in L1 while a tile's
// pixels pass by.
//
// Every output is a sum over K = kernel rows x input channels x kernel columns, in this order. A K block is
// a range of input channels of one kernel row. Blocks follow each other in the order of the sum, so that no
// result changes by a bit. Between two blocks the accumulators of a tile's pixels are parked: stored as
// they are, [pixel][vector], in the workspace.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/plan/tile_geometry.hpp"

namespace tandem {

/// StagePlan::block_channels counts in these: whole channel blocks of every layout, whole groups of small
/// data types, whole tiles of AMX.
std::int64_t block_channels_step(Dot dot) noexcept;

/// The largest block_channels a stage takes with a dot; 0 where there is nothing to cut.
std::int64_t max_block_channels(const Stage& stage, Dot dot) noexcept;

/// The stage's sum is cut into K blocks.
inline bool has_k_blocks(const StagePlan& plan) noexcept { return plan.block_channels > 0; }

/// Its accumulators are parked between pieces of the sum: K blocks, or Strassen's products.
inline bool parks_sums(const StagePlan& plan) noexcept {
    return has_k_blocks(plan) || plan.algorithm == Algorithm::strassen;
}

/// A piece of the sum: all channels of all kernel rows, or some channels of one kernel row.
struct KBlock {
    Span kernel_rows{}, channels{};
    bool operator==(const KBlock&) const = default;
};

/// Equal blocks, one after the other; `first` is the first of them.
struct KBlockRun {
    KBlock first{};
    std::int64_t count = 1;
    bool operator==(const KBlockRun&) const = default;
};

/// All K blocks of a dense stage in the order of the sum. The first and the last block of a kernel row are
/// runs of their own; the last may have fewer channels.
std::vector<KBlockRun> k_block_runs(const Stage& stage, const StagePlan& plan);

/// The calls of AMX's inner routine for a row of `width` pixels: each covers one or more tiles of equally
/// many pixels; the last tile of a row overlaps the one before it rather than being shorter.
struct AmxCall {
    std::int64_t tiles = 0;
    std::array<std::int64_t, amx_sums> first{};  // pixel of each tile, from the call's first
    std::int64_t pixels = 0, step = 0;           // covered by it, and from it to the next call
    std::int64_t finished = 0;                   // of its pixels, those that the call before covers too
    std::int64_t count = 1;                      // equal ones, one after the other
};
std::vector<AmxCall> amx_calls(std::int64_t width, int vectors);
/// Pixels of each of its tiles.
std::int64_t amx_tile_pixels(std::int64_t width) noexcept;
/// Pixels of all calls together, those counted twice that two calls cover.
std::int64_t amx_parked_pixels(std::int64_t width, int vectors);

/// Bytes of the sums of one call with AMX.
inline constexpr std::int64_t amx_parked_bytes = amx_sums * amx_rows * amx_row_bytes;

/// Most bytes of accumulators that a tile of stage i parks at a time: those of its pixels with K blocks
/// and with Strassen's products; else with AMX those of two calls, as one is finished while the next one
/// multiplies.
std::int64_t parked_bytes(const Problem& problem, const Plan& plan, int i);

}  // namespace tandem
