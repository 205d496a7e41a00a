// Dense stage on AMX: sums of up to two tiles of pixels by two vectors of output channels.
//
//   for each group of output-channel vectors, computed row
//     for each pair of pixel tiles of a row              (tmm4, tmm5; the last tile overlaps the one before
//                                                        it rather than being shorter)
//       for each kernel row inside the image, 64-byte block of channels, kernel column:
//         load pixels and weights (tmm6, tmm7), multiply and add into tmm0..3
//       park the sums
//       finish the pair before: some pixels at a time, to registers and through the epilogue
//
// So the vector units finish one pair while the tiles multiply the next: nothing that is parked is read
// before a whole call has passed. Tiles are configured for each tile function's stage and released at its
// end: a thread keeps no AMX state between calls.
#pragma once

#include <string>
#include <vector>

#include "jit/dense_rows.hpp"

namespace tandem::jit {

class AmxDenseBody final : public StageBody {
public:
    /// Registers are leased for the lifetime of the body.
    AmxDenseBody(StageContext context, const Gpr& args, RegPool& gprs);
    void emit_tile(const StageTile& tile, std::span<const GroupRun> runs, std::int64_t first_row) override;

private:
    struct TileRun {                 // equal calls of the routine that multiplies
        std::int64_t tiles, second;  // tiles of pixels, and where the second begins
        std::int64_t pixels, step;   // covered by one call, and from one call to the next
        std::int64_t finished;       // of its pixels, those that the call before covers too
        std::int64_t count;
    };
    static std::vector<TileRun> tile_runs(std::int64_t width);
    void emit_group(const StageTile& tile, const GroupRun& group, std::int64_t first_row);
    void emit_row(const StageTile& tile, const GroupRun& group, const Span& taps);
    void emit_parking();
    void emit_other_parking();
    void emit_sums_call(const TileRun& run, const GroupRun& group, const Span& taps);
    void emit_finish_calls(const TileRun& run, const GroupRun& group, const Span& taps);
    void emit_empty_row(const GroupRun& group, std::int64_t width);
    void emit_sums(const TileRun& run, int vectors);
    void emit_channels(const TileRun& run, int vectors);
    void emit_products_of(const TileRun& run, int vectors, std::int64_t kw);
    void emit_pixel_tiles(const TileRun& run, std::int64_t kw, std::int64_t part);
    void emit_weight_tiles(int vectors, std::int64_t column_part);
    void emit_products(const TileRun& run, int vectors);
    void emit_finish(const DenseSums& sums, const Span& taps);
    void emit_zero_points(const DenseSums& sums, const Span& taps);
    /// From one kernel row's weights to the next, and from one dot group's.
    std::int64_t row_bytes(int vectors) const {
        return context_.panel.row_taps * vectors * context_.panel.vector_bytes;
    }
    std::int64_t group_bytes(int vectors) const;
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
