#include "core/run/argument_checks.hpp"

#include <algorithm>
#include <array>
#include <iterator>

#include <fmt/format.h>

namespace tandem {
namespace {

/// One of a call's tensors, as the problem has it.
struct Tensor {
    const char* name;
    const void* data;
    TensorShape shape{};
    const TensorView& view;
    DataType dtype = DataType::f32;

    std::uintptr_t begin() const noexcept { return reinterpret_cast<std::uintptr_t>(data); }
    std::size_t bytes() const noexcept {
        return static_cast<std::size_t>(element_count(shape, view) * element_bytes(dtype));
    }
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

/// Bytes that lie together, again after every `period` bytes.
struct Comb {
    std::uint64_t period = 0, width = 0;
};

/// A tensor as pixels, as rows, as blocks of channels and as images. Those that further strides do not keep
/// in step make no comb: {}.
std::array<Comb, 4> combs(const Tensor& t) noexcept {
    const bool nhwc = t.view.layout == Layout::nhwc;
    const std::int64_t block = nhwc ? t.shape.c : channel_block(t.view.layout);
    struct Axis {
        std::int64_t stride, count;
    };
    const Axis axes[] = {{t.view.pixel, t.shape.w},
                         {t.view.row, t.shape.h},
                         {t.view.block, (t.shape.c - 1) / block + 1},
                         {t.view.image, t.shape.n}};
    const auto bytes = static_cast<std::uint64_t>(element_bytes(t.dtype));
    std::array<Comb, 4> result{};
    std::int64_t width = block;
    for (std::size_t i = 0; i < result.size(); ++i) {
        const std::int64_t stride = axes[i].stride;
        const auto in_step = [stride](const Axis& further) {
            return further.count == 1 || further.stride % stride == 0;
        };
        if (stride > 0 && std::all_of(axes + i + 1, std::end(axes), in_step))
            result[i] = {static_cast<std::uint64_t>(stride) * bytes,
                         static_cast<std::uint64_t>(width) * bytes};
        width += (axes[i].count - 1) * stride;
    }
    return result;
}

/// The teeth of two combs of one period pass each other.
bool interlock(const Comb& a, const Comb& b, std::uintptr_t from_a_to_b) noexcept {
    if (a.period == 0 || a.period != b.period) return false;
    const std::uint64_t offset = from_a_to_b % a.period;
    return offset >= a.width && offset + b.width <= a.period;
}

/// Whether some byte may belong to both. Two parts of one larger tensor, beside each other in any of its
/// dimensions, do not overlap, though what lies between the first and the last byte of each does.
bool overlap(const Tensor& a, const Tensor& b) noexcept {
    if (a.begin() > b.begin()) return overlap(b, a);
    const std::uintptr_t distance = b.begin() - a.begin();
    if (distance >= a.bytes()) return false;
    const auto first = combs(a), second = combs(b);
    for (std::size_t i = 0; i < first.size(); ++i)
        if (interlock(first[i], second[i], distance)) return false;
    return true;
}

/// Every element of the residual is read for the output element that takes its place, right before. LIBXSMM's
/// kernels store sums before that.
bool may_be_in_place(const KernelImpl& kernel, int stage, const Tensor& residual, const Tensor& output) {
    const TensorView &a = residual.view, &b = output.view;
    return stage + 1 == kernel.problem.stage_count && residual.data == output.data && a.layout == b.layout &&
           a.pixel == b.pixel && a.row == b.row && a.image == b.image && a.block == b.block &&
           !uses_libxsmm(kernel.problem.last(), kernel.code->plan);
}

Status check_apart(const Tensor& tensor, const Tensor& output, const char* exception) {
    if (!overlap(tensor, output)) return {};
    return Error{ErrorCode::invalid_argument,
                 fmt::format("{} is at {} and overlaps the output's {} bytes at {}; memory apart from the "
                             "output's is accepted{}.",
                             tensor.name, tensor.data, output.bytes(), output.data, exception)};
}

Status check_factors(const Problem& p, const Args& args, const Tensor& output) {
    if (!p.input.factors) return {};
    const TensorShape shape{p.input.n, p.input.c, 1, 1};
    const TensorView dense = filled(Layout::nhwc, shape);
    const Tensor factors{"input_factors", args.input_factors, shape, dense};
    if (auto s = check_buffer(factors, args.input_factors_bytes); !s) return s;
    return check_apart(factors, output, "");
}

constexpr const char* residual_names[max_stages] = {"residual[0]", "residual[1]", "residual[2]",
                                                    "residual[3]"};

Status check_residual(const KernelImpl& kernel, int i, const Args& args, const Tensor& output) {
    const Problem& p = kernel.problem;
    const TensorShape shape = p.residual_shape(i);
    if (shape.c == 0) return {};
    const auto at = static_cast<std::size_t>(i);
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
    for (int i = 0; i < p.stage_count; ++i)
        if (auto s = check_residual(kernel, i, args, output); !s) return s;
    return {};
}

}  // namespace tandem
