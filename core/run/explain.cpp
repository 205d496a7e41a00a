#include "core/run/explain.hpp"

#include <fmt/format.h>

namespace tandem {
namespace {

std::string stage_line(const KernelImpl& kernel, int i) {
    const Stage& stage = kernel.problem.stage(i);
    const StagePlan& plan = kernel.code->plan.stages[static_cast<std::size_t>(i)];
    const std::string blocking = uses_libxsmm(stage, kernel.code->plan)
        ? fmt::format("batches of GEMMs with {} vectors of output channels, whole runs of pixels", plan.block_vectors)
        : stage.depthwise()
        ? fmt::format("{} rows x {} pixels of one channel vector at a time, {} innermost", plan.block_rows, plan.block_pixels, plan.channels_inner ? "channels" : "pixels")
        : fmt::format("accumulators of {} pixels x {} vectors, all {} input channels summed in registers", plan.block_pixels, plan.block_vectors, stage.in_channels);
    return fmt::format("Stage {}: {} from {}x{}x{} to {}x{}x{}, {:.1f} MFLOP: {}.\n", i + 1, to_string(stage.conv), stage.in_channels, stage.in_h,
                       stage.in_w, stage.out_channels, stage.out_h, stage.out_w, stage.flops() / 1e6, blocking);
}

std::string fusion_line(const KernelImpl& kernel) {
    const KernelCode& code = *kernel.code;
    if (kernel.problem.stage_count == 1) return "One convolution: nothing to fuse.\n";
    const Stage& first = kernel.problem.stage(0);
    const double tensor = static_cast<double>(first.out_channels * first.out_h * first.out_w) * 4 / 1024;
    const char* how = code.plan.fusion == Fusion::sliding ? "a ring of the last rows of the intermediate" : "the intermediate rows of one tile";
    return fmt::format("Fused: both stages run tile by tile{}; scratch holds {} ({:.1f} KB) instead of the whole intermediate ({:.1f} KB an image).\n",
                       code.plan.backend == Backend::tandem ? " in one generated function" : "", how, static_cast<double>(code.mid.bytes) / 1024, tensor);
}

}  // namespace

std::string explain(const KernelImpl& kernel) {
    const KernelCode& code = *kernel.code;
    std::string text = kernel.name + "\n" + fusion_line(kernel);
    text += code.runner->explain();
    for (int i = 0; i < kernel.problem.stage_count; ++i) text += stage_line(kernel, i);
    text += fmt::format("Tiles: {} of {} x {} output pixels{}, in {} rows, {} columns, {} images.\n", kernel.tiles(), code.plan.tile_h, code.plan.tile_w,
                        code.plan.channel_splits > 1 ? fmt::format(", output channels split {} ways (the first stage is computed in each)", code.plan.channel_splits) : "",
                        code.grid.tiles_y, code.grid.tiles_x, kernel.problem.input.n);
    text += fmt::format("Scratch: {} bytes a thread. Code: {} bytes, {} tile functions, emitted in {:.0f} us.\n", code.scratch_bytes(),
                        code.pair.code.memory->bytes().size(), code.pair.table.size(), code.emission_seconds * 1e6);
    text += "Plan: " + to_string(code.plan) + " (" + code.plan_reason + ")\n";
    return text;
}

}  // namespace tandem
