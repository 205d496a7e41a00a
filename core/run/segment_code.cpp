#include "core/run/segment_code.hpp"

#include <algorithm>

#include "core/plan/output_planes.hpp"
#include "core/plan/winograd.hpp"

namespace tandem {
namespace {

// A stage on AMX that reads columns of padding, or channels behind the last, in scratch.
bool reads_filling(const Segment& segment, int i, const RowBuffer& source) {
    const Stage& stage = segment.problem.stage(i);
    return uses_amx(segment.plan.stage(i).dot) && (stage.conv.kernel.w > 1 || stage.padding != Padding{} ||
                                                   stage.in_channels % source.strides.block != 0);
}

void measure_tables(SegmentCode& code) {
    for (std::int64_t ty = 0; ty < code.grid.tiles_y; ++ty) {
        const TileSpans spans = tile_spans(code.problem, code.plan, ty, 0, true);
        code.source_rows = std::max(code.source_rows, spans.source_rows.size());
        for (int i = 0; i < code.problem.stage_count; ++i) {
            std::int64_t& rows = code.held_rows[static_cast<std::size_t>(i)];
            rows = std::max(rows, spans.stage(i).held.size());
        }
    }
}

void lay_out(SegmentCode& code) {
    std::size_t at = 0;
    const auto take = [&at](std::size_t bytes) {
        const std::size_t offset = at;
        at += (bytes + 63) / 64 * 64;
        return offset;
    };
    SegmentCode::Offsets& offsets = code.offsets;
    for (std::size_t i = 0; i < code.mids.size(); ++i)
        offsets.mids[i] = take(static_cast<std::size_t>(code.mids[i].bytes));
    offsets.staging = take(static_cast<std::size_t>(code.staging.bytes));
    offsets.written = take(static_cast<std::size_t>(code.written.bytes));
    offsets.workspace = take(static_cast<std::size_t>(workspace_bytes(code.problem, code.plan)));
    std::int64_t pointers = 2 * code.source_rows;  // and of each stage: outputs and residuals
    for (const std::int64_t rows : code.held_rows)
        pointers += 2 * rows;
    pointers += code.held_rows[static_cast<std::size_t>(code.problem.stage_count - 1)];  // of planes
    offsets.tables = take(static_cast<std::size_t>(pointers) * sizeof(void*));
    offsets.runner = take(code.runner->scratch_bytes());
    offsets.end = at;
}

}  // namespace

Result<SegmentCode> SegmentCode::create(Segment segment, jit::SegmentFunctions functions) {
    auto runner = make_tile_runner(segment.problem, segment.plan, functions);
    if (!runner) return runner.error();
    SegmentCode code{std::move(segment), std::move(functions), std::move(*runner)};
    const Problem& problem = code.problem;
    code.grid = tile_grid(problem, code.plan);
    code.slides = code.plan.slides();
    code.staging = staging_buffer(problem, code.plan);
    code.written = output_buffer(problem, code.plan);
    code.input = input_strides(problem);
    code.output = output_strides(problem);
    for (int i = 0; i < problem.stage_count; ++i) {
        const auto s = static_cast<std::size_t>(i);
        if (i + 1 < problem.stage_count) code.mids[s] = mid_buffer(problem, code.plan, i);
        code.residual[s] = residual_strides(problem, i);
        code.fills_source[s] = reads_filling(code, i, i == 0 ? code.staging : code.mids[s - 1]);
    }
    measure_tables(code);
    lay_out(code);
    return code;
}

}  // namespace tandem
