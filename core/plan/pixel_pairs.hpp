// Pixel pairs: how a pointwise stage fills its vectors where the last one has at most half of its channels,
// as that of 24 or 40 output channels on AVX-512. Pure functions.
//
// The depthwise stage before it writes the pixels 2k and 2k + 1 of a row in turns, dot group by dot group, so
// that one broadcast of 8 bytes brings a dot group of both to all lanes. Weights lie twice in a vector's
// lanes, and so do the pair's sums: a vector of channels takes two, a last one that is half full one. 24
// channels of two pixels are 3 vectors instead of 4.
//
//   x, y: a vector of each pixel        in a pair: unpacklo(x, y), unpackhi(x, y), of 32-bit lanes
//   low, high: those two vectors        apart: shuffle(low, high, 0x88), shuffle(low, high, 0xdd)
//
// A half-full vector's low and high are the halves of one register. Sums are taken apart before the post-ops,
// which know of no pairs, and no bit of a result depends on them.
#pragma once

#include <cstdint>
#include <vector>

#include "core/plan/plan.hpp"

namespace tandem {

/// Pixels of a row that a block takes at a time.
constexpr std::int64_t pixel_step(const StagePlan& stage) noexcept { return stage.pixel_pairs ? 2 : 1; }

/// A vector of so many valid lanes, 0 = all, shares a register with that of the other pixel.
constexpr bool is_half_full(int tail_lanes, int lanes) noexcept {
    return tail_lanes > 0 && tail_lanes <= lanes / 2;
}
/// Registers of a pair's sums of `vectors` output vectors, of which the last has `tail_lanes`.
constexpr int pixel_pair_vectors(int vectors, int tail_lanes, int lanes) noexcept {
    return 2 * vectors - (is_half_full(tail_lanes, lanes) ? 1 : 0);
}
/// The first of the two lanes that channel `channel` of a group has, counted through the group's registers.
constexpr std::int64_t pixel_pair_lane(std::int64_t channel, std::int64_t lanes, bool half_full) noexcept {
    const std::int64_t vector = channel / lanes, c = channel % lanes;
    const std::int64_t high = c / 2 % 2 * (half_full ? lanes / 2 : lanes);
    return 2 * vector * lanes + high + c / 4 * 4 + c % 2 * 2;
}

/// Byte of dot group `group` in a pair of pixels of so many bytes each; that of the second pixel is next.
constexpr std::int64_t pixel_pair_offset(std::int64_t group, std::int64_t pixel_bytes) noexcept {
    return group / 4 * 16 + group / 2 % 2 * pixel_bytes + group % 2 * 8;
}

/// Stage i can take pixel pairs: it is pointwise, its last vector half full at most, and its source written
/// to scratch by a depthwise stage of the same segment, two pixels or more at a time, in groups of any
/// vector dot but int16.
bool pixel_pairs_apply(const Problem& problem, const Plan& plan, int i) noexcept;

/// Register blocks of pairs worth trying for stage i; none where pairs do not apply.
std::vector<StagePlan> pixel_pair_blocks(const Problem& problem, Plan plan, int i);

}  // namespace tandem
