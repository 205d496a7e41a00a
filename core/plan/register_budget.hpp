// Registers: how many there are, and what is held beside accumulators. Plans are sized by it, and emitters
// fail where they are given fewer.
#pragma once

#include <algorithm>

#include "core/plan/arithmetic.hpp"
#include "core/plan/plan.hpp"
#include "core/plan/post_op_traits.hpp"

namespace tandem {

constexpr int vector_registers(Isa isa) noexcept { return is_avx512(isa) ? 32 : 16; }
inline constexpr int general_registers = 15;  // but rsp

/// What an epilogue needs besides accumulators (jit/epilogue.hpp): constants and temporaries of a post-op, or
/// the four numbers of a quantisation.
inline constexpr int epilogue_temps = 4;
static_assert(std::ranges::all_of(post_op_rows::rows,
                                  [](const PostOpTraits& row) { return row.temps <= epilogue_temps; }));

/// Accumulators of a dense block.
constexpr int accumulator_budget(Isa isa) noexcept { return vector_registers(isa) - epilogue_temps; }

/// A dense stage's multiplies can embed the broadcast of a pixel, so that its plan has the choice.
constexpr bool can_embed_broadcast(Isa isa, Dot dot) noexcept {
    return is_avx512(isa) && !needs_broadcast(dot) && !uses_amx(dot);
}
/// They do.
constexpr bool embeds_broadcast(Isa isa, const StagePlan& stage) noexcept {
    return can_embed_broadcast(isa, stage.dot) && stage.broadcast == Broadcast::embedded;
}

/// Most pixels of a dense block of `vectors`: beside its accumulators it holds a vector of weights for each
/// of them, unless broadcasts are embedded a register for these, and products that no instruction adds. With
/// pixel pairs `vectors` are those of a pair, which may take one more when its sums come apart.
constexpr int max_dense_pixels(Isa isa, const StagePlan& stage, int vectors) noexcept {
    const int broadcasts = embeds_broadcast(isa, stage) ? 0 : 1, products = stage.dot == Dot::int16 ? 1 : 0;
    const int left = vector_registers(isa) - vectors - broadcasts - products;
    const int apart = stage.pixel_pairs ? vectors % 2 : 0;
    return std::min(accumulator_budget(isa) - apart, left) / vectors * (stage.pixel_pairs ? 2 : 1);
}

/// What the rules take, and what plans meant before they said it: from three vectors on, a register costs
/// fewer loads than as many embedded broadcasts. Embedded where the block leaves no register.
constexpr Broadcast default_broadcast(const Plan& plan, StagePlan stage) noexcept {
    constexpr int least_vectors = 3;
    stage.broadcast = Broadcast::registers;
    const bool possible = plan.backend == Backend::tandem && can_embed_broadcast(plan.isa, stage.dot);
    return possible && stage.block_vectors >= least_vectors &&
                   stage.block_pixels <= max_dense_pixels(plan.isa, stage, stage.block_vectors)
               ? Broadcast::registers
               : Broadcast::embedded;
}

namespace depthwise_registers {
/// General ones left for row pointers: the arguments, three row tables and the panel are held throughout.
inline constexpr int row_pointers = general_registers - 5;
/// Output rows at once: pointers to all of them, to as many of a residual, to an input row and what is added
/// to find the next one.
inline constexpr int most_rows = (row_pointers - 2) / 2;
/// Held through a block: the permutation; on AVX2 also the mask of input lanes.
constexpr int held(Isa isa, bool permutes) noexcept { return is_avx512(isa) ? (permutes ? 1 : 0) : 2; }
/// What inputs are loaded into, by turns.
constexpr int loaders(Isa isa) noexcept { return is_avx512(isa) ? 3 : 1; }
/// Dot int8: two windows to load into, two vectors of indices.
inline constexpr int windows = 4;
static_assert(windows >= epilogue_temps);
/// The same of 64 channels: two pairs of columns, a window.
inline constexpr int quad_windows = 5;
static_assert(quad_windows >= epilogue_temps);
}  // namespace depthwise_registers

}  // namespace tandem
