#include "core/run/plan_timer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/plan/arithmetic.hpp"
#include "core/plan/tiling.hpp"
#include "core/run/amx_permission.hpp"
#include "core/run/tolerance.hpp"
#include "core/run/typed_tensor.hpp"

namespace tandem {
namespace {

constexpr std::uint64_t data_seed = 1;
constexpr double sample_seconds_many =
    1e-3;  // several threads: a sample has to hide that its first call wakes them

Result<AlignedBuffer> aligned_copy(DataType type, const std::vector<float>& values) {
    Result<AlignedBuffer> buffer =
        AlignedBuffer::create(tensor_bytes(type, std::max<std::size_t>(values.size(), 1)));
    if (buffer) store_elements(type, values, buffer->data());
    return buffer;
}

DataType output_type(const Problem& problem) { return problem.output_dtype(problem.stage_count - 1); }

}  // namespace

Result<PlanTimer> PlanTimer::create(const Problem& problem, int threads) {
    PlanTimer timer;
    timer.problem_ = problem;
    timer.data_ = make_verification_data(problem, DataKind::random, data_seed);
    const auto outputs = static_cast<std::size_t>(element_count(problem.output_shape(), problem.output_view));
    Result<AlignedBuffer> input = aligned_copy(problem.dtype, timer.data_.input);
    Result<AlignedBuffer> output = AlignedBuffer::create(tensor_bytes(output_type(problem), outputs));
    if (!input || !output) return (!input ? input : output).error();
    timer.input_ = std::move(*input);
    timer.output_ = std::move(*output);
    for (std::size_t i = 0; i < timer.residual_.size(); ++i) {
        Result<AlignedBuffer> residual = aligned_copy(problem.output_dtypes[i], timer.data_.residual[i]);
        if (!residual) return residual.error();
        timer.residual_[i] = std::move(*residual);
    }
    if (threads > 1) {
        Result<ThreadPool> pool = ThreadPool::create({.threads = threads});
        if (!pool) return pool.error();
        timer.pool_ = std::move(*pool);
    }
    return timer;
}

Status PlanTimer::run(const Runner& runner) noexcept {
    Args args{.input = input_.data(), .output = output_.data(), .weights = runner.weights.get()};
    for (std::size_t i = 0; i < residual_.size(); ++i)
        if (!data_.residual[i].empty()) args.residual[i] = residual_[i].data();
    if (problem_.input.factors) args.input_factors = data_.input_factors.data();
    return pool_ ? pool_->run(runner.kernel, args) : runner.kernel(args);
}

// Candidates differ in their weights' blocking only now and then: most share a panel.
Result<std::shared_ptr<PackedWeights>> PlanTimer::packed_for(const Kernel& kernel) {
    const auto& panels = kernel.impl()->code->panels;
    std::erase_if(packed_, [](const Packed& packed) { return packed.weights.expired(); });
    for (const Packed& packed : packed_)
        if (*packed.panels == *panels) return packed.weights.lock();
    Result<PackedWeights> packed = kernel.pack(data_.views(problem_.stage_count), data_.input_quantization);
    if (!packed) return packed.error();
    auto shared = std::make_shared<PackedWeights>(std::move(*packed));
    packed_.push_back({panels, shared});
    return shared;
}

// The first plan's output is what the others have to agree with. The buffer is overwritten before, with
// NaNs where the type has them, so that nothing left over from another plan passes for a result.
Status PlanTimer::check_output(const Runner& runner) {
    std::memset(output_.data(), 0xff, output_.size());
    if (Status status = run(runner); !status) return status;
    std::vector<float> output = load_elements(output_type(problem_), {output_.data(), output_.size()});
    if (expected_.empty()) {
        expected_ = std::move(output);
        for (const float value : expected_)
            largest_ = std::max(largest_, std::abs(value));
        return {};
    }
    // Integer sums do not depend on the plan, and post-ops are the same instructions under all of them.
    const double accepted = problem_.quantized() ? 0 : rough_agreement(problem_) * std::max(largest_, 1e-30f);
    for (std::size_t i = 0; i < output.size(); ++i)
        if (!(std::abs(output[i] - expected_[i]) <= accepted) &&
            !(std::isnan(output[i]) && std::isnan(expected_[i])))
            return Error{ErrorCode::unsupported, fmt::format("output {} is {}, under the planner's plan {}",
                                                             i, output[i], expected_[i])};
    return {};
}

PlanTimer::Runner PlanTimer::prepare(const Plan& plan) {
    Runner runner{.plan = plan};
    Status possible = check_plan(problem_, plan);
    if (possible && uses_amx(problem_, plan)) possible = request_amx();
    if (!possible) {
        runner.error = possible.error();
        return runner;
    }
    auto code = KernelCode::create(problem_, plan, "a candidate", {});
    if (!code) {
        runner.error = code.error();
        return runner;
    }
    runner.kernel = Kernel(KernelImpl::create(problem_, std::move(*code)));
    auto weights = packed_for(runner.kernel);
    if (weights) runner.weights = std::move(*weights);
    const Status status = weights ? check_output(runner) : Status(weights.error());
    if (!status) runner.error = status.error();
    return runner;
}

// Those there are, and new ones as long as there is time.
std::vector<PlanTimer::Runner> PlanTimer::take_runners(std::span<const Plan> plans, double prepare_seconds) {
    const double end = now_seconds() + prepare_seconds;
    std::vector<Runner> wanted;
    for (const Plan& plan : plans) {
        const auto found = std::find_if(runners_.begin(), runners_.end(),
                                        [&](const Runner& runner) { return runner.plan == plan; });
        if (found != runners_.end())
            wanted.push_back(*found);
        else if (now_seconds() < end)
            wanted.push_back(prepare(plan));
        else
            wanted.push_back(
                {.plan = plan, .error = Error{ErrorCode::unsupported, "no time was left to try it"}});
    }
    return wanted;
}

std::vector<Result<Series>> PlanTimer::time(std::span<const Plan> plans, const TimingRequest& request) {
    runners_ = take_runners(plans, request.prepare_seconds);
    std::vector<std::function<void()>> functions;
    for (const Runner& runner : runners_)
        if (!runner.error) functions.push_back([this, &runner] { static_cast<void>(run(runner)); });
    InterleaveOptions timing;
    timing.seconds = request.seconds;
    timing.min_rounds = request.min_rounds;
    if (request.sample_seconds > 0) timing.sample_seconds = request.sample_seconds;
    if (pool_) {
        timing.sample_seconds = sample_seconds_many;
        timing.whole_process = true;
    }
    std::vector<Series> series = interleave(functions, timing);
    std::vector<Result<Series>> results;
    std::size_t next = 0;
    for (const Runner& runner : runners_) {
        if (runner.error)
            results.emplace_back(*runner.error);
        else
            results.emplace_back(std::move(series[next++]));
    }
    return results;
}

}  // namespace tandem
