// Dense stage on AMX: sums of up to two tiles of pixels by two vectors of output channels, or four by one.
//
//   for each group of output-channel vectors, K block, computed row
//     for each call: some tiles of pixels of a row
//       tmm0..3 = zero, or what the K block before has parked
//       for each kernel row inside the image, 64-byte block of channels, kernel column:
//         load pixels and weights, multiply and add into tmm0..3
//       park the sums
//       in the last K block, finish the call before: some pixels at a time, to registers and through the
//       epilogue
//
// So the vector units finish one call while the tiles multiply the next: nothing that is parked is read
// before a whole call has passed. Tiles are configured for each tile function's stage and released at its
// end: a thread keeps no AMX state between calls.
#pragma once

#include <functional>
#include <string>

#include "jit/dense_rows.hpp"

namespace tandem::jit {

class AmxDenseBody final : public StageBody {
public:
    /// Registers are leased for the lifetime of the body.
    AmxDenseBody(StageContext context, const Gpr& args, RegPool& gprs);
    void emit_tile(const StageTile& tile, std::span<const GroupRun> runs, std::int64_t first_row) override;

private:
    void emit_group(const StageTile& tile, const GroupRun& group, std::int64_t first_row);
    void emit_k_blocks(const StageTile& tile, const GroupRun& group, const KBlockRun& k,
                       std::int64_t first_row, std::span<const DenseRowRun> runs);
    void emit_rows(const StageTile& tile, const GroupRun& group, std::int64_t first_row,
                   std::span<const DenseRowRun> runs, std::int64_t ahead_lines);
    void emit_row(const StageTile& tile, const GroupRun& group, const DensePass& pass,
                  std::int64_t ahead_lines);
    void emit_parking();
    void emit_row_parking(std::int64_t row, std::int64_t width, int vectors);
    void emit_next_parking(const AmxCall& call, int vectors);
    struct Sums {  // what the routine that multiplies is generated for
        AmxCall call;
        int vectors;
        DensePass pass;
        std::int64_t ahead_lines;  // of the next K block's weights, to prefetch in one call
        std::string key() const;
    };
    void emit_sums_call(const Sums& sums);
    void emit_finish_calls(const AmxCall& call, const GroupRun& group, const Span& taps);
    void emit_empty_row(const GroupRun& group, std::int64_t width);
    void emit_sums(const Sums& sums);
    void emit_channels(const Sums& sums);
    void emit_products_of_vectors(const Sums& sums, std::int64_t kw);
    void emit_products_of_vector(const Sums& sums, std::int64_t kw);
    void emit_pixels(int tile, std::int64_t first, std::int64_t kw, std::int64_t part);
    void emit_weights(int tile, int vectors, std::int64_t column_part, int vector);
    void emit_product(int sum, int pixels, int weights);
    /// Every tile of sums, where it is parked from the current place on.
    void for_each_parked(const Sums& sums,
                         const std::function<void(const Xbyak::Tmm&, const Address&)>& with);
    void emit_finish(const DenseSums& sums, const Span& taps);
    void emit_zero_points(const DenseSums& sums, const Span& taps);
    /// From one kernel row's weights to the next, and from one dot group's.
    std::int64_t row_bytes(int vectors) const {
        return context_.panel.row_taps * vectors * context_.panel.vector_bytes;
    }
    std::int64_t group_bytes(int vectors) const;
    bool has_k_blocks() const { return tandem::has_k_blocks(context_.plan); }
    Address local(Local name) const { return code_.qword[args_ + local_offset(name)]; }

    StageContext context_;
    CodeBlock& code_;
    Gpr args_;
    RegPool::Lease group_;
    Epilogue epilogue_;
    DenseRows rows_;
    RegPool::Lease column_, table_, parked_, input_, weights_, taps_left_, pixel_step_, weight_step_;
};

}  // namespace tandem::jit
