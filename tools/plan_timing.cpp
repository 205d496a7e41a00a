#include "tools/plan_timing.hpp"

#include <algorithm>
#include <deque>
#include <memory>

#include "core/run/kernel_code.hpp"
#include "core/run/packing.hpp"
#include "core/run/typed_tensor.hpp"

namespace tandem::tool {

namespace {

// Cache lines of their own for tensors: what frameworks' allocators give.
Result<AlignedBuffer> aligned(DataType type, std::size_t elements) {
    return AlignedBuffer::create(std::max<std::size_t>(64, tensor_bytes(type, elements)));
}

Result<AlignedBuffer> aligned(DataType type, std::span<const float> values) {
    Result<AlignedBuffer> buffer = aligned(type, values.size());
    if (buffer) store_elements(type, values, buffer->data());
    return buffer;
}

struct Runner {
    Kernel kernel;
    const PackedWeights* weights = nullptr;
};

/// Plans that agree on the panels share them.
struct Packed {
    std::shared_ptr<const PanelSpecs> panels;
    PackedWeights weights;
};

constexpr double settle_seconds = 1e-9;  // makes interleave() call once untimed before each sample

}  // namespace

Result<std::vector<Series>> time_plans(const BenchSetup& setup, const ConvChain& chain,
                                       const std::vector<Plan>& plans, double seconds) {
    const Result<std::unique_ptr<Workload>> workload = make_workload(chain);
    if (!workload) return workload.error();
    const Problem& problem = (*workload)->problem;
    const int last = problem.stage_count - 1;
    const VerificationData& data = (*workload)->data;
    const Result<AlignedBuffer> input = aligned(problem.dtype, data.input);
    const Result<AlignedBuffer> output =
        aligned(problem.output_dtype(last),
                static_cast<std::size_t>(element_count(problem.output_shape(), problem.output_view)));
    if (!input || !output) return (!input ? input : output).error();
    std::vector<AlignedBuffer> residuals;
    Args args{.input = input->data(), .output = output->data()};
    args.input_factors = data.input_factors.data();
    for (int i = 0; i < problem.stage_count; ++i) {
        const auto stage = static_cast<std::size_t>(i);
        if (data.residual[stage].empty()) continue;
        Result<AlignedBuffer> residual = aligned(problem.output_dtype(i), data.residual[stage]);
        if (!residual) return residual.error();
        residuals.push_back(std::move(*residual));
        args.residual[stage] = residuals.back().data();
    }
    std::deque<Runner> runners;
    std::deque<Packed> packed;
    for (const Plan& plan : plans) {
        DispatchOptions options = setup.settings.dispatch();
        options.plan = std::make_shared<const Plan>(plan);
        const Result<Kernel> kernel = setup.context->dispatch(chain, options);
        if (!kernel) return kernel.error();
        const auto& panels = kernel->impl()->code->panels;
        auto same = std::ranges::find_if(packed, [&](const Packed& p) { return *p.panels == *panels; });
        if (same == packed.end()) {
            Result<PackedWeights> fresh =
                kernel->pack(data.views(problem.stage_count), data.input_quantization);
            if (!fresh) return fresh.error();
            same = packed.insert(packed.end(), {panels, std::move(*fresh)});
        }
        runners.push_back({*kernel, &same->weights});
    }
    Status failed;
    std::vector<std::function<void()>> functions;
    for (const Runner& runner : runners) {
        functions.push_back([&setup, &runner, &failed, args]() mutable {
            args.weights = runner.weights;
            const Status status = setup.pool ? setup.pool->run(runner.kernel, args) : runner.kernel(args);
            if (!status) failed = status;
        });
    }
    InterleaveOptions timing;
    timing.seconds = seconds;
    timing.idle_seconds = settle_seconds;
    timing.whole_process = setup.pool != nullptr;
    std::vector<Series> series = interleave(functions, timing);
    if (!failed) return failed.error();
    return series;
}

}  // namespace tandem::tool
