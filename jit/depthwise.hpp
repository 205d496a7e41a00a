// Depthwise k x k stage.
//
//   for each group of output rows (block_rows of them)          -> inner routine, one for each set of taps
//                                                               inside the image
//     for each channel vector                                      (or pixel blocks outside, channels
//                                                                  inside: channels_inner)
//       for each block of pixels
//         acc(row, pixel) = bias
//         for each input row: load the kernel rows that meet it; for each column: load once, FMA into every
//         accumulator it reaches post-ops, store
//
// Each input vector is loaded once a block however many taps use it. Rows and columns of padding are never
// touched. Where general registers cannot hold pointers to all input rows of a group (holds_row_pointers()),
// a block loads each from the row table and adds what leads to its pixels.
//
// Kernels of many rows (loops_kernel_rows()) have one output row a group, and a block loops over the kernel
// rows inside the image, so that all groups but those without any share a routine:
//
//         for each kernel row: point at its input row and its weights; as above
#pragma once

#include <array>

#include "jit/epilogue.hpp"
#include "jit/stage_body.hpp"

namespace tandem::jit {

class DepthwiseBody final : public StageBody {
public:
    DepthwiseBody(StageContext context, const Gpr& args, RegPool& gprs);
    void emit_tile(const StageTile& tile, std::span<const GroupRun> runs, std::int64_t first_row) override;

private:
    struct RowGroup {            // output rows computed together
        std::vector<Span> taps;  // of each; where kernel rows are looped over, {0, 1} stands for all
        SegmentShape segment;
        std::int64_t shift;  // see StageTile
        std::vector<GroupRun> runs;
        std::string key() const;
    };
    struct Use {           // of an input row
        std::size_t row;   // of the group
        std::int64_t tap;  // kernel row that meets it there
    };
    struct WindowUse {  // of a window: the pixel whose products it has, and their weight vector of a kernel
                        // row
        std::int64_t pixel, vector;
        Span columns;  // that are multiplied
    };
    struct Window {            // jit/depthwise_int8.cpp; columns are counted from the block's virtual column
        std::int64_t first;    // of four
        Span needed, present;  // columns that are multiplied, that exist
    };
    static constexpr std::int64_t window_columns = 4, window_step = 2;
    struct QuadRegisters {  // jit/depthwise_quads.cpp
        std::array<Xbyak::Zmm, 2> pair;
        Xbyak::Zmm window;
    };
    std::vector<Use> uses_of(const RowGroup& group, std::size_t input_index) const;
    /// Input rows of a row group, counted from tap 0 of its first row.
    std::vector<std::int64_t> input_rows(const RowGroup& group) const;
    std::vector<Span> routine_taps(std::span<const Span> taps) const;
    void emit_group_call(const RowGroup& group, const Span& first_taps);
    void emit_row_group(const RowGroup& group);
    void emit_channels_outer(const RowGroup& group, const GroupRun& run);
    void emit_channels_inner(const RowGroup& group, const GroupRun& run);
    void emit_pointers(const RowGroup& group, bool with_columns);
    void emit_input_pointers(const RowGroup& group, bool with_columns);
    void emit_input_steps(const RowGroup& group, std::int64_t bytes);
    void emit_input_pointer(const RowGroup& group, std::size_t input_index);
    void emit_sums(const RowGroup& group, const GroupRun& run, const BlockRun& block,
                   const std::function<void(std::size_t)>& row);
    void emit_kernel_rows(const GroupRun& run, const std::function<void()>& row);
    std::vector<BlockRun> blocks(const RowGroup& group, const GroupRun& run) const;
    void emit_block(const RowGroup& group, const GroupRun& run, const BlockRun& block);
    void emit_block_by_windows(const RowGroup& group, const GroupRun& run, const BlockRun& block);
    void emit_zero_points(const RowGroup& group, const GroupRun& run, const BlockRun& block);
    void emit_zero_points_of(const RowGroup& group, const GroupRun& run, const BlockRun& block, int vector);
    void emit_looped_zero_points(const RowGroup& group, const GroupRun& run, const BlockRun& block);
    void emit_input_row_by_windows(const RowGroup& group, const GroupRun& run, const BlockRun& block,
                                   std::size_t input_index);
    std::vector<WindowUse> window_uses(const BlockRun& block, std::int64_t first) const;
    void emit_block_by_quads(const RowGroup& group, const GroupRun& run, const BlockRun& block);
    void emit_input_row_by_quads(const RowGroup& group, const GroupRun& run, const BlockRun& block,
                                 std::size_t input_index);
    void emit_column_pair(std::size_t input_index, std::int64_t column, const Span& present,
                          const QuadRegisters& registers);
    void emit_window(const GroupRun& run, std::size_t input_index, const Window& window, const Xbyak::Zmm& v,
                     const Xbyak::Xmm& spare);
    void emit_transposition(const Xbyak::Zmm& v, const Xbyak::Operand& columns);
    void emit_some_columns(const Gpr& input, std::int64_t first, const Span& columns, bool fills,
                           const Xbyak::Zmm& v);
    void emit_single_columns(const GroupRun& run, const Gpr& input, std::int64_t first, const Span& columns,
                             bool fills, const Xbyak::Zmm& v, const Xbyak::Xmm& spare);
    void emit_input_row(const RowGroup& group, const GroupRun& run, const BlockRun& block,
                        std::size_t input_index);
    void emit_ahead(const RowGroup& group, std::size_t input_index, const Span& columns);
    void emit_epilogue(const RowGroup& group, const GroupRun& run, const BlockRun& block);
    bool by_windows() const { return context_.plan.dot == Dot::int8; }
    bool loops() const { return loop_.has_value(); }
    /// Points at the block's pixels of an input row.
    Gpr input_pointer(std::size_t input_index) const { return input_[column_ ? 0 : input_index]; }
    Simd::Lanes input_lanes(const GroupRun& run) const;
    int reserved_registers(const GroupRun& run) const;
    Vec in_width(const GroupRun& run, int index) const;
    Vec acc(const RowGroup& group, const GroupRun& run, std::size_t row, std::int64_t pixel,
            int vector = 0) const;
    Address panel_vector(std::int64_t offset) const;
    Address row_vector(const GroupRun& run, std::int64_t kernel_row, std::int64_t tap, int vector = 0) const;
    Address local(Local name) const { return code_.qword[args_ + local_offset(name)]; }

    // Vector registers behind the accumulators.
    int first_free(const RowGroup& group, const GroupRun& run, const BlockRun& block) const {
        return static_cast<int>(group.taps.size()) * static_cast<int>(block.width) * run.vectors;
    }
    int permute_register() const { return context_.simd.registers() - 1; }
    int input_mask_register() const {
        return context_.simd.avx512() ? input_mask : context_.simd.registers() - 2;
    }

    StageContext context_;
    CodeBlock& code_;
    Gpr args_;
    RegPool::Lease rows_, outs_, residuals_, panel_;
    Epilogue epilogue_;
    std::vector<RegPool::Lease> input_, output_, residual_;  // pointers of the current pixel block, one a row
    std::optional<RegPool::Lease> column_;  // of the current pixel block, from an input row's pointer, where
                                            // input_ is one register for all rows
    struct KernelRowLoop {
        RegPool::Lease first_weights,
            count;  // offset of the first kernel row's weights, a vector; kernel rows
        RegPool::Lease table, weights, left;  // of the current kernel row; kernel rows left
    };
    std::optional<KernelRowLoop> loop_;  // where kernel rows are looped over
};

}  // namespace tandem::jit
