// Winograd stage (core/plan/winograd.hpp holds the mathematics and the layouts).
//
//   for each row of input tiles, channel vector, tile:   B^T d B  -> workspace [point][channel block][tile]
//   for each point:                                      a GEMM, tiles x channels by channels x output
//                                                        channels (jit/dense.*)
//   for each output vector, row of tiles, tile:          A^T m A, bias and post-ops -> output rows
//
// A transform is a pass of the rows' one-dimensional transform along every column of a tile, and one of the
// columns' along every row; of kernels of one row or column only one of them. Between the two, the tile lies
// in what registers are left, the rest of it in a buffer. Tiles over an image's edge read zeros for what is
// not there and store only what is.
#pragma once

#include "core/plan/winograd.hpp"
#include "jit/dense.hpp"
#include "jit/epilogue.hpp"
#include "jit/linear_transform.hpp"

namespace tandem::jit {

class WinogradBody final : public StageBody {
public:
    WinogradBody(StageContext context, const WinogradLayout& layout, const Gpr& args);
    /// `runs`: of the GEMMs' panel.
    void emit_tile(const StageTile& tile, std::span<const GroupRun> runs, std::int64_t first_row) override;
    void emit_routines(CodeBlock& code) override;

private:
    struct TileRun {  // equal tiles of a row of tiles
        std::int64_t count = 0;
        Span columns{};  // of the phase's input tile or of the output tile that exist
        bool operator==(const TileRun&) const = default;
    };
    std::vector<TileRun> input_runs(const StageTile& tile, std::int64_t phase) const;
    std::vector<TileRun> output_runs(const StageTile& tile) const;

    void emit_input_transforms(const StageTile& tile);
    struct InputRow {  // one row of tiles, one phase, a run of channel vectors
        std::int64_t tile_row, phase, first_vector, vectors;
        int tail_lanes;
    };
    void emit_input_row(const StageTile& tile, const InputRow& row);
    void emit_input_tile(const Span& rows, const Span& columns, std::int64_t column_phase, int tail_lanes);
    void emit_gemms(std::int64_t tiles, std::span<const GroupRun> runs);
    void emit_output_transforms(const StageTile& tile, const Span& vectors, std::int64_t first_row);
    void emit_output_row(const StageTile& tile, const GroupRun& run, std::int64_t tile_row,
                         std::int64_t first_row);
    void emit_output_tile(const GroupRun& run, const Span& rows, const Span& columns);
    /// From one row of a tile's outputs, in registers, to the tensor.
    void emit_output_line(const GroupRun& run, std::int64_t row, LinearTransform& transform, RegPool& vectors,
                          const std::vector<RegPool::Lease>& outputs);

    struct Passes {  // of a tile; a program that is null leaves its axis as it is
        LinearTransform& transform;
        RegPool& vectors;
        const LinearProgram *along_rows, *along_columns;
        Span rows{};  // of the result
        std::function<void(std::int64_t row, std::int64_t column, const Vec& to)> load;
        std::function<void(std::int64_t row, std::int64_t column, RegPool::Lease)> use;
        std::function<void(std::int64_t row)> row_done;
    };
    void emit_passes(const Passes& passes);

    Address temporary(std::int64_t row, std::int64_t column) const;
    /// Pointer to a row of an input tile.
    Gpr input_pointer(std::int64_t row) const;
    std::int64_t points_at(std::int64_t row, std::int64_t column) const {
        return row * layout_.form.columns.alpha() + column;
    }
    Address local(Local name) const { return code_.qword[args_ + local_offset(name)]; }
    Span existing_rows(const StageTile& tile, std::int64_t tile_row, std::int64_t phase) const;
    std::int64_t input_row(const StageTile& tile, std::int64_t tile_row, std::int64_t phase,
                           std::int64_t r) const;

    StageContext context_;
    WinogradLayout layout_;
    CodeBlock& code_;
    Gpr args_;
    Stage gemm_stage_;
    RegPool gemm_registers_;
    RegPool::Lease gemm_args_;
    std::unique_ptr<DenseBody> gemm_;

    RegPool registers_;
    RegPool::Lease own_args_, table_, channel_, panel_;
    Epilogue epilogue_;
    RegPool::Lease data_, temporary_;
    std::vector<RegPool::Lease> rows_;  // pointers to the rows of a tile
};

}  // namespace tandem::jit
