// Kernel: checks of a call's arguments, then the executor. See include/tandem/kernel.hpp.
#include "tandem/kernel.hpp"

#include <fmt/format.h>

#include "core/plan/as_result.hpp"
#include "core/run/argument_checks.hpp"
#include "core/run/executor.hpp"
#include "core/run/explain.hpp"
#include "core/run/kernel_code.hpp"
#include "core/run/thread_state.hpp"

namespace tandem {
namespace {

Error empty_kernel() {
    return {ErrorCode::invalid_argument, "The kernel is empty; a kernel that dispatch() returned is needed."};
}

Status check_part(int part, int nparts) {
    if (nparts >= 1 && part >= 0 && part < nparts) return {};
    return Error{ErrorCode::invalid_argument,
                 fmt::format("part is {} of nparts {}; 0 <= part < nparts is accepted.", part, nparts)};
}

Status check_memory(const char* name, std::span<std::byte> memory, std::size_t needed) {
    if (memory.size() < needed)
        return Error{ErrorCode::buffer_too_small,
                     fmt::format("{} has {} bytes; at least {} are needed.", name, memory.size(), needed)};
    const auto address = reinterpret_cast<std::uintptr_t>(memory.data());
    if (needed > 0 && (address == 0 || address % 64 != 0))
        return Error{ErrorCode::invalid_argument,
                     fmt::format("{} is at {}; an address aligned to 64 bytes is needed.", name,
                                 static_cast<const void*>(memory.data()))};
    return {};
}

/// With the chain's input as the residual of +sum(in).
Args with_input_summed(const KernelImpl& kernel, const Args& args) noexcept {
    Args called = args;
    for (int i = 0; i < kernel.problem.stage_count; ++i)
        if (kernel.problem.stage(i).sums_input()) called.residual[static_cast<std::size_t>(i)] = args.input;
    return called;
}

Status check_host(const KernelImpl& kernel) {
    if (!kernel.code->foreign) return {};
    return Error{
        ErrorCode::unsupported,
        fmt::format("the kernel was made for another machine ('{}') and is to be looked at; one that "
                    "dispatch() returned is needed.",
                    to_string(kernel.code->plan.isa))};
}

// What an empty kernel refers to; never destroyed, as static destructors may ask.
template <class T>
union NeverDestroyed {
    T value;
    template <class... Args>
    explicit NeverDestroyed(const Args&... args) : value(args...) {}
    ~NeverDestroyed() {}
};
const NeverDestroyed<std::string> empty_name("empty kernel");
const NeverDestroyed<Plan> empty_plan;

}  // namespace

std::size_t PackedWeights::bytes() const noexcept { return memory().size(); }
std::span<const std::byte> PackedWeights::memory() const noexcept {
    if (!data_) return {};
    return {data_->buffer.data(), data_->buffer.size()};
}

Result<PackedWeights> Kernel::pack(std::span<const float> w1, std::span<const float> b1,
                                   std::span<const float> w2, std::span<const float> b2) const noexcept {
    const StageWeights stages[] = {{w1, b1, {}, {}}, {w2, b2, {}, {}}};
    return pack(stages);
}

Result<PackedWeights> Kernel::pack(std::span<const StageWeights> stages,
                                   const Quantization& input) const noexcept {
    return as_result([&]() -> Result<PackedWeights> {
        if (!impl_) return empty_kernel();
        auto packed = pack_weights(impl_->code->panels, stages, input);
        if (!packed) return packed.error();
        PackedWeights weights;
        weights.data_ = std::make_shared<const PackedData>(std::move(*packed));
        return weights;
    });
}

Status Kernel::operator()(const Args& args) const noexcept {
    return as_result([&]() -> Status {
        ThreadState* const thread = thread_state();
        Scratch own;  // of a thread without state
        const auto scratch = (thread ? thread->scratch : own).reserve(scratch_bytes());
        if (!scratch) return scratch.error();
        return run(0, 1, args, *scratch);
    });
}

Status Kernel::run(int part, int nparts, const Args& args, std::span<std::byte> scratch) const noexcept try {
    if (!impl_) return empty_kernel();
    if (auto status = check_host(*impl_); !status) return status;
    const PackedData* packed = args.weights ? args.weights->data_.get() : nullptr;
    if (auto status = check_args(*impl_, args, packed); !status) return status;
    if (auto status = check_part(part, nparts); !status) return status;
    if (auto status = check_memory("scratch", scratch, scratch_bytes()); !status) return status;
    run_part(*impl_, part, nparts, with_input_summed(*impl_, args), *packed, scratch.data());
    return {};
} catch (...) {
    return caught_error();
}

Status Kernel::run_step(int step, int part, int nparts, const Args& args, std::span<std::byte> scratch,
                        std::span<std::byte> shared) const noexcept try {
    if (!impl_) return empty_kernel();
    if (auto status = check_host(*impl_); !status) return status;
    const PackedData* packed = args.weights ? args.weights->data_.get() : nullptr;
    if (auto status = check_args(*impl_, args, packed); !status) return status;
    if (step < 0 || step >= steps())
        return Error{ErrorCode::invalid_argument,
                     fmt::format("step is {}; 0 to {} is accepted.", step, steps() - 1)};
    if (auto status = check_part(part, nparts); !status) return status;
    if (auto status = check_memory("scratch", scratch, scratch_bytes()); !status) return status;
    if (auto status = check_memory("shared", shared, shared_bytes()); !status) return status;
    tandem::run_step(*impl_, step, part, nparts, with_input_summed(*impl_, args), *packed, scratch.data(),
                     shared.data());
    return {};
} catch (...) {
    return caught_error();
}

int Kernel::steps() const noexcept { return impl_ ? static_cast<int>(impl_->code->segments.size()) : 0; }
std::size_t Kernel::shared_bytes() const noexcept { return impl_ ? impl_->shared_bytes() : 0; }
std::size_t Kernel::scratch_bytes() const noexcept { return impl_ ? impl_->code->scratch_bytes : 0; }
std::int64_t Kernel::tiles() const noexcept { return impl_ ? impl_->tiles() : 0; }

const std::string& Kernel::name() const noexcept { return impl_ ? impl_->name : empty_name.value; }

const Plan& Kernel::plan() const noexcept { return impl_ ? impl_->code->plan : empty_plan.value; }

std::span<const std::byte> Kernel::code() const noexcept {
    return impl_ ? impl_->code->bytes() : std::span<const std::byte>{};
}
std::span<const CodeSymbol> Kernel::symbols() const noexcept {
    return impl_ ? std::span<const CodeSymbol>(impl_->code->code.symbols) : std::span<const CodeSymbol>{};
}
std::string Kernel::explain() const { return impl_ ? tandem::explain(*impl_) : empty_kernel().message; }
bool Kernel::fused() const noexcept { return impl_ && impl_->code->fused(); }
TensorShape Kernel::input_shape() const noexcept {
    return impl_ ? impl_->problem.input_shape() : TensorShape{};
}
TensorShape Kernel::output_shape() const noexcept {
    return impl_ ? impl_->problem.output_shape(impl_->problem.stage_count - 1) : TensorShape{};
}
TensorShape Kernel::residual_shape(int stage) const noexcept {
    return impl_ && stage >= 0 && stage < impl_->problem.stage_count ? impl_->problem.residual_shape(stage)
                                                                     : TensorShape{0, 0, 0, 0};
}
DataType Kernel::input_dtype() const noexcept { return impl_ ? impl_->problem.dtype : DataType::f32; }
DataType Kernel::output_dtype() const noexcept {
    return impl_ ? impl_->problem.output_dtype(impl_->problem.stage_count - 1) : DataType::f32;
}
DataType Kernel::residual_dtype(int stage) const noexcept {
    return impl_ && stage >= 0 && stage < impl_->problem.stage_count ? impl_->problem.output_dtype(stage)
                                                                     : DataType::f32;
}
TensorView Kernel::input_view() const noexcept { return impl_ ? impl_->problem.input_view : TensorView(); }
TensorView Kernel::output_view() const noexcept { return impl_ ? impl_->problem.output_view : TensorView(); }
TensorView Kernel::residual_view(int stage) const noexcept {
    return impl_ && stage >= 0 && stage < impl_->problem.stage_count ? impl_->problem.residual_view(stage)
                                                                     : TensorView();
}

}  // namespace tandem
