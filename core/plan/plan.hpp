// Plan: every tiling and blocking decision for one problem on one machine, as a plain value. Derived
// numbers are functions of (Problem, Plan) in tile_geometry.hpp. Produced by choose_plan() (choice.hpp), by
// the tuner, or by the caller.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>

#include "core/plan/machine.hpp"
#include "core/plan/problem.hpp"

namespace tandem {

/// Counts up whenever a plan means other code than before, or when the rules change so much that measured
/// ratios to them say nothing any more: wisdom of another version is not used (core/run/wisdom.hpp).
inline constexpr int emitter_version = 4;

/// How a stage gets the rows of the stage before it that neighbouring tiles both need.
enum class Edge : std::uint8_t {
    recompute,  // every tile computes the rows it reads, its halo included; tiles are independent
    sliding,    // a part walks bands top to bottom and keeps the last rows in a ring; recompute only where
                // parts meet
    stored,  // the stage before is complete before this one begins: a tensor in scratch between two segments
};
const char* to_string(Edge edge) noexcept;

/// How the output of a segment is cut: a segment is a run of stages without a stored edge between them, whose
/// tiles one generated function each computes.
struct Tiling {
    int tile_h = 1;          // output rows of a tile
    int tile_w = 0;          // output columns of a tile; the output width where the tile is full-width
    int channel_splits = 1;  // output channels of the segment's last stage are split over this many tiles, in
                             // each of which the stages before it are computed again
    bool prefetch_next = false;  // the last stage's GEMM prefetches the next band's input rows to L2
    bool operator==(const Tiling&) const = default;
};

/// Who does the GEMM work of dense stages.
enum class Backend : std::uint8_t { tandem, libxsmm };
const char* to_string(Backend backend) noexcept;

/// How a dense stage is computed. All but direct only where Problem::math allows it. Winograd: F(m, r) along
/// the axes on which the kernel's extent r is not 1.
enum class Algorithm : std::uint8_t {
    direct,
    winograd2,  // m = 2: F(2x2, 3x3), F(1x2, 1x7)
    winograd4,  // m = 4
    strassen,   // one level of Strassen-Winograd (core/plan/strassen.hpp)
};
const char* to_string(Algorithm algorithm) noexcept;
constexpr bool is_winograd(Algorithm algorithm) noexcept {
    return algorithm != Algorithm::direct && algorithm != Algorithm::strassen;
}

/// The multiply instructions of a stage (core/plan/arithmetic.hpp). Depthwise stages: f32 or int8.
enum class Dot : std::uint8_t {
    f32,
    bf16,
    f16,
    int8,
    int16,
    signed_int8,
    wide_bf16,
    wide_f16,
    amx_bf16,
    amx_int8,
    amx_x3,
    amx_x6,
    amx_f16,
};
inline constexpr std::array all_dots{
    Dot::f32,      Dot::bf16,     Dot::f16,      Dot::int8,   Dot::int16,  Dot::signed_int8, Dot::wide_bf16,
    Dot::wide_f16, Dot::amx_bf16, Dot::amx_int8, Dot::amx_x3, Dot::amx_x6, Dot::amx_f16};
const char* to_string(Dot dot) noexcept;

/// How a dense block brings a pixel's dot group to all lanes. The order of sums is the same.
enum class Broadcast : std::uint8_t {
    embedded,  // each multiply does it with its operand, {1to16}; also where the instructions leave no choice
    registers,  // once into a register, for all vectors of the block
};
const char* to_string(Broadcast broadcast) noexcept;

/// StagePlan::weights_ahead: as far as pays at all, the weights of a point or product.
inline constexpr int point_ahead = std::numeric_limits<int>::max();

/// Algorithm, arithmetic and register blocking of one stage.
struct StagePlan {
    Algorithm algorithm = Algorithm::direct;
    Dot dot = Dot::f32;
    int block_pixels =
        0;  // dense: output pixels of a microkernel; depthwise: output pixels of a row at a time
    int block_vectors = 1;  // dense: output-channel vectors of a microkernel; depthwise: of channels at a
                            // time, see depthwise_vectors() (tiling.hpp)
    int block_rows = 1;     // depthwise: output rows at a time
    bool channels_inner = false;  // depthwise: all channels of a pixel block before the next block (NHWC
                                  // input), else the reverse
    int block_channels = 0;  // dense, direct: input channels of a K block (k_blocks.hpp); 0: the whole sum in
                             // registers at once
    Broadcast broadcast = Broadcast::embedded;  // dense, where can_embed_broadcast() (register_budget.hpp)
    int weights_ahead = point_ahead;  // Winograd: bytes from the weights in use to those prefetched to L2, at
                                      // most a point's; 0: none. Strassen: bytes of the next product's
                                      // weights that are prefetched to L1, at most all
    bool pixel_pairs = false;         // dense: its source's pixels lie in pairs, whose sums share vectors
                                      // (pixel_pairs.hpp)
    bool operator==(const StagePlan&) const = default;
};

struct Plan : Tiling {  // that of the last segment
    Isa isa = Isa::avx2;
    Backend backend = Backend::tandem;
    std::array<Edge, max_stages - 1> edges{};  // edges[i]: from stage i to stage i + 1
    std::array<Tiling, max_stages - 1>
        stored{};  // where edges[i] is stored: of the segment that ends with stage i
    std::array<StagePlan, max_stages> stages{};

    StagePlan& stage(int i) noexcept { return stages[static_cast<std::size_t>(i)]; }
    const StagePlan& stage(int i) const noexcept { return stages[static_cast<std::size_t>(i)]; }
    Edge& edge(int i) noexcept { return edges[static_cast<std::size_t>(i)]; }
    Edge edge(int i) const noexcept { return edges[static_cast<std::size_t>(i)]; }
    /// Some stage keeps rows of the one before it from tile to tile: a part has to walk down a column of
    /// tiles.
    bool slides() const noexcept;
    bool operator==(const Plan&) const = default;
};

/// "isa=avx512 ... tile=2x112 ... stage0=direct,11px*1vec*2rows edge0=recompute stage1=...": one line for
/// logs.
std::string to_string(const Plan& plan);
std::size_t hash_value(const Plan& plan) noexcept;

/// The stage's GEMM work is LIBXSMM's, not generated by Tandem. Depthwise stages are Tandem's under every
/// backend.
bool uses_libxsmm(const Stage& stage, const Plan& plan) noexcept;

/// The plan with LIBXSMM's kernels in the place of Tandem's GEMMs, and what they cannot do left out: other
/// algorithms and dots, K blocks.
Plan with_libxsmm(Plan plan) noexcept;

}  // namespace tandem
