// One level of Strassen-Winograd in the 1x1 stage at the end of a chain: seven products of halves for eight.
//
// Two rows of pixels, 2r and 2r + 1, are the rows of a matrix A whose columns are the halves of the input
// channels; the weights are B, whose rows are these halves and whose columns those of the output channels:
//
//   S1 = A21 + A22   S2 = S1 - A11   S3 = A11 - A21   S4 = A12 - S2
//   T1 = B12 - B11   T2 = B22 - T1   T3 = B22 - B12   T4 = T2 - B21
//   C11 = A11 B11 + A12 B21
//   U2 = A11 B11 + S2 T2    U3 = U2 + S3 T3    U4 = U2 + S1 T1
//   C12 = U4 + S4 B22       C21 = U3 - A22 T4  C22 = U3 + S1 T1
//
// pack() combines the weights, in double. A pass over a tile's source rows writes the sums of pixels into the
// workspace, in the geometry of the source: row 2r holds S1 and S2, row 2r + 1 S3 and S4. Products follow
// each other in the order of strassen_products, over all pairs of rows of the tile, and add up in two sets of
// parked accumulators. The pairs lie on a grid of the image, so that no bit depends on tiles and parts.
// Source: Winograd, "On Multiplication of 2 x 2 Matrices" (1971).
#pragma once

#include <array>
#include <cstdint>

#include "core/plan/tile_geometry.hpp"

namespace tandem {

/// Whether stage i can be computed so and the problem's math mode allows it: dense 1x1, stride 1, unpadded,
/// the last stage, an even number of rows, f32 tensors that are not NCHW, whole channel blocks in either half
/// and at least 64 of its channels, a residual (if any) of all output channels, math other than strict.
bool strassen_applies(const Problem& problem, Isa isa, int i) noexcept;

/// A product: which pixels it reads and what it is added to.
struct StrassenProduct {
    bool of_sums;           // the pixels' sums, else the pixels themselves
    int row;                // of the pair, or of its sums
    int half;               // of the row's input channels
    int resumes;            // which parked accumulators it is added to; -1: none
    int parks;              // where the result is parked; -1: it is an output
    int out_row, out_half;  // of the pair and of the output channels, where it is an output
};
/// The sixth is C22 once U3, parked second, is added, and makes U4 of U2, parked first.
inline constexpr int strassen_fork = 5;
inline constexpr std::array<StrassenProduct, 7> strassen_products{{
    {false, 0, 0, -1, 0, 0, 0},
    {false, 0, 1, 0, -1, 0, 0},
    {true, 0, 1, 0, 0, 0, 0},
    {true, 1, 0, 0, 1, 0, 0},
    {false, 1, 1, 1, -1, 1, 0},
    {true, 0, 0, -1, -1, 1, 1},
    {true, 1, 1, 0, -1, 0, 1},
}};

/// Rows of the last stage's output that only come together: 2 with Strassen, else 1.
std::int64_t rows_together(const Problem& problem, const Plan& plan) noexcept;

/// The weight of a product, of B11, B12, B21, B22.
float strassen_weight(const std::array<float, 4>& quarters, std::int64_t product) noexcept;

/// The stage with the lower half of its output channels.
Stage lower_half(Stage stage) noexcept;

/// The workspace, in bytes from its start: two sets of parked accumulators, then the sums of pixels.
struct StrassenLayout {
    std::int64_t second_parked = 0, sums = 0, bytes = 0;
};
StrassenLayout strassen_layout(const Problem& problem, const Plan& plan, int i);

}  // namespace tandem
