// TileArgs: the one argument of a generated tile function. The executor fills it; the emitter reads it at
// fixed offsets.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/plan/problem.hpp"
#include "jit/code_block.hpp"

namespace tandem::jit {

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
    k_ahead,
    park_next,
    parked,
    mxcsr,
    count
};

/// Tables hold one pointer a row. Source rows point at the virtual column of the tile's first pixel,
/// destination and residual rows at its first pixel. Intermediate rows point at their first stored column.
struct TileArgs {
    // The generated code's own, counters of outer loops: first, so that their displacements take a byte.
    std::int64_t locals[static_cast<std::size_t>(Local::count)] = {};
    const void* const* source_rows = nullptr;  // rows [in_rows) of the first stage
    void* const* staged_rows =
        nullptr;  // their copies in scratch (core/plan/arithmetic.hpp), where there are any
    void* const* mid_rows[max_stages - 1] = {};  // the held rows of each stage's output but the last's
    void* const* output_rows = nullptr;          // of the last stage
    void* const* plane_rows =
        nullptr;  // of an NCHW output's first plane, where the last stage writes scratch
    const void* const* residual_rows[max_stages] = {};  // of the rows each stage computes
    const void* panels[max_stages + 1] =
        {};                     // packed weights of each stage; the last: of Winograd's current point
    void* workspace = nullptr;  // Winograd's, or parked accumulators (core/plan/winograd.hpp, k_blocks.hpp)
    const void* gemm_source = nullptr;  // Winograd's current point: transformed inputs and products
    void* gemm_output = nullptr;
    const void* const* gemm_sources = &gemm_source;  // the same as tables of one row
    void* const* gemm_outputs = &gemm_output;
    const float* factors = nullptr;  // of the image's channels, where its input has them
    const void* prefetch = nullptr;  // first input row that the next tile needs and this one does not
    // What the kernel to come reads (Args::next), from the first line not yet prefetched; the code moves it.
    std::uintptr_t upcoming = 0, upcoming_end = 0;  // the latter: of this tile's share

    TileArgs() = default;
    TileArgs(const TileArgs&) = delete;  // it points into itself
    TileArgs& operator=(const TileArgs&) = delete;
};

using TileFunction = void (*)(TileArgs*);

}  // namespace tandem::jit
