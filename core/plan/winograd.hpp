// Winograd convolution: which stages it takes, in which form, and the layout of its panel and workspace.
//
// Y = A^T [ (G g G^T) . (B^T d B) ] A for each tile d of inputs, with the matrices of an F(m, r) along each
// axis (core/plan/winograd_transform.hpp): r is the kernel's extent along the axis, m = 2 or 4 by the
// algorithm, 1 where r is. The products at one point of the transformed tile, over all tiles and channels,
// are a GEMM.
//
// Stride 2 by phases: the even and odd rows and columns of the input are four images, each convolved at
// stride 1 with the taps that meet it, (w0, w2) or (w1, 0) along each axis; all four go through F(4 x 4, 2
// x 2) and add up as channels of one GEMM.
#pragma once

#include <cstdint>
#include <string>

#include "core/plan/panel.hpp"
#include "core/plan/winograd_transform.hpp"

namespace tandem {

/// Whether stage i can be computed by `algorithm` and the problem's math mode allows it: dense, kernels of 1,
/// 3, 5 and 7 rows and columns but 1x1, stride 1 (winograd4 of 3x3: also 2, with input channels that fill
/// whole vectors), dilation 1, padding below the kernel, channel blocks (if any) as wide as the vectors, an
/// input that is not NCHW, an error within the mode's. Strassen: strassen_applies(). Always true for direct.
bool algorithm_applies(const Problem& problem, Isa isa, int i, Algorithm algorithm);

/// What math fast promises, relative to the largest output.
inline constexpr double fast_error = 1e-5;
/// A bound on the error of a stage's outputs by Winograd, relative to the largest of them: what was measured
/// over data, forms and channels stays below it (docs/math-modes.md).
double winograd_error(const Stage& stage, Algorithm algorithm);

/// How a stride is brought to stride 1.
struct WinogradPhases {
    std::int64_t stride = 1;
    std::int64_t count() const noexcept { return stride * stride; }
    std::int64_t row(std::int64_t phase) const noexcept { return phase / stride; }
    std::int64_t column(std::int64_t phase) const noexcept { return phase % stride; }
};

/// How a stage is computed by an algorithm that applies to it, not direct.
struct WinogradForm {
    const WinogradTransform& rows;
    const WinogradTransform& columns;
    WinogradPhases phases{};
    std::int64_t points() const noexcept { return rows.alpha() * columns.alpha(); }
    /// Instructions for a tile and vector of channels: of all transforms of its inputs, and of its outputs,
    /// each with the stores.
    double input_instructions() const noexcept;
    double output_instructions() const noexcept;
};
WinogradForm winograd_form(const Stage& stage, Algorithm algorithm);
/// "F(4x4,3x3)"
std::string winograd_name(const Stage& stage, Algorithm algorithm);

/// Transformed weights of one kernel for one phase: a number a point, row by row, in double.
void winograd_weights(const WinogradForm& form, const Size2& kernel, std::int64_t phase, const float* weights,
                      double* transformed);

/// One stage's Winograd computation under a plan: everything that packing, the emitter and the executor
/// must agree on.
struct WinogradLayout {
    WinogradForm form;
    std::int64_t tile_rows = 0, tile_columns = 0, tiles = 0;  // most Winograd tiles of one call

    PanelLayout post_ops{};        // one vector a group: header and per-channel parameters, no weights
    PanelLayout gemm{};            // weights of one point
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
