// One axis of Winograd's minimal filtering, F(m, r): m outputs of an r-tap kernel by alpha = m + r - 1
// products,
//
//   y = A^T [ (G g) . (B^T d) ],
//
// as matrices, and as programs of few operations: where two rows (B^T) or columns (A^T) belong to points +-p,
// they are sums and differences of an even and an odd part. F(m, 1) for m = 1 is the identity: an axis along
// which the kernel has one tap.
//
// Points: 0, infinity, and in between by alpha; chosen for small errors (docs/math-modes.md has them).
// Sources: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016); Barabasz et al.,
// "Error Analysis and Improving the Accuracy of Winograd Convolution" (2018).
#pragma once

#include <cstdint>
#include <vector>

namespace tandem {

using Matrix = std::vector<std::vector<double>>;

/// A matrix times a vector of values, as sums of few terms. Values are numbered: the inputs, then the steps.
struct LinearProgram {
    struct Term {
        int value = 0;
        double factor = 1;
    };
    /// A sum of terms; the first has factor 1 if any has.
    struct Step {
        std::vector<Term> terms{};
        int output = -1;  // the row of the matrix that it is; -1: of use to others only
    };
    int inputs = 0;
    std::vector<Step> steps{};

    /// Additions and multiplications, fused ones counting once.
    int operations() const noexcept;
    /// What the rows from `begin` to before `end` need.
    LinearProgram rows(std::int64_t begin, std::int64_t end) const;
};

struct WinogradTransform {
    std::int64_t outputs = 1, taps = 1;  // m, r
    // G, alpha x r: powers of each point, over the product of its distances to the others.
    Matrix powers;
    std::vector<double> distances;
    LinearProgram input, output;  // B^T: alpha x alpha; A^T: m x alpha
    /// How much larger rounding errors of the products come out than those of a direct sum: the root of the
    /// mean over outputs of the sum of squared matrix elements along every path from an input to it, over r.
    double error_growth = 1;

    std::int64_t alpha() const noexcept { return outputs + taps - 1; }
    /// Row `point` of G g.
    double weight(std::int64_t point, const std::vector<double>& taps) const noexcept;
    bool identity() const noexcept { return alpha() == 1; }
};

/// There is F(m, r) for kernels of r = 3, 5 and 7 taps and m = 2 and 4 outputs, F(4, 2) and F(1, 1).
bool has_winograd_transform(std::int64_t outputs, std::int64_t taps);
const WinogradTransform& winograd_transform(std::int64_t outputs, std::int64_t taps);

}  // namespace tandem
