// TileArgs: the one argument of a generated tile function. The executor fills it; the emitter reads it at
// fixed offsets.
#pragma once

#include <cstddef>
#include <cstdint>

#include "jit/code_block.hpp"

namespace tandem::jit {

/// Tables hold one pointer a row. Source rows point at the virtual column of the tile's first pixel,
/// destination and residual rows at its first pixel. Intermediate rows point at their first stored column.
struct TileArgs {
    const void* const* source_rows = nullptr;  // rows [in_rows) of the first stage
    void* const* staged_rows =
        nullptr;  // their copies in scratch (core/plan/arithmetic.hpp), likewise; where there are any
    void* const* mid_rows = nullptr;  // rows [mid_rows) of the intermediate
    void* const* output_rows = nullptr;
    const void* const* residual_rows[2] = {nullptr, nullptr};  // of the rows each stage computes
    const void* panels[3] = {
        nullptr, nullptr, nullptr};  // packed weights of each stage; the third: of Winograd's current point
    void* workspace = nullptr;  // Winograd's, or parked accumulators (core/plan/winograd.hpp, k_blocks.hpp)
    const void* gemm_source = nullptr;  // Winograd's current point: transformed inputs and products
    void* gemm_output = nullptr;
    const void* const* gemm_sources = &gemm_source;  // the same as tables of one row
    void* const* gemm_outputs = &gemm_output;
    const void* prefetch = nullptr;  // first input row that the next tile needs and this one does not
    std::int64_t locals[14] = {};    // the generated code's own: counters of outer loops

    TileArgs() = default;
    TileArgs(const TileArgs&) = delete;  // it points into itself
    TileArgs& operator=(const TileArgs&) = delete;
};

/// Names of TileArgs::locals.
enum class Local {
    groups,
    rows,
    blocks,
    channels,
    input_x,
    output_x,
    residual_x,
    points,
    k_blocks,
    k_weights,
    k_input,
    park_next,
    parked,
    mxcsr,
    count
};
static_assert(sizeof(TileArgs::locals) == static_cast<std::size_t>(Local::count) * sizeof(std::int64_t));

using TileFunction = void (*)(TileArgs*);

}  // namespace tandem::jit
