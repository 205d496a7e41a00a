#include "core/run/kernel_code.hpp"

#include <algorithm>
#include <chrono>

#include "core/plan/candidates.hpp"
#include "core/plan/winograd.hpp"

namespace tandem {
namespace {

// The row tables that a tile needs, and the strides that fill them.
void derive(KernelCode& code) {
    const Problem& problem = code.problem;
    code.grid = tile_grid(problem, code.plan);
    code.mid = mid_buffer(problem, code.plan);
    code.staging = staging_buffer(problem, code.plan);
    for (int i = 0; i < problem.stage_count; ++i) {
        const RowBuffer& source = i == 0 ? code.staging : code.mid;
        const Stage& stage = problem.stage(i);
        code.fills_source[static_cast<std::size_t>(i)] =
            uses_amx(code.plan.stage(i).dot) && (stage.conv.kernel.w > 1 || stage.padding != Padding{} ||
                                                 stage.in_channels % source.strides.block != 0);
    }
    code.input = input_strides(problem);
    code.output = output_strides(problem);
    for (int i = 0; i < problem.stage_count; ++i)
        code.residual[static_cast<std::size_t>(i)] = residual_strides(problem, i);
    code.workspace_bytes = workspace_bytes(problem, code.plan);
    code.signature = pack_signature(problem, code.plan);
    for (std::int64_t ty = 0; ty < code.grid.tiles_y; ++ty) {
        const TileSpans spans = tile_spans(problem, code.plan, ty, 0, true);
        code.source_rows = std::max(code.source_rows, spans.source_rows.size());
        code.table_rows[0] = std::max(code.table_rows[0], spans.mid_rows.size());
        code.table_rows[1] = std::max(code.table_rows[1], spans.rows.size());
    }
}

}  // namespace

Result<std::shared_ptr<const KernelCode>> KernelCode::create(const Problem& problem, const Plan& plan,
                                                             std::string plan_reason,
                                                             const Options& options) {
    const auto begin = std::chrono::steady_clock::now();
    if (auto status = check_backend(plan); !status) return status.error();
    auto pair = jit::emit_pair_kernel(problem, plan);
    if (!pair) return pair.error();
    auto runner = make_tile_runner(problem, plan, *pair);
    if (!runner) return runner.error();
    auto code = std::make_shared<KernelCode>(KernelCode{.problem = problem,
                                                        .plan = plan,
                                                        .pair = std::move(*pair),
                                                        .runner = std::move(*runner),
                                                        .threads = options.threads,
                                                        .plan_reason = std::move(plan_reason),
                                                        .name = kernel_name(problem, plan),
                                                        .foreign = options.foreign});
    derive(*code);
    const jit::EmittedCode& emitted = code->pair.code;
    code->announcement =
        CodeAnnouncement({emitted.memory->bytes(), emitted.symbols, code->name}, options.observer);
    code->emission_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return std::shared_ptr<const KernelCode>(std::move(code));
}

bool KernelCode::fused() const noexcept {
    return problem.stage_count == 2 && !is_unfused(problem, plan, threads);
}

// Behind the tables of source, staged, intermediate, output and the two residual tensors' rows.
std::size_t KernelCode::runner_offset() const noexcept {
    const std::int64_t pointers = 2 * source_rows + 2 * table_rows[0] + 2 * table_rows[1];
    return tables_offset() + static_cast<std::size_t>((pointers * 8 + 63) / 64 * 64);
}

std::size_t KernelCode::scratch_bytes() const noexcept {
    return runner_offset() + (runner->scratch_bytes() + 63) / 64 * 64;
}

std::shared_ptr<const KernelImpl> KernelImpl::create(const Problem& problem,
                                                     std::shared_ptr<const KernelCode> code) {
    std::string name = kernel_name(problem, code->plan);
    return std::make_shared<const KernelImpl>(KernelImpl{problem, std::move(code), std::move(name)});
}

std::string kernel_name(const Problem& problem, const Plan& plan) {
    return problem.name() + "/" + to_string(plan.isa);
}

std::int64_t KernelImpl::tiles() const noexcept { return problem.input.n * code->grid.count(); }

}  // namespace tandem
