#include "core/run/argument_checks.hpp"

#include <string>

#include <fmt/format.h>

#include "core/run/overlap.hpp"

namespace tandem {
namespace {

/// One of a call's tensors, as the problem has it.
struct Tensor : PlacedTensor {
    Tensor(const char* field, const void* data, const TensorShape& shape, const TensorView& view,
           DataType dtype) noexcept
        : PlacedTensor{data, shape, view, dtype}, name(field) {}
    const char* name;
};

Status check_buffer(const Tensor& tensor, std::size_t stated) {
    const auto alignment = static_cast<std::uintptr_t>(element_bytes(tensor.dtype));
    const std::size_t needed = tensor.bytes();
    if (tensor.data == nullptr)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("{} is null; a buffer of {} bytes is needed.", tensor.name, needed)};
    if (tensor.begin() % alignment != 0)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("{} is at {}; an address aligned to {} bytes is needed.", tensor.name,
                                 tensor.data, alignment)};
    if (stated != 0 && stated < needed)
        return Error{ErrorCode::buffer_too_small,
                     fmt::format("{}_bytes is {}; at least {} are needed.", tensor.name, stated, needed)};
    return {};
}

/// Every element of the residual is read for the output element that takes its place, right before. LIBXSMM's
/// kernels store sums before that.
bool may_be_in_place(const KernelImpl& kernel, int stage, const Tensor& residual, const Tensor& output) {
    return stage + 1 == kernel.problem.stage_count && residual.data == output.data &&
           residual_lies_on_output(kernel.problem) && !uses_libxsmm(kernel.problem.last(), kernel.code->plan);
}

Status check_apart(const Tensor& tensor, const Tensor& output, const char* exception) {
    const Overlap found = overlap(tensor, output);
    if (found == Overlap::none) return {};
    const bool certain = found == Overlap::certain;
    return Error{
        ErrorCode::invalid_argument,
        fmt::format("{} is at {} and {} the output's {} bytes at {}{}; memory apart from the output's "
                    "is accepted{}.",
                    tensor.name, tensor.data, certain ? "overlaps" : "may overlap", output.bytes(),
                    output.data, certain ? "" : ", whose strides are others", exception)};
}

Status check_factors(const Problem& p, const Args& args, const Tensor& output) {
    if (!p.input.factors) return {};
    const TensorShape shape{p.input.n, p.input.c, 1, 1};
    const TensorView dense = filled(Layout::nhwc, shape);
    const Tensor factors{"input_factors", args.input_factors, shape, dense, DataType::f32};
    if (auto s = check_buffer(factors, args.input_factors_bytes); !s) return s;
    return check_apart(factors, output, "");
}

constexpr const char* residual_names[max_stages] = {"residual[0]", "residual[1]", "residual[2]",
                                                    "residual[3]"};

/// What is passed to a stage that takes none would be ignored.
Status check_no_residual(const Problem& p, int i, const void* data) {
    if (data == nullptr) return {};
    const std::string reason =
        i >= p.stage_count        ? fmt::format("the chain has {} convolutions", p.stage_count)
        : p.stage(i).sums_input() ? fmt::format("convs[{}] has +sum(in), which adds the input itself", i)
                                  : fmt::format("convs[{}] has no +sum", i);
    return Error{ErrorCode::invalid_argument,
                 fmt::format("{} is at {}; null is accepted, as {}.", residual_names[i], data, reason)};
}

Status check_residual(const KernelImpl& kernel, int i, const Args& args, const Tensor& output) {
    const Problem& p = kernel.problem;
    const auto at = static_cast<std::size_t>(i);
    const TensorShape shape = i < p.stage_count ? p.residual_shape(i) : TensorShape{};
    if (shape.c == 0) return check_no_residual(p, i, args.residual[at]);
    const Tensor residual{residual_names[i], args.residual[at], shape, p.residual_view(i), p.output_dtype(i)};
    if (auto s = check_buffer(residual, args.residual_bytes[at]); !s) return s;
    if (may_be_in_place(kernel, i, residual, output)) return {};
    return check_apart(residual, output,
                       i + 1 == p.stage_count ? ", or the output itself where both lie alike" : "");
}

}  // namespace

Status check_args(const KernelImpl& kernel, const Args& args, const PackedData* packed) {
    const Problem& p = kernel.problem;
    const Tensor input{"input", args.input, p.input_shape(), p.input_view, p.dtype};
    if (auto s = check_buffer(input, args.input_bytes); !s) return s;
    const Tensor output{"output", args.output, p.output_shape(), p.output_view,
                        p.output_dtype(p.stage_count - 1)};
    if (auto s = check_buffer(output, args.output_bytes); !s) return s;
    if (packed == nullptr)
        return Error{ErrorCode::invalid_argument,
                     "weights is null or empty; the result of pack() is needed."};
    if (!packed->serves(kernel.code->panels))
        return Error{
            ErrorCode::invalid_argument,
            fmt::format("weights were packed for another kernel; those of {} are needed.", kernel.name)};
    if (auto s = check_apart(input, output, ", as output pixels are written while others' inputs are read");
        !s)
        return s;
    if (auto s = check_factors(p, args, output); !s) return s;
    if (args.next.data() == nullptr && !args.next.empty())
        return Error{ErrorCode::invalid_argument,
                     fmt::format("next is null and has {} bytes; an empty span, or memory, is accepted.",
                                 args.next.size())};
    for (int i = 0; i < max_stages; ++i)
        if (auto s = check_residual(kernel, i, args, output); !s) return s;
    return {};
}

}  // namespace tandem
