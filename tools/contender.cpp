#include "tools/contender.hpp"

#include <fmt/format.h>

#include <memory>
#include <new>

#include "core/plan/plan.hpp"
#include "core/run/aligned_buffer.hpp"
#include "core/run/libxsmm_backend.hpp"
#include "core/run/typed_tensor.hpp"
#include "tools/onednn_pair.hpp"

namespace tandem::tool {

namespace {

constexpr std::uint64_t data_seed = 1;

class Tensor {
public:
    Tensor(DataType type, std::size_t elements, std::size_t in_page)
        : type_(type), bytes_(tensor_bytes(type, elements)) {
        Result<AlignedBuffer> buffer = AlignedBuffer::create(bytes_, in_page);
        if (!buffer) throw std::bad_alloc();
        buffer_ = std::move(*buffer);
    }
    Tensor(DataType type, std::span<const float> values, std::size_t in_page)
        : Tensor(type, values.size(), in_page) {
        store_elements(type, values, data());
    }
    std::byte* data() const noexcept { return buffer_.data(); }
    std::vector<float> values() const { return load_elements(type_, {data(), bytes_}); }

private:
    DataType type_;
    std::size_t bytes_;
    AlignedBuffer buffer_;
};

std::size_t elements_of(const TensorShape& shape, const TensorView& view) {
    return static_cast<std::size_t>(element_count(shape, view));
}

Result<std::vector<float>> as_nchw(std::span<const float> values, const TensorShape& shape,
                                   const TensorView& view) {
    std::vector<float> plain(static_cast<std::size_t>(shape.n * shape.c * shape.h * shape.w));
    if (const Status status = to_nchw(values, shape, view, plain); !status) return status.error();
    return plain;
}

/// Numbers that are the same to everybody. Zero points of zero are what quantised tensors mostly have, and
/// cost the least: symmetric s8, and u8 of numbers that are not negative. Weights get 7 bits, as oneDNN
/// recommends: without VNNI it adds two products in 16 bits, where larger ones saturate.
void make_comparable(VerificationData& data) {
    data.input_quantization.zero_point = 0;
    for (VerificationData::Weights& weights : data.stages) {
        weights.output.zero_point = weights.residual.zero_point = 0;
        for (std::int8_t& weight : weights.quantized_weights)
            weight /= 2;
        for (float& scale : weights.weight_scales)
            scale *= 2;
    }
}

/// What Tandem makes of a layer.
enum class Form { whole, separate, libxsmm };

/// The plan of Tandem's own kernel with LIBXSMM's kernels in the place of its GEMMs.
Result<std::shared_ptr<const Plan>> libxsmm_plan(const Problem& problem, const Plan& own) {
    if (problem.dtype != DataType::f32)
        return Error{ErrorCode::unsupported,
                     fmt::format("Tandem takes LIBXSMM's kernels for f32 only, not for {}.",
                                 to_string(problem.dtype))};
    if (problem.input.factors)
        return Error{ErrorCode::unsupported, "LIBXSMM's kernels read no input with factors."};
    auto plan = std::make_shared<Plan>(with_libxsmm(own));
    bool any = false;
    for (int i = 0; i < problem.stage_count; ++i)
        any |= uses_libxsmm(problem.stage(i), *plan);
    if (!any)
        return Error{ErrorCode::unsupported, "No stage is dense, so there is nothing for LIBXSMM to do."};
    return std::shared_ptr<const Plan>(std::move(plan));
}

/// Kernels in a row, each of which reads what the one before wrote: one for a fused chain, or one for each
/// convolution.
class KernelContender final : public Contender {
public:
    KernelContender(const BenchSetup& setup, Form form) : setup_(setup), form_(form) {}

    Result<std::vector<float>> prepare(const Workload& workload) override {
        const Problem& problem = workload.problem;
        if (form_ == Form::separate && problem.stage_count < 2)
            return Error{ErrorCode::invalid_argument,
                         "A single convolution has no kernels to run after each other."};
        tensors_.emplace_back(problem.dtype, workload.data.input, next_in_page());
        if (const Status status = form_ == Form::separate
                                      ? add_each(workload)
                                      : add(workload.chain, workload, 0, problem.stage_count);
            !status)
            return status.error();
        if (const Status status = run_all(); !status) return status.error();
        return as_nchw(tensors_.back().values(), problem.output_shape(), problem.output_view);
    }

    void run() noexcept override { static_cast<void>(run_all()); }

    std::vector<std::string> description() const override {
        std::vector<std::string> names;
        for (const Step& step : steps_)
            names.push_back(step.kernel.name() + (step.kernel.fused() ? ", fused" : ""));
        return names;
    }

private:
    // Lines: what follows the header of a block of malloc()'s that is large enough to have pages of its own.
    std::size_t next_in_page() const {
        constexpr std::size_t line = 64, step = 9 * line;
        if (setup_.alignment == Alignment::line) return line;
        if (setup_.alignment == Alignment::page) return 0;
        return (tensors_.size() + residuals_.size() + 1) * step % page_bytes;
    }

    struct Step {
        Kernel kernel;
        std::unique_ptr<PackedWeights> weights;
        Args args{};
    };

    Status add_each(const Workload& workload) {
        for (int i = 0; i < workload.problem.stage_count; ++i)
            if (const Status status = add(stage_of(workload.chain, i), workload, i, 1); !status)
                return status;
        return {};
    }

    Result<Kernel> kernel_of(const ConvChain& chain, const Problem& problem) const {
        DispatchOptions options = setup_.settings.dispatch();
        Result<Kernel> own = setup_.context->dispatch(chain, options);
        if (!own || form_ != Form::libxsmm) return own;
        const Result<std::shared_ptr<const Plan>> plan = libxsmm_plan(problem, own->plan());
        if (!plan) return plan.error();
        options.plan = *plan;
        return setup_.context->dispatch(chain, options);
    }

    /// Appends the kernel of `count` stages from `first` on, which reads the last tensor and writes a new
    /// one.
    Status add(const ConvChain& chain, const Workload& workload, int first, int count) {
        const Result<Kernel> kernel = kernel_of(chain, workload.problem);
        if (!kernel) return kernel.error();
        std::vector<StageWeights> plain;
        Args args;
        for (int i = first; i < first + count; ++i) {
            const auto stage = static_cast<std::size_t>(i);
            plain.push_back(workload.data.stages[stage].view());
            // A stage on its own is given what it finds as the chain's input in the whole.
            if (first > 0 && workload.problem.stage(i).sums_input())
                args.residual[static_cast<std::size_t>(i - first)] = tensors_.front().data();
            if (workload.data.residual[stage].empty()) continue;
            residuals_.emplace_back(workload.problem.output_dtype(i), workload.data.residual[stage],
                                    next_in_page());
            args.residual[static_cast<std::size_t>(i - first)] = residuals_.back().data();
        }
        Result<PackedWeights> packed = kernel->pack(plain, workload.data.input_of(first));
        if (!packed) return packed.error();
        const Problem& problem = workload.problem;
        args.input = tensors_.back().data();
        args.input_factors = first == 0 ? workload.data.input_factors.data() : nullptr;
        const int last = first + count - 1;
        tensors_.emplace_back(
            problem.output_dtype(last),
            elements_of(problem.output_shape(last), last + 1 == problem.stage_count
                                                        ? problem.output_view
                                                        : TensorView(workload.chain.layout)),
            next_in_page());
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
    std::vector<Tensor> tensors_, residuals_;
    std::vector<Step> steps_;
};

}  // namespace

Result<std::unique_ptr<Workload>> make_workload(const ConvChain& chain) {
    auto workload = std::make_unique<Workload>();
    workload->chain = chain;
    const Result<Problem> problem = make_problem(chain);
    if (!problem) return problem.error();
    workload->problem = *problem;
    workload->data = make_verification_data(*problem, DataKind::random, data_seed);
    make_comparable(workload->data);
    Result<std::vector<float>> input =
        as_nchw(workload->data.input, problem->input_shape(), problem->input_view);
    if (!input) return input.error();
    workload->input_nchw = std::move(*input);
    for (int i = 0; i < problem->stage_count; ++i) {
        const auto stage = static_cast<std::size_t>(i);
        if (workload->data.residual[stage].empty()) continue;
        Result<std::vector<float>> residual =
            as_nchw(workload->data.residual[stage], problem->residual_shape(i), problem->residual_view(i));
        if (!residual) return residual.error();
        workload->residual_nchw[stage] = std::move(*residual);
    }
    return workload;
}

std::unique_ptr<Contender> make_tandem_contender(const BenchSetup& setup) {
    return std::make_unique<KernelContender>(setup, Form::whole);
}

const std::vector<std::string>& contender_names() {
    static const std::vector<std::string> names =
        have_onednn() ? std::vector<std::string>{"onednn", "onednn-auto", "libxsmm", "separate"}
                      : std::vector<std::string>{"separate", "libxsmm"};
    return names;
}

Status contender_available(const std::string& name) {
    if (name == "libxsmm" && !libxsmm::available())
        return Error{ErrorCode::unsupported,
                     fmt::format("libxsmm is skipped: this build is without {}.", libxsmm::version())};
    return {};
}

std::unique_ptr<Contender> make_contender(const std::string& name, const BenchSetup& setup) {
    if (name == "onednn") return make_onednn_contender(setup.onednn_auto);
    if (name == "onednn-auto") return make_onednn_contender(true);
    return std::make_unique<KernelContender>(setup, name == "libxsmm" ? Form::libxsmm : Form::separate);
}

}  // namespace tandem::tool
