// What the bodies of dense stages share (dense.*, amx_dense.*): pointers to the rows of a tile and to the
// current pixel, and blocks of pixels by output vectors in registers.
#pragma once

#include <optional>
#include <vector>

#include "core/plan/ceil_div.hpp"
#include "core/plan/k_blocks.hpp"
#include "core/plan/pixel_pairs.hpp"
#include "jit/epilogue.hpp"
#include "jit/stage_body.hpp"

namespace tandem::jit {

/// Row tables and the current pixel of a dense stage. Registers are leased for its lifetime.
class DenseRows {
public:
    DenseRows(const StageContext& context, const Gpr& args, RegPool& gprs);

    /// At the tile's first row. `first_row`: its index in the table of output rows.
    void emit_begin(const StageTile& tile, std::int64_t first_row) const;
    /// `count` output rows on.
    void emit_advance(std::int64_t count) const;
    /// At the row's first pixel, first channel of the group that `group` points at.
    void emit_first_pixel(const Gpr& group) const;
    /// `pixels` further; the column register is the body's own.
    void emit_step(std::int64_t pixels) const;

    /// Points into the table of input rows.
    Gpr table() const { return rows_; }
    /// The table's entry of the input row that kernel row `tap` meets.
    Xbyak::RegExp input_row(std::int64_t tap) const;
    /// A vector of the group at a pixel from the current one on.
    Xbyak::RegExp output(const EpilogueBlock::Place& at) const { return vector(out_, context_.out, at); }
    Xbyak::RegExp residual(const EpilogueBlock::Place& at) const {
        return vector(residual_, context_.residual, at);
    }

private:
    Xbyak::RegExp vector(const Gpr& pixel, const TensorStrides& strides,
                         const EpilogueBlock::Place& at) const {
        return pixel +
               static_cast<std::size_t>(at.pixel * strides.pixel +
                                        strides.channel(std::int64_t{at.vector} * context_.simd.lanes));
    }

    const StageContext& context_;
    CodeBlock& code_;
    Gpr args_;
    bool has_sum_;
    RegPool::Lease rows_, outs_, residuals_, out_, residual_;
};

/// Sums of a block of pixels by a group's vectors, in the first registers: [column][vector].
struct DenseSums {
    const StageContext& context;
    GroupRun group;
    std::int64_t pixels;

    /// Pixels, or pairs of them (core/plan/pixel_pairs.hpp), and the vectors that each has.
    std::int64_t columns() const { return ceil_div(pixels, pixel_step(context.plan)); }
    int vectors() const { return context.panel.weight_vectors(group); }

    /// Names everything that the code of their epilogue depends on.
    std::string key() const;
    /// A register in the width of a vector of weights: half of one for the last vector where its channels
    /// fit, as a narrower FMA costs less on some CPUs and never more.
    Vec in_width(int vector, int index) const;
    Vec acc(std::int64_t column, int vector) const {
        return in_width(vector, static_cast<int>(column) * vectors() + vector);
    }
    int first_free() const { return static_cast<int>(columns()) * vectors(); }
    std::int64_t bytes(std::int64_t of_pixels) const {
        return of_pixels * group.vectors * context.panel.vector_bytes;
    }
    void emit_zero() const;
    /// Sums in memory, as they are.
    void emit_resume(const Gpr& parked) const;
    void emit_park(const Gpr& parked) const;
    /// `biased`: as EpilogueBlock has it.
    void emit_epilogue(const Epilogue& epilogue, const DenseRows& rows, bool biased) const;

private:
    Vec output_width(int vector, int index) const;
    EpilogueBlock epilogue_block(const DenseRows& rows, const Span& some) const;
    void emit_pairs_epilogue(const Epilogue& epilogue, const DenseRows& rows, bool biased,
                             std::vector<int> free) const;
    void emit_pair_apart(std::int64_t column, std::vector<Vec>& apart, std::vector<int>& free) const;
    Address parked(const Gpr& base, std::int64_t pixel, int vector) const;
};

/// What of its sum an output row gets at once.
struct DensePass {
    Span kernel_rows{};  // inside the image; may be empty
    std::int64_t channels = 0;
    bool starts = true, ends = true;  // with the first, with the last of its products
    bool operator==(const DensePass&) const = default;
};

/// Neighbouring rows with equal passes.
struct DenseRowRun {
    std::int64_t row = 0, count = 0;
    DensePass pass{};
};

/// The rows that a K block contributes to.
std::vector<DenseRowRun> dense_row_runs(const Stage& stage, const StageTile& tile, const KBlock& k);

/// Added to the column register and taken off every address, so that more of them fit an 8-bit displacement.
std::int64_t column_bias(const StageContext& context);

}  // namespace tandem::jit
