// Batch-reduce: a dense stage of a tile as calls of GEMM kernels that sum a batch of small products, C =
// sum of A_i B_i. Which calls there are is worked out here and knows nothing of who generates the kernels
// (libxsmm_backend.*).
//
//   for each group of output vectors                            (as in jit/dense.hpp)
//     for each computed row
//       for each run of pixels with the same valid kernel columns
//         one batch over kernel rows x kernel columns x blocks of input channels:
//           A_i = weights (output channels x input channels), B_i = input (input channels x pixels), C =
//           output, column-major
//         post-ops on the pixels while they are hot (jit/row_post_ops.hpp)
//
// Source: Georganas et al., "Harnessing Deep Learning via a Single Building Block" (IPDPS 2020), for
// convolutions in pairs.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "jit/chain_kernel.hpp"

namespace tandem {

/// A batch-reduce kernel: C (m x n) = sum of A_i (m x k) * B_i (k x n), column-major, leading dimensions in
/// elements.
struct BatchReduceShape {
    std::int64_t m = 0, n = 0, k = 0, lda = 0, ldb = 0, ldc = 0;
    bool accumulate = false;  // C += instead
    auto operator<=>(const BatchReduceShape&) const = default;
};

/// `a`, `b`: `*count` pointers each, *count > 0; the kernel may overwrite them.
using BatchReduceKernel = void (*)(const float** a, const float** b, float* c,
                                   const unsigned long long* count);

class BatchReduceStage {
public:
    /// Stage i of a problem under a plan; `code`: its tiles and the functions that finish its rows.
    BatchReduceStage(const Problem& problem, const Plan& plan, int i, const jit::SegmentFunctions& code);

    /// The kernels needed; bind() takes them in this order.
    const std::vector<BatchReduceShape>& shapes() const noexcept { return shapes_; }
    void bind(std::vector<BatchReduceKernel> kernels) { kernels_ = std::move(kernels); }

    /// Computes the stage in the tile that TileTable::index `function` stands for. `scratch`:
    /// scratch_bytes() bytes.
    void run(const jit::TileArgs& args, std::size_t function, std::byte* scratch) const noexcept;
    std::size_t scratch_bytes() const noexcept { return most_pointers_ * 2 * sizeof(const float*); }

private:
    static constexpr std::size_t no_kernel = static_cast<std::size_t>(-1);

    struct Piece {                 // output channels of a group that lie next to each other
        std::int64_t channel = 0;  // from the group's first
        std::int64_t size = 0;
    };
    struct GroupKind {  // groups of one run of the panel
        std::size_t first_piece = 0, pieces = 0;
        std::int64_t row_bytes = 0;  // of the weights of one input channel
        std::int64_t weights_offset = 0;
        jit::RowFinishers finish;
    };
    struct PixelRun {
        std::int64_t first = 0, width = 0;
        Span columns{};  // kernel columns inside the image
    };
    struct Gemm {  // kernels for whole input-channel blocks, and for the rest of the last one
        std::size_t whole = no_kernel, rest = no_kernel;
    };
    struct Tile {                       // what one tile function does
        std::int64_t first_source = 0;  // index of tap 0 of the first row in the table of input rows
        std::int64_t first_output = 0;
        std::int64_t shift = 0;  // see StageTile
        std::vector<Span> taps;
        std::vector<PixelRun> runs;
        std::vector<Gemm> gemms;  // [run][piece]
        std::vector<GroupRun> groups;
        std::vector<std::size_t> kinds;  // of each of `groups`
    };
    struct Row {                     // where one row of one group is
        const void* const* sources;  // tap 0
        Span taps;
        const std::byte* group;
        std::byte* output;
        const std::byte* residual;
    };

    void add_kinds(const Problem& problem, const jit::SegmentFunctions& code, int i);
    Tile describe_tile(const StageTile& tile, std::int64_t first_output, std::vector<GroupRun> groups);
    std::size_t kernel_index(const BatchReduceShape& shape);
    void run_group(const jit::TileArgs& args, const Tile& tile, const GroupKind& kind, const std::byte* group,
                   std::byte* scratch) const noexcept;
    void run_row(const Tile& tile, const GroupKind& kind, const Row& row, std::byte* scratch) const noexcept;
    void multiply(const Tile& tile, std::size_t run, const GroupKind& kind, std::size_t piece, const Row& row,
                  std::byte* scratch) const noexcept;

    Stage stage_;
    int index_;
    bool last_;
    PanelLayout panel_;
    TensorStrides in_, out_, residual_;
    std::int64_t whole_blocks_ = 0, block_ = 0, rest_ = 0;  // of input channels
    std::size_t most_pointers_ = 0;
    std::vector<GroupKind> kinds_;
    std::vector<Piece> pieces_;
    std::vector<Tile> tiles_;  // by TileTable::index
    std::vector<BatchReduceShape> shapes_;
    std::vector<BatchReduceKernel> kernels_;
};

}  // namespace tandem
