// Plan: every tiling and blocking decision for one problem on one machine, as a plain value. Derived numbers are functions of
// (Problem, Plan) in tile_geometry.hpp. Produced by choose_plan() (tiling.hpp), by the tuner, or by the caller.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "core/plan/machine.hpp"
#include "core/plan/problem.hpp"

namespace tandem {

/// Counts up whenever a plan means other code than before, or when the rules change so much that measured ratios to them say
/// nothing any more: wisdom of another version is not used (core/run/wisdom.hpp).
inline constexpr int emitter_version = 1;

/// How the second stage gets the rows of the intermediate that neighbouring tiles both need.
enum class Fusion : std::uint8_t {
    recompute,  // every tile computes the intermediate rows it reads, its halo included; tiles are independent
    sliding,    // a part walks bands top to bottom and keeps the last rows in a ring; recompute only where parts meet
    single,     // one stage only: nothing to fuse
};
const char* to_string(Fusion fusion) noexcept;

/// Who does the GEMM work of dense stages.
enum class Backend : std::uint8_t { tandem, libxsmm };
const char* to_string(Backend backend) noexcept;

/// How a dense stage is computed. Winograd only where Problem::math allows it.
enum class Algorithm : std::uint8_t {
    direct,
    winograd2,  // F(2x2, 3x3)
    winograd4,  // F(4x4, 3x3)
};
const char* to_string(Algorithm algorithm) noexcept;

/// Algorithm and register blocking of one stage.
struct StagePlan {
    Algorithm algorithm = Algorithm::direct;
    int block_pixels = 0;   // dense: output pixels of a microkernel; depthwise: output pixels of a row at a time
    int block_vectors = 1;  // dense: output-channel vectors of a microkernel
    int block_rows = 1;     // depthwise: output rows at a time
    bool channels_inner = false;  // depthwise: all channels of a pixel block before the next block (NHWC input), else the reverse
    bool operator==(const StagePlan&) const = default;
};

struct Plan {
    Isa isa = Isa::avx2;
    Fusion fusion = Fusion::recompute;
    Backend backend = Backend::tandem;
    int tile_h = 1;          // output rows of a tile
    int tile_w = 0;          // output columns of a tile; the output width where the tile is full-width
    int channel_splits = 1;  // the last stage's output channels are split over this many tiles; the first stage is recomputed in each
    bool prefetch_next = false;  // the last stage's GEMM prefetches the next band's input rows to L2
    std::array<StagePlan, max_stages> stages{};
    bool operator==(const Plan&) const = default;
};

/// "tile 2x112, recompute, first 12 px x 2 rows, second 14 px x 2 vectors, ...": one line for names and logs.
std::string to_string(const Plan& plan);
std::size_t hash_value(const Plan& plan) noexcept;

}  // namespace tandem
