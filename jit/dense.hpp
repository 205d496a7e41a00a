// Dense k x k stage (1x1 included): implicit GEMM over a segment of an output row.
//
//   for each group of output-channel vectors            (weights of a group: one panel)
//     for each computed row
//       for each block of pixels                        -> inner routine
//         acc(pixel, vector) = bias, or zero where sums are not f32
//         for each kernel row inside the image
//           for each dot group of input channels, unrolled: for each kernel column:
//             load the vectors' weights, broadcast the pixels, multiply and add (core/plan/arithmetic.hpp)
//         sums to f32, post-ops, round or quantise, store
//
// With K blocks (StagePlan::block_channels, core/plan/k_blocks.hpp) the weights in use stay in L1 while the
// tile's pixels pass by:
//
//   for each group of output-channel vectors
//     for each K block                                  (some channels of one kernel row)
//       for each computed row, block of pixels          -> inner routine
//         acc = bias in the output's first K block, else what is parked
//         for each channel of the K block: the same FMAs, in an inner routine of their own; prefetch of the
//         next K block's weights
//         post-ops and store in the output's last K block, else park
//
// Source: the direct-convolution GEMM of LIBXSMM and BLIS's register blocking; edges drop taps at emission.
#pragma once

#include <optional>

#include "core/plan/k_blocks.hpp"
#include "jit/dense_rows.hpp"

namespace tandem::jit {

class DenseBody : public StageBody {
public:
    /// Registers are leased for the lifetime of the body.
    DenseBody(StageContext context, const Gpr& args, RegPool& gprs, InputPrefetch prefetch);
    void emit_tile(const StageTile& tile, std::span<const GroupRun> runs, std::int64_t first_row) override;

protected:  // what a body with passes of its own needs, too (strassen.*)
    using Pass = DensePass;
    using RowRun = DenseRowRun;
    struct Block {  // what an inner routine is generated for
        BlockRun run;
        GroupRun group;
        Pass pass;
        std::int64_t ahead_lines;  // of the next K block's weights, to prefetch in one call
        std::string key() const;
        std::string sum_key() const;
    };
    bool has_k_blocks() const { return parked_.has_value(); }
    std::int64_t block_calls(const StageTile& tile, std::span<const RowRun> row_runs) const;
    virtual void emit_group(const StageTile& tile, const GroupRun& run, std::int64_t first_row);
    void emit_k_blocks(const StageTile& tile, const GroupRun& run, const KBlockRun& k, std::int64_t first_row,
                       std::span<const RowRun> row_runs);
    void emit_rows(const StageTile& tile, const GroupRun& run, std::int64_t first_row,
                   std::span<const RowRun> row_runs, std::int64_t ahead_lines = 0);
    void emit_row(const StageTile& tile, const GroupRun& run, const Pass& pass, std::int64_t ahead_lines);
    void emit_operands(const Block& block);
    void emit_block(const Block& block);
    bool starts_from_zero_points(const Block& block) const;
    Address bias(int vector) const;
    void emit_start(const Block& block);
    void emit_paired_bias(const Block& block);
    void emit_sum(const Block& block);
    void emit_kernel_rows(const Block& block);
    void emit_zero_points(const Block& block);
    void emit_channels(const Block& block);
    void emit_chunk(const Block& block, int groups, bool prefetch);
    void emit_weights_ahead(const Block& block, int group, int groups);
    void emit_taps(const Block& block, int group, int kw);
    void emit_broadcast(const Vec& v, const Xbyak::RegExp& from);
    void emit_multiply(const Vec& a, const Vec& weight, const Xbyak::Operand& pixel, int product);
    bool starts_from_bias() const;
    std::int64_t fmas(const Block& block) const;
    int unroll(const Block& block) const;
    bool has_column(const Block& block, std::int64_t pixel, std::int64_t kw) const;
    DenseSums sums(const Block& block) const { return {context_, block.group, block.run.width}; }
    std::vector<BlockRun> blocks(const StageTile& tile) const;
    Vec acc(const Block& block, std::int64_t column, int vector) const {
        return sums(block).acc(column, vector);
    }
    int first_free(const Block& block) const { return sums(block).first_free(); }
    Xbyak::RegExp pixel_address(std::int64_t pixel, int kw, int group) const;

    StageContext context_;
    CodeBlock& code_;
    Gpr args_;
    InputPrefetch prefetch_;
    RegPool::Lease group_;
    Epilogue epilogue_;
    DenseRows rows_;
    RegPool::Lease column_;
    std::optional<RegPool::Lease> table_, parked_;  // without K blocks, with them
    RegPool::Lease input_, weights_;
    std::optional<RegPool::Lease> taps_left_, ahead_;  // the same
    RegPool::Lease count_, upcoming_, next_;
};

}  // namespace tandem::jit
