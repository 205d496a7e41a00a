// Kernel: checks of a call's arguments, then the executor. See include/tandem/kernel.hpp.
#include "tandem/kernel.hpp"

#include <new>

#include <fmt/format.h>

#include "core/run/argument_checks.hpp"
#include "core/run/executor.hpp"
#include "core/run/explain.hpp"
#include "core/run/kernel_code.hpp"

namespace tandem {
namespace {

const Error empty_kernel{ErrorCode::invalid_argument,
                         "The kernel is empty; a kernel that dispatch() returned is needed."};

// Scratch of calls that bring none: one buffer a thread, grown as needed, freed when the thread ends.
std::span<std::byte> thread_scratch(std::size_t bytes) {
    thread_local AlignedBuffer buffer;
    if (buffer.size() < bytes || buffer.data() == nullptr) {
        auto grown = AlignedBuffer::create(std::max<std::size_t>(bytes, 64));
        if (!grown) return {};
        buffer = std::move(*grown);
    }
    return {buffer.data(), buffer.size()};
}

}  // namespace

std::size_t PackedWeights::bytes() const noexcept { return data_ ? data_->buffer.size() : 0; }

Result<PackedWeights> Kernel::pack(std::span<const float> w1, std::span<const float> b1,
                                   std::span<const float> w2, std::span<const float> b2) const {
    const StageWeights stages[] = {{w1, b1, {}, {}}, {w2, b2, {}, {}}};
    return pack(stages);
}

Result<PackedWeights> Kernel::pack(std::span<const StageWeights> stages, const Quantization& input) const
    try {
    if (!impl_) return empty_kernel;
    auto packed = pack_weights(impl_->code->panels, stages, input);
    if (!packed) return packed.error();
    PackedWeights weights;
    weights.data_ = std::make_shared<const PackedData>(std::move(*packed));
    return weights;
} catch (const std::bad_alloc&) {
    return Error{ErrorCode::system, "Packing the weights ran out of memory; more is needed."};
}

Status Kernel::operator()(const Args& args) const noexcept {
    if (!impl_) return empty_kernel;
    const std::span<std::byte> scratch = thread_scratch(scratch_bytes());
    if (scratch.empty())
        return Error{ErrorCode::system,
                     fmt::format("Allocating {} bytes of scratch failed.", scratch_bytes())};
    return run(0, 1, args, scratch);
}

Status Kernel::run(int part, int nparts, const Args& args, std::span<std::byte> scratch) const noexcept {
    if (!impl_) return empty_kernel;
    const PackedData* packed = args.weights ? args.weights->data_.get() : nullptr;
    if (auto status = check_args(*impl_, args, packed); !status) return status;
    if (nparts < 1 || part < 0 || part >= nparts)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("part is {} of nparts {}; 0 <= part < nparts is accepted.", part, nparts)};
    if (scratch.size() < scratch_bytes())
        return Error{ErrorCode::buffer_too_small, fmt::format("scratch has {} bytes; at least {} are needed.",
                                                              scratch.size(), scratch_bytes())};
    if (scratch_bytes() > 0 &&
        (scratch.data() == nullptr || reinterpret_cast<std::uintptr_t>(scratch.data()) % 64 != 0))
        return Error{ErrorCode::invalid_argument,
                     fmt::format("scratch is at {}; an address aligned to 64 bytes is needed.",
                                 static_cast<const void*>(scratch.data()))};
    Args called = args;
    for (int i = 0; i < impl_->problem.stage_count; ++i)
        if (impl_->problem.stage(i).sums_input()) called.residual[static_cast<std::size_t>(i)] = args.input;
    run_part(*impl_, part, nparts, called, *packed, scratch.data());
    return {};
}

std::size_t Kernel::scratch_bytes() const noexcept { return impl_ ? impl_->code->scratch_bytes() : 0; }
std::int64_t Kernel::tiles() const noexcept { return impl_ ? impl_->tiles() : 0; }

const std::string& Kernel::name() const noexcept {
    static const std::string empty = "empty kernel";
    return impl_ ? impl_->name : empty;
}

const Plan& Kernel::plan() const noexcept {
    static const Plan empty;
    return impl_ ? impl_->code->plan : empty;
}

std::span<const std::byte> Kernel::code() const noexcept {
    return impl_ ? impl_->code->pair.code.memory->bytes() : std::span<const std::byte>{};
}
std::span<const CodeLabel> Kernel::labels() const noexcept {
    return impl_ ? std::span<const CodeLabel>(impl_->code->pair.code.labels) : std::span<const CodeLabel>{};
}
std::string Kernel::explain() const { return impl_ ? tandem::explain(*impl_) : empty_kernel.message; }
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
