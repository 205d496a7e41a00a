#include "tools/contender.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <memory>
#include <new>

#include "core/plan/plan.hpp"
#include "core/run/libxsmm_backend.hpp"
#include "tools/onednn_pair.hpp"

namespace tandem::tool {

namespace {

constexpr std::uint64_t data_seed = 1;

/// A tensor on a cache line of its own: what every framework's allocator gives, and what oneDNN gives itself.
class Tensor {
public:
    explicit Tensor(std::size_t elements)
        : data_(static_cast<float*>(std::aligned_alloc(64, (elements * sizeof(float) + 63) / 64 * 64)), &std::free), elements_(elements) {
        if (!data_) throw std::bad_alloc();
        std::fill_n(data_.get(), elements, 0.0f);
    }
    explicit Tensor(std::span<const float> values) : Tensor(values.size()) { std::copy(values.begin(), values.end(), data_.get()); }
    float* data() const noexcept { return data_.get(); }
    std::span<float> span() const noexcept { return {data_.get(), elements_}; }

private:
    std::unique_ptr<float, decltype(&std::free)> data_;
    std::size_t elements_ = 0;
};

std::size_t elements_of(const TensorShape& shape, Layout layout) { return static_cast<std::size_t>(element_count(shape, layout)); }

Result<std::vector<float>> as_nchw(const Tensor& tensor, const TensorShape& shape, Layout layout) {
    std::vector<float> plain(static_cast<std::size_t>(shape.n * shape.c * shape.h * shape.w));
    if (const Status status = to_nchw(tensor.span(), shape, layout, plain); !status) return status.error();
    return plain;
}

/// What Tandem makes of a layer.
enum class Form { whole, separate, libxsmm };

/// The plan of Tandem's own kernel with LIBXSMM's kernels in the place of its GEMMs.
Result<std::shared_ptr<const Plan>> libxsmm_plan(const Problem& problem, const Plan& own) {
    auto plan = std::make_shared<Plan>(own);
    plan->backend = Backend::libxsmm;
    bool any = false;
    for (int i = 0; i < problem.stage_count; ++i) {
        plan->stages[static_cast<std::size_t>(i)].algorithm = Algorithm::direct;
        any |= uses_libxsmm(problem.stage(i), *plan);
    }
    if (!any) return Error{ErrorCode::unsupported, "No stage is dense, so there is nothing for LIBXSMM to do."};
    return std::shared_ptr<const Plan>(std::move(plan));
}

/// Kernels in a row, each of which reads what the one before wrote: one for a fused pair, two for a separate one.
class KernelContender final : public Contender {
public:
    KernelContender(const BenchSetup& setup, Form form) : setup_(setup), form_(form) {}

    Result<std::vector<float>> prepare(const Workload& workload) override {
        const Problem& problem = workload.problem;
        if (form_ == Form::separate && problem.stage_count < 2)
            return Error{ErrorCode::invalid_argument, "A single convolution has no two kernels to run after each other."};
        tensors_.emplace_back(workload.data.input);
        if (const Status status = form_ == Form::separate ? add_both(workload) : add(workload.work, workload, 0, problem.stage_count); !status)
            return status.error();
        if (const Status status = run_all(); !status) return status.error();
        return as_nchw(tensors_.back(), problem.output_shape(problem.stage_count - 1), problem.layout);
    }

    void run() noexcept override { static_cast<void>(run_all()); }

    std::vector<std::string> description() const override {
        std::vector<std::string> names;
        for (const Step& step : steps_) names.push_back(step.kernel.name() + (step.kernel.fused() ? ", fused" : ""));
        return names;
    }

private:
    struct Step {
        Kernel kernel;
        std::unique_ptr<PackedWeights> weights;
        Args args{};
    };

    Status add_both(const Workload& workload) {
        const ConvPair& pair = std::get<ConvPair>(workload.work);
        if (const Status status = add(first_of(pair), workload, 0, 1); !status) return status;
        return add(second_of(pair), workload, 1, 1);
    }

    Result<Kernel> kernel_of(const Work& work, const Problem& problem) const {
        DispatchOptions options = setup_.settings.dispatch();
        Result<Kernel> own = dispatch(*setup_.context, work, options);
        if (!own || form_ != Form::libxsmm) return own;
        const Result<std::shared_ptr<const Plan>> plan = libxsmm_plan(problem, own->plan());
        if (!plan) return plan.error();
        options.plan = *plan;
        return dispatch(*setup_.context, work, options);
    }

    /// Appends the kernel of `count` stages from `first` on, which reads the last tensor and writes a new one.
    Status add(const Work& work, const Workload& workload, int first, int count) {
        const Result<Kernel> kernel = kernel_of(work, workload.problem);
        if (!kernel) return kernel.error();
        std::vector<StageWeights> plain;
        Args args;
        for (int i = first; i < first + count; ++i) {
            const auto stage = static_cast<std::size_t>(i);
            plain.push_back(workload.data.stages[stage].view());
            const std::vector<float>& residual = workload.data.residual[stage];
            if (!residual.empty()) args.residual[static_cast<std::size_t>(i - first)] = residual.data();
        }
        Result<PackedWeights> packed = kernel->pack(plain);
        if (!packed) return packed.error();
        const Problem& problem = workload.problem;
        args.input = tensors_.back().data();
        tensors_.emplace_back(elements_of(problem.output_shape(first + count - 1), problem.layout));
        args.output = tensors_.back().data();
        steps_.push_back({*kernel, std::make_unique<PackedWeights>(std::move(*packed)), args});
        steps_.back().args.weights = steps_.back().weights.get();
        return {};
    }

    Status run_all() noexcept {
        for (const Step& step : steps_) {
            Status status = setup_.pool ? setup_.pool->run(step.kernel, step.args) : step.kernel(step.args);
            if (!status) return status;
        }
        return {};
    }

    const BenchSetup& setup_;
    Form form_;
    std::vector<Tensor> tensors_;
    std::vector<Step> steps_;
};

}  // namespace

Result<std::unique_ptr<Workload>> make_workload(const Work& work) {
    auto workload = std::make_unique<Workload>();
    workload->work = work;
    const Result<Problem> problem = make_problem(work);
    if (!problem) return problem.error();
    workload->problem = *problem;
    workload->data = make_verification_data(*problem, DataKind::random, data_seed);
    const auto plain = [&](const std::vector<float>& values, const TensorShape& shape) -> Result<std::vector<float>> {
        return as_nchw(Tensor(values), shape, problem->layout);
    };
    Result<std::vector<float>> input = plain(workload->data.input, problem->input_shape());
    if (!input) return input.error();
    workload->input_nchw = std::move(*input);
    for (int i = 0; i < problem->stage_count; ++i) {
        const auto stage = static_cast<std::size_t>(i);
        if (workload->data.residual[stage].empty()) continue;
        Result<std::vector<float>> residual = plain(workload->data.residual[stage], problem->residual_shape(i));
        if (!residual) return residual.error();
        workload->residual_nchw[stage] = std::move(*residual);
    }
    return workload;
}

std::unique_ptr<Contender> make_tandem_contender(const BenchSetup& setup) { return std::make_unique<KernelContender>(setup, Form::whole); }

const std::vector<std::string>& contender_names() {
    static const std::vector<std::string> names = have_onednn() ? std::vector<std::string>{"onednn", "onednn-auto", "libxsmm", "separate"}
                                                                : std::vector<std::string>{"separate", "libxsmm"};
    return names;
}

Status contender_available(const std::string& name) {
    if (name == "libxsmm" && !libxsmm::available())
        return Error{ErrorCode::unsupported, fmt::format("libxsmm is skipped: this build is without {}.", libxsmm::version())};
    return {};
}

std::unique_ptr<Contender> make_contender(const std::string& name, const BenchSetup& setup) {
    if (name == "onednn") return make_onednn_contender(setup.onednn_auto);
    if (name == "onednn-auto") return make_onednn_contender(true);
    return std::make_unique<KernelContender>(setup, name == "libxsmm" ? Form::libxsmm : Form::separate);
}

}  // namespace tandem::tool
