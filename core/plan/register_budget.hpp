// Registers: how many there are, and what is held beside accumulators. Plans are sized by it, and emitters
// fail where they are given fewer.
#pragma once

#include <algorithm>

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

namespace depthwise_registers {
/// General ones left for row pointers: the arguments, three row tables and the panel are held throughout.
inline constexpr int row_pointers = general_registers - 5;
/// Held through a block: the permutation; on AVX2 also the mask of input lanes.
constexpr int held(Isa isa, bool permutes) noexcept { return is_avx512(isa) ? (permutes ? 1 : 0) : 2; }
/// What inputs are loaded into, by turns.
constexpr int loaders(Isa isa) noexcept { return is_avx512(isa) ? 3 : 1; }
/// Dot int8: two windows to load into, two vectors of indices.
inline constexpr int windows = 4;
static_assert(windows >= epilogue_temps);
}  // namespace depthwise_registers

}  // namespace tandem
