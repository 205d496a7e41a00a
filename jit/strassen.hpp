// Strassen stage (core/plan/strassen.hpp): a dense 1x1 whose sums come about in seven products.
//
//   for each pair of rows, channel vector:     sums of pixels  -> workspace
//   for each group of vectors of the lower half of the output channels
//     for each product                         (weights of a product: half the input channels)
//       for each pair of rows, block of pixels -> inner routine
//         acc = zero, or what is parked; FMAs of the product (an inner routine of dense.*);
//         park, or post-ops and store
#pragma once

#include "core/plan/strassen.hpp"
#include "jit/dense.hpp"

namespace tandem::jit {

class StrassenBody final : public DenseBody {
public:
    /// Registers are leased for the lifetime of the body.
    StrassenBody(StageContext context, const StrassenLayout& layout, const Gpr& args, RegPool& gprs)
        : DenseBody(std::move(context), args, gprs, InputPrefetch{}), layout_(layout) {}
    void emit_tile(const StageTile& tile, std::span<const GroupRun> runs, std::int64_t first_row) override;

private:
    struct Step {  // a product of a group
        std::size_t index;
        std::int64_t weights_at;   // from the register that points at the group
        std::int64_t ahead_lines;  // of the next product's weights, to prefetch in one call
        const StrassenProduct& product() const { return strassen_products[index]; }
    };
    void emit_sums(const StageTile& tile);
    void emit_sums_of_vector();
    void emit_group(const StageTile& tile, const GroupRun& run, std::int64_t first_row) override;
    void emit_product(const StageTile& tile, const GroupRun& run, std::int64_t first_row, const Step& step);
    void emit_pair(const StageTile& tile, const GroupRun& run, const Step& step);
    void emit_block(const Block& block, std::size_t index);
    void emit_fork(const Block& block);
    std::vector<BlockRun> blocks_of(const StageTile& tile) const;
    std::int64_t half_offset() const { return context_.in.channel(context_.stage->in_channels / 2); }

    StrassenLayout layout_;
};

}  // namespace tandem::jit
