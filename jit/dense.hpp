// Dense k x k stage (1x1 included): implicit GEMM over a segment of an output row.
//
//   for each group of output-channel vectors            (weights of a group: one panel)
//     for each computed row
//       for each block of pixels                        -> inner routine
//         acc(pixel, vector) = bias
//         for each kernel row inside the image
//           for each dot group of input channels, unrolled: for each kernel column:
//             load the vectors' weights, broadcast the pixels, multiply and add (core/plan/arithmetic.hpp)
//         post-ops, round or quantise, store
//
// Source: the direct-convolution GEMM of LIBXSMM and BLIS's register blocking; edges drop taps at emission.
#pragma once

#include "jit/stage_body.hpp"

namespace tandem::jit {

/// Prefetch of the next tile's input, spread over the calls of the innermost routine: `lines` pixels of each channel block a call.
struct PrefetchPlan {
    std::int64_t lines = 0;          // 0: none
    TensorStrides source{};
};

class DenseBody final : public StageBody {
public:
    /// Registers are leased for the lifetime of the body.
    DenseBody(StageContext context, const Gpr& args, RegPool& gprs, PrefetchPlan prefetch);
    void emit_tile(const StageTile& tile, std::span<const GroupRun> runs, std::int64_t first_row) override;

private:
    struct Block {  // what an inner routine is generated for
        BlockRun run;
        GroupRun group;
        int vectors, tail_lanes;
        bool any_taps;
    };
    void emit_group(const StageTile& tile, const GroupRun& run, std::int64_t first_row);
    void emit_row(const StageTile& tile, const GroupRun& run, const Span& taps);
    void emit_block(const Block& block);
    void emit_accumulate(const Block& block);
    void emit_zero_points(const Block& block);
    void emit_channels(const Block& block);
    void emit_chunk(const Block& block, int groups, bool prefetch);
    void emit_taps(const Block& block, int group, int kw);
    void emit_multiply(const Vec& a, const Vec& weight, const Xbyak::Operand& pixel, int product);
    void emit_post_ops_and_store(const Block& block);
    int unroll(const Block& block) const;
    bool has_column(const Block& block, std::int64_t pixel, std::int64_t kw) const;
    Vec acc(const Block& block, std::int64_t pixel, int vector) const;
    Vec in_width(const Block& block, int vector, int index) const;
    int first_free(const Block& block) const { return static_cast<int>(block.run.width) * block.vectors; }
    std::int64_t column_bias() const;
    Xbyak::RegExp pixel_address(std::int64_t pixel, int kw, int group) const;

    StageContext context_;
    CodeBlock& code_;
    PostOps post_ops_;
    Gpr args_;
    PrefetchPlan prefetch_;
    RegPool::Lease group_, rows_, outs_, residuals_, out_, residual_, column_, table_, input_, weights_, taps_left_, count_, blocks_, next_;
};

}  // namespace tandem::jit
