// Stage I/O: how a stage's code meets what surrounds it: tails of channels, and what it prefetches for the
// next tile. Pure functions of (Problem, Plan).
#pragma once

#include "core/plan/tile_geometry.hpp"

namespace tandem {

/// How a stage's output tensor wants a vector that is only partly channels.
enum class TailStore : std::uint8_t {
    masked,    // NHWC: the lanes behind belong to the next pixel
    zeroed,    // blocked: padding channels are zero
    cleared,   // scratch whose lanes behind the last channel share a dot group with it
    anything,  // scratch: nobody reads them
};
TailStore tail_store(const Problem& problem, const Plan& plan, int i) noexcept;

/// Prefetch of the next tile's input, spread over the calls of the innermost routine of the last stage's
/// GEMM: `lines` pixels of each channel block a call.
struct InputPrefetch {
    std::int64_t lines = 0;  // 0: none
    TensorStrides source{};
};
/// A GEMM that walks the channel blocks of the intermediate, which are those of the input when the first of
/// two stages is depthwise, fetches the next band's pixels of a block while it works on that block.
InputPrefetch input_prefetch(const Problem& problem, const Plan& plan, int i);

/// With AMX a GEMM is over too soon to spread prefetches over: the depthwise stage fetches the next band's
/// rows while it reads this one's. Bytes from a row to the one it fetches; 0: none.
std::int64_t rows_ahead(const Problem& problem, const Plan& plan, int i) noexcept;

}  // namespace tandem
