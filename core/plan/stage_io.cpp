#include "core/plan/stage_io.hpp"

#include <algorithm>

#include "core/plan/ceil_div.hpp"
#include "core/plan/panel.hpp"

namespace tandem {
namespace {

// The GEMM of the last stage follows a depthwise stage that reads the input tensor, band after band.
bool prefetches_input(const Problem& problem, const Plan& plan) noexcept {
    return plan.prefetch_next && problem.stage_count == 2 && problem.stage(0).depthwise();
}

}  // namespace

TailStore tail_store(const Problem& problem, const Plan& plan, int i) noexcept {
    if (i == problem.stage_count - 1)
        return problem.writes_planes()                      ? TailStore::anything
               : problem.output_view.layout == Layout::nhwc ? TailStore::masked
                                                            : TailStore::zeroed;
    // What a dot instruction reads beside the last channel meets weights of zero, but must be a number; AMX
    // reads whole blocks.
    const Dot dot = plan.stage(i + 1).dot;
    const std::int64_t together = problem.stage(i + 1).depthwise() ? 1
                                  : uses_amx(dot)                  ? amx_rows
                                                                   : dot_channels(dot);
    return problem.stage(i).out_channels % together == 0 ? TailStore::anything : TailStore::cleared;
}

std::int64_t rows_ahead(const Problem& problem, const Plan& plan, int i) noexcept {
    if (i != 0 || !prefetches_input(problem, plan) || !uses_amx(plan.stage(1).dot)) return 0;
    return plan.tile_h * problem.stage(0).conv.stride.h * input_strides(problem).row;
}

InputPrefetch input_prefetch(const Problem& problem, const Plan& plan, int i) {
    if (i != 1 || !prefetches_input(problem, plan) || uses_amx(plan.stage(1).dot) ||
        problem.stage(0).conv.multiplier != 1)
        return {};
    const Stage& first = problem.stage(0);
    std::int64_t calls = 0;
    for (const GroupRun& run : split_runs(panel_layout(problem, plan, 1), 0, plan.channel_splits))
        calls += run.count;
    const std::int64_t blocks = ceil_div(plan.tile_h * plan.tile_w, plan.stage(1).block_pixels);
    const std::int64_t pixels =
        std::min<std::int64_t>(plan.tile_h * first.conv.stride.h, first.in_h) * first.in_w;
    return {ceil_div(pixels, std::max<std::int64_t>(1, calls * blocks)), input_strides(problem)};
}

}  // namespace tandem
