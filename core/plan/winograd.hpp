// Winograd convolution F(m x m, 3 x 3): sizes, transform matrices and the layout of its panel and
// workspace.
//
// Stride 2 by phases: the even and odd rows and columns of the input are four images, each convolved at
// stride 1 with the taps that meet it, (w0, w2) or (w1, 0) along each axis; all four go through F(m x m, 2
// x 2) and add up as channels of one GEMM.
//
// Y = A^T [ (G g G^T) . (B^T d B) ] A for each alpha x alpha input tile d, alpha = m + 2 (stride 2: m + 1).
// The products at one point of the transformed tile, over all tiles and channels, are a GEMM. Points of
// evaluation: 0, +-1, infinity for m = 2; 0, +-2/3, +-3/2, infinity for m = 4, which lose a quarter of what
// the textbook's 0, +-1, +-2 lose; 0, +-1, 2, infinity for stride 2. Source: Lavin and Gray, "Fast
// Algorithms for Convolutional Neural Networks" (2016); the points: Barabasz et al., "Error Analysis and
// Improving the Accuracy of Winograd Convolution" (2018).
#pragma once

#include <array>
#include <cstdint>

#include "core/plan/panel.hpp"

namespace tandem {

/// Whether stage i can be computed by `algorithm` and the problem's math mode allows it: dense 3x3, stride
/// 1 (winograd4: also 2, with input channels that fill whole vectors), dilation 1, padding below 3, channel
/// blocks (if any) as wide as the vectors, an input that is not NCHW. Strassen: strassen_applies(). Always
/// true for direct.
bool algorithm_applies(const Problem& problem, Isa isa, int i, Algorithm algorithm) noexcept;

/// The points +-a, +-b of m = 4.
inline constexpr double winograd_a = 2.0 / 3, winograd_b = 3.0 / 2;
/// The fourth finite point of stride 2, after 0 and +-1.
inline constexpr double winograd_p = 2;

/// How a stride is brought to stride 1.
struct WinogradPhases {
    std::int64_t stride = 1;
    std::int64_t count() const noexcept { return stride * stride; }
    std::int64_t row(std::int64_t phase) const noexcept { return phase / stride; }
    std::int64_t column(std::int64_t phase) const noexcept { return phase % stride; }
    /// Inputs of a tile along one axis, and those of them that taps meet.
    std::int64_t alpha(std::int64_t m) const noexcept { return stride == 1 ? m + 2 : m + 1; }
    std::int64_t used(std::int64_t m, std::int64_t axis_phase) const noexcept {
        return alpha(m) - axis_phase;
    }
    bool operator==(const WinogradPhases&) const = default;
};

/// Transformed weights of one 3x3 kernel for one phase: alpha^2 values, row by row, in double.
void winograd_weights(std::int64_t m, const WinogradPhases& phases, std::int64_t phase, const float* kernel,
                      double* transformed) noexcept;

/// One stage's Winograd computation under a plan: everything that packing, the emitter and the executor
/// must agree on.
struct WinogradLayout {
    std::int64_t m = 0, alpha = 0, points = 0;  // outputs and inputs of a tile a side; points = alpha^2
    WinogradPhases phases{};
    std::int64_t tile_rows = 0, tile_columns = 0, tiles = 0;  // most Winograd tiles of one call

    PanelLayout post_ops;          // one vector a group: header and per-channel parameters, no weights
    PanelLayout gemm;              // weights of one point
    std::int64_t gemm_offset = 0;  // of the first point's panel, from the stage's panel
    std::int64_t panel_bytes = 0;  // all of it

    // Workspace, in bytes from its start: transformed inputs, products, and a tile between the two passes
    // of a transform.
    TensorStrides inputs{}, products{};  // row: from one point to the next
    std::int64_t products_offset = 0, temporary_offset = 0, bytes = 0;
};
WinogradLayout winograd_layout(const Problem& problem, const Plan& plan, int i);

/// Bytes that a part needs for its stages' transformed tiles, sums of pixels and parked accumulators; the
/// stages take turns.
std::int64_t workspace_bytes(const Problem& problem, const Plan& plan);

/// The GEMM of one point as a stage of its own: 1x1, no post-ops, `tiles` pixels in a row, the channels of
/// all phases.
Stage winograd_gemm_stage(const Stage& stage, std::int64_t tiles);

}  // namespace tandem
