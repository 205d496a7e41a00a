#include "core/run/kernel_code.hpp"

#include <algorithm>
#include <chrono>

#include "core/plan/candidates.hpp"

namespace tandem {
namespace {

std::size_t last_dense(std::span<const SegmentCode> segments) {
    std::size_t last = 0;
    for (std::size_t s = 0; s < segments.size(); ++s)
        for (int i = 0; i < segments[s].problem.stage_count; ++i)
            if (!segments[s].problem.stage(i).depthwise()) last = s;
    return last;
}

// Segments take turns behind the tensors that lie between them.
void lay_out(KernelCode& code) {
    std::size_t at = 0, most = 0;
    for (std::size_t i = 0; i < code.segments.size(); ++i) {
        most = std::max(most, code.segments[i].offsets.end);
        if (i + 1 == code.segments.size()) break;
        code.stored_offsets.push_back(at);
        at += code.stored_bytes(i);
    }
    code.segments_offset = at;
    code.scratch_bytes = at + most;
}

}  // namespace

Result<std::shared_ptr<const KernelCode>> KernelCode::create(const Problem& problem, const Plan& plan,
                                                             std::string plan_reason,
                                                             const Options& options) {
    const auto begin = std::chrono::steady_clock::now();
    if (auto status = check_backend(plan); !status) return status.error();
    std::vector<Segment> segments = segments_of(problem, plan);
    auto chain = jit::emit_chain_kernel(segments);
    if (!chain) return chain.error();
    auto code = std::make_shared<KernelCode>();
    code->problem = problem;
    code->plan = plan;
    code->code = std::move(chain->code);
    code->threads = options.threads;
    code->plan_reason = std::move(plan_reason);
    code->name = kernel_name(problem, plan);
    code->machine = options.machine;
    code->foreign = options.foreign;
    code->panels = std::make_shared<const PanelSpecs>(panel_specs(problem, plan));
    for (std::size_t i = 0; i < segments.size(); ++i) {
        auto segment = SegmentCode::create(std::move(segments[i]), std::move(chain->segments[i]));
        if (!segment) return segment.error();
        code->segments.push_back(std::move(*segment));
    }
    lay_out(*code);
    code->fetching_segment = last_dense(code->segments);
    code->announcement = CodeAnnouncement({code->bytes(), code->code.symbols, code->name}, options.observer);
    code->emission_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return std::shared_ptr<const KernelCode>(std::move(code));
}

bool KernelCode::fused() const noexcept {
    return problem.stage_count > 1 && segments.size() == 1 && !is_unfused(problem, plan, threads);
}

std::int64_t KernelCode::intermediate_bytes() const noexcept {
    auto bytes = static_cast<std::int64_t>(segments_offset);
    std::int64_t most = 0;
    for (const SegmentCode& segment : segments) {
        std::int64_t mids = 0;
        for (const RowBuffer& mid : segment.mids)
            mids += mid.bytes;
        most = std::max(most, mids);
    }
    return bytes + most;
}

std::int64_t KernelCode::working_bytes() const noexcept {
    std::size_t most = 0;
    for (const SegmentCode& segment : segments)
        most = std::max(most, segment.offsets.tables);
    return static_cast<std::int64_t>(segments_offset + most);
}

std::shared_ptr<const KernelImpl> KernelImpl::create(const Problem& problem,
                                                     std::shared_ptr<const KernelCode> code) {
    std::string name = kernel_name(problem, code->plan);
    return std::make_shared<const KernelImpl>(KernelImpl{problem, std::move(code), std::move(name)});
}

std::string kernel_name(const Problem& problem, const Plan& plan) {
    return problem.name() + "/" + to_string(plan.isa);
}

std::size_t KernelImpl::shared_bytes() const noexcept {
    return code->segments_offset * static_cast<std::size_t>(problem.input.n);
}

std::int64_t KernelImpl::tiles() const noexcept { return problem.input.n * code->last().grid.count(); }

}  // namespace tandem
