#include "core/run/batch_reduce.hpp"

#include <algorithm>
#include <cstring>

namespace tandem {
namespace {

// Kernel columns that fall on existing input columns for pixel p of a segment.
Span kernel_columns(const Axis& axis, const Span& columns, std::int64_t p) noexcept {
    Span valid{axis.kernel, axis.kernel};
    for (std::int64_t kw = axis.kernel - 1; kw >= 0; --kw) {
        const std::int64_t column = p * axis.stride + kw * axis.dilation;
        if (column < columns.begin || column >= columns.end) continue;
        if (valid.size() == 0) valid.end = kw + 1;
        valid.begin = kw;
    }
    return valid.size() == 0 ? Span{0, 0} : valid;
}

}  // namespace

BatchReduceStage::BatchReduceStage(const Problem& problem, const Plan& plan, int i,
                                   const jit::SegmentFunctions& code)
    : stage_(problem.stage(i)), index_(i), last_(i == problem.stage_count - 1),
      panel_(panel_layout(problem, plan, i)),
      in_(i == 0 ? input_strides(problem) : mid_buffer(problem, plan, i - 1).strides),
      out_(last_ ? output_strides(problem) : mid_buffer(problem, plan, i).strides),
      residual_(residual_strides(problem, i)) {
    block_ = std::min(in_.block, stage_.in_channels);
    whole_blocks_ = stage_.in_channels / block_;
    rest_ = stage_.in_channels % block_;
    most_pointers_ = static_cast<std::size_t>(stage_.conv.kernel.h * stage_.conv.kernel.w * whole_blocks_);
    add_kinds(problem, code, i);
    for (const jit::TileTable::Class& row : code.table.row_classes()) {
        for (const jit::TileTable::Class& column : code.table.column_classes()) {
            const TileShape shape = tile_shape(problem, plan, row.ty, column.tx, row.start);
            const StageTile& tile = shape.stages[static_cast<std::size_t>(i)];
            const std::int64_t first_output = last_ ? 0 : tile.first_row;
            for (int split = 0; split < plan.channel_splits; ++split) {
                for (const bool reuse : {false, true}) {
                    std::vector<GroupRun> groups =
                        last_ ? split_runs(panel_, split, plan.channel_splits) : panel_.runs;
                    if (!last_ && reuse) groups.clear();
                    tiles_.push_back(describe_tile(tile, first_output, std::move(groups)));
                }
            }
        }
    }
}

// Channels past the last are computed too (their weights are zero) wherever the tensor has room for them.
void BatchReduceStage::add_kinds(const Problem& problem, const jit::SegmentFunctions& code, int i) {
    const bool exact = last_ && problem.output_view.layout == Layout::nhwc;
    for (std::size_t r = 0; r < panel_.runs.size(); ++r) {
        const GroupRun& run = panel_.runs[r];
        const std::int64_t full = std::int64_t{run.vectors} * panel_.lanes;
        const std::int64_t channels =
            exact && run.tail_lanes > 0 ? full - panel_.lanes + run.tail_lanes : full;
        GroupKind kind{pieces_.size(), 0, full * 4, panel_.weights_offset(run.vectors),
                       code.finishers[static_cast<std::size_t>(i)][r]};
        const std::int64_t first = run.first_vector * panel_.lanes % out_.block;
        for (std::int64_t c = 0; c < channels;) {
            const std::int64_t size = std::min(channels - c, out_.block - (first + c) % out_.block);
            pieces_.push_back({c, size});
            c += size;
        }
        kind.pieces = pieces_.size() - kind.first_piece;
        kinds_.push_back(kind);
    }
}

BatchReduceStage::Tile BatchReduceStage::describe_tile(const StageTile& tile, std::int64_t first_output,
                                                       std::vector<GroupRun> groups) {
    const Axis x = column_axis(stage_);
    Tile result{.first_source = row_axis(stage_).first_tap(tile.rows.begin) - tile.in_rows.begin,
                .first_output = first_output,
                .shift = tile.shift,
                .taps = tile.taps,
                .runs = {},
                .gemms = {},
                .groups = std::move(groups),
                .kinds = {}};
    for (std::int64_t p = 0; p < tile.segment.width; ++p) {
        const Span columns = kernel_columns(x, tile.segment.columns, p);
        if (result.runs.empty() || result.runs.back().columns != columns)
            result.runs.push_back({p, 0, columns});
        ++result.runs.back().width;
    }
    const auto kind_of = [this](const GroupRun& group) {
        std::size_t kind = 0;
        while (kind + 1 < panel_.runs.size() && panel_.runs[kind + 1].offset <= group.offset)
            ++kind;
        return kind;
    };
    for (const GroupRun& group : result.groups)
        result.kinds.push_back(kind_of(group));
    result.gemms.resize(result.runs.size() * pieces_.size());
    for (std::size_t run = 0; run < result.runs.size(); ++run) {
        for (const std::size_t k : result.kinds) {
            const GroupKind& kind = kinds_[k];
            for (std::size_t piece = kind.first_piece; piece < kind.first_piece + kind.pieces; ++piece) {
                Gemm& gemm = result.gemms[run * pieces_.size() + piece];
                BatchReduceShape shape{
                    pieces_[piece].size,      result.runs[run].width, block_, kind.row_bytes / 4,
                    in_.pixel * x.stride / 4, out_.pixel / 4,         false};
                gemm.whole = kernel_index(shape);
                shape.k = rest_;
                shape.accumulate = true;
                if (rest_ > 0) gemm.rest = kernel_index(shape);
            }
        }
    }
    return result;
}

std::size_t BatchReduceStage::kernel_index(const BatchReduceShape& shape) {
    const auto found = std::ranges::find(shapes_, shape);
    const auto index = static_cast<std::size_t>(found - shapes_.begin());
    if (found == shapes_.end()) shapes_.push_back(shape);
    return index;
}

void BatchReduceStage::run(const jit::TileArgs& args, std::size_t function,
                           std::byte* scratch) const noexcept {
    const Tile& tile = tiles_[function];
    if (tile.taps.empty() || tile.runs.empty()) return;
    const auto* panel = static_cast<const std::byte*>(args.panels[index_]);
    for (std::size_t i = 0; i < tile.groups.size(); ++i) {
        const GroupRun& run = tile.groups[i];
        for (std::int64_t g = 0; g < run.count; ++g)
            run_group(args, tile, kinds_[tile.kinds[i]], panel + run.offset + g * panel_.group_bytes(run),
                      scratch);
    }
}

void BatchReduceStage::run_group(const jit::TileArgs& args, const Tile& tile, const GroupKind& kind,
                                 const std::byte* group, std::byte* scratch) const noexcept {
    GroupHeader header;
    std::memcpy(&header, group, sizeof header);
    const auto* sources =
        index_ == 0 ? args.source_rows : const_cast<const void* const*>(args.mid_rows[index_ - 1]);
    auto* outputs = last_ ? args.output_rows : args.mid_rows[index_];
    const auto* residuals = stage_.conv.has(PostOpKind::sum) ? args.residual_rows[index_] : nullptr;
    const std::int64_t stride = stage_.conv.stride.h;
    for (std::size_t r = 0; r < tile.taps.size(); ++r) {
        const auto row = static_cast<std::int64_t>(r);
        run_row(tile, kind,
                {.sources = sources + tile.first_source + row * stride,
                 .taps = tile.taps[r],
                 .group = group,
                 .output = static_cast<std::byte*>(outputs[tile.first_output + row]) + header.output,
                 .residual =
                     residuals ? static_cast<const std::byte*>(residuals[row]) + header.residual : nullptr},
                scratch);
    }
}

void BatchReduceStage::run_row(const Tile& tile, const GroupKind& kind, const Row& row,
                               std::byte* scratch) const noexcept {
    for (std::size_t r = 0; r < tile.runs.size(); ++r) {
        const PixelRun& run = tile.runs[r];
        const bool any_taps = row.taps.size() > 0 && run.columns.size() > 0;
        if (any_taps)
            for (std::size_t piece = kind.first_piece; piece < kind.first_piece + kind.pieces; ++piece)
                multiply(tile, r, kind, piece, row, scratch);
        const jit::RowFinish finish = any_taps ? kind.finish.present : kind.finish.none;
        if (finish == nullptr) continue;
        const std::byte* residual = row.residual ? row.residual + run.first * residual_.pixel : nullptr;
        finish(row.output + run.first * out_.pixel, residual, row.group, run.width);
    }
}

// The batch of one run of pixels and one piece of output channels: whole input-channel blocks first, then
// the rest.
void BatchReduceStage::multiply(const Tile& tile, std::size_t r, const GroupKind& kind, std::size_t piece,
                                const Row& row, std::byte* scratch) const noexcept {
    const PixelRun& run = tile.runs[r];
    const Gemm& gemm = tile.gemms[r * pieces_.size() + piece];
    const Conv& conv = stage_.conv;
    auto** a = reinterpret_cast<const float**>(scratch);
    auto** b = a + most_pointers_;
    const std::byte* weights = row.group + kind.weights_offset + pieces_[piece].channel * 4;
    auto* output =
        reinterpret_cast<float*>(row.output + run.first * out_.pixel + out_.channel(pieces_[piece].channel));
    const auto call = [&](std::size_t kernel, std::int64_t first_block, std::int64_t blocks) {
        unsigned long long count = 0;
        for (std::int64_t kh = row.taps.begin; kh < row.taps.end; ++kh) {
            // Rows may point left of what exists; the columns taken from them do not.
            const auto source = reinterpret_cast<std::uintptr_t>(row.sources[kh * conv.dilation.h]);
            for (std::int64_t kw = run.columns.begin; kw < run.columns.end; ++kw) {
                const std::int64_t column = run.first * conv.stride.w + kw * conv.dilation.w + tile.shift;
                const std::byte* matrix =
                    weights +
                    ((kh * conv.kernel.w + kw) * stage_.in_channels + first_block * block_) * kind.row_bytes;
                const auto pixel =
                    source + static_cast<std::uintptr_t>(column * in_.pixel + first_block * in_.block_stride);
                for (std::int64_t block = 0; block < blocks; ++block, ++count) {
                    a[count] = reinterpret_cast<const float*>(matrix + block * block_ * kind.row_bytes);
                    b[count] = reinterpret_cast<const float*>(
                        pixel + static_cast<std::uintptr_t>(block * in_.block_stride));
                }
            }
        }
        kernels_[kernel](a, b, output, &count);
    };
    call(gemm.whole, 0, whole_blocks_);
    if (gemm.rest != no_kernel) call(gemm.rest, whole_blocks_, 1);
}

}  // namespace tandem
