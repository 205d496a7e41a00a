#include "core/plan/output_planes.hpp"

#include <algorithm>

#include "core/plan/ceil_div.hpp"

namespace tandem {

RowBuffer output_buffer(const Problem& problem, const Plan& plan) {
    constexpr std::int64_t set_period = 1024, line = 64;  // pixels that far apart would share few sets of L1
    RowBuffer buffer;
    if (!problem.writes_planes()) return buffer;
    buffer.slots = std::min<std::int64_t>(plan.tile_h, problem.last().out_h);
    buffer.width = std::min<std::int64_t>(plan.tile_w, problem.last().out_w);
    TensorStrides& s = buffer.strides;
    s.element = element_bytes(problem.output_dtype(problem.stage_count - 1));
    const std::int64_t together =
        std::max<std::int64_t>(vector_lanes(plan.isa, problem.layout), plane_piece / s.element);
    s.block = ceil_div(problem.last().out_channels, together) * together;
    s.pixel = s.block * s.element;
    if (s.pixel % set_period == 0) s.pixel += line;
    s.row = buffer.width * s.pixel;
    buffer.bytes = buffer.slots * s.row;
    return buffer;
}

TensorStrides written_strides(const Problem& problem, const Plan& plan) {
    return problem.writes_planes() ? output_buffer(problem, plan).strides : output_strides(problem);
}

}  // namespace tandem
