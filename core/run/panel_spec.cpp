#include "core/run/panel_spec.hpp"

#include "core/plan/arithmetic.hpp"
#include "core/plan/output_planes.hpp"
#include "core/plan/segments.hpp"

namespace tandem {
namespace {

// Where there is one block, how far the next one would be says nothing.
ChannelOffsets channel_offsets(const TensorStrides& strides, std::int64_t channels) {
    if (channels <= strides.block) return {std::max<std::int64_t>(channels, 1), 0, strides.element};
    return {strides.block, strides.block_stride, strides.element};
}

// What stage i reads.
TensorStrides source_strides(const Problem& problem, const Plan& plan, int i) {
    if (i > 0) return mid_buffer(problem, plan, i - 1).strides;
    return stages_source(problem, plan) ? staging_buffer(problem, plan).strides : input_strides(problem);
}

PanelOffsets panel_offsets(const Problem& problem, const Plan& plan, int i) {
    const Stage& stage = problem.stage(i);
    const bool last = i == problem.stage_count - 1;
    const TensorStrides in = source_strides(problem, plan, i);
    const TensorStrides out = last ? written_strides(problem, plan) : mid_buffer(problem, plan, i).strides;
    return {stage.depthwise() ? channel_offsets(in, stage.in_channels) : ChannelOffsets{},
            channel_offsets(out, stage.out_channels),
            channel_offsets(residual_strides(problem, i), stage.residual_channels())};
}

// What it is in every image.
Stage without_sizes(Stage stage) {
    stage.conv.padding.reset();
    stage.conv.dilation = {};
    stage.padding = {};
    stage.in_h = stage.in_w = stage.out_h = stage.out_w = 0;
    return stage;
}

void add_winograd(PanelSpec& spec, const Problem& problem, const Plan& plan, int i) {
    const WinogradLayout layout = winograd_layout(problem, plan, i);
    const Stage gemm = winograd_gemm_stage(problem.stage(i), layout.tiles);
    spec.layout = layout.post_ops;
    spec.winograd = WinogradSpec{plan.stage(i).algorithm,
                                 layout.gemm,
                                 layout.gemm_offset,
                                 {channel_offsets(layout.inputs, gemm.in_channels),
                                  channel_offsets(layout.products, gemm.out_channels),
                                  {}}};
}

PanelSpec panel_spec(const Problem& problem, const Plan& plan, int i) {
    PanelSpec spec;
    spec.stage = without_sizes(problem.stage(i));
    spec.input_dtype = problem.input_dtype(i);
    spec.output_dtype = problem.output_dtype(i);
    spec.read_bias = read_zero_point(problem, plan, i, 0);
    spec.fill_bias = stored_bias(problem.input_dtype(i), source_element(problem, plan, i));
    spec.offsets = panel_offsets(problem, plan, i);
    if (is_winograd(plan.stage(i).algorithm))
        add_winograd(spec, problem, plan, i);
    else
        spec.layout = panel_layout(problem, plan, i);
    spec.bytes = panel_bytes(problem, plan, i);
    return spec;
}

}  // namespace

PanelSpecs panel_specs(const Problem& problem, const Plan& plan) {
    PanelSpecs specs;
    for (const Segment& segment : segments_of(problem, plan))
        for (int i = 0; i < segment.problem.stage_count; ++i)
            specs.push_back(panel_spec(segment.problem, segment.plan, i));
    return specs;
}

}  // namespace tandem
