// Where the tensors of a chain lie: checks of views, and their strides filled in.
#include <string>

#include <fmt/format.h>

#include "core/plan/resolve.hpp"

namespace tandem {

namespace {

constexpr std::int64_t image_limit = std::int64_t{1} << 31;  // displacements in generated code have 32 bits

/// One tensor of the chain.
struct Tensor {
    const char* name;  // the descriptor's field
    TensorShape shape{};
    DataType dtype = DataType::f32;
    bool may_be_nchw = false;
};

Status check_layout(const Tensor& tensor, const TensorView& view) {
    if (view.layout > Layout::nchw)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("{}.layout is {}; nhwc, nchw16c, nchw8c or nchw is accepted", tensor.name,
                                 static_cast<int>(view.layout))};
    if (view.layout == Layout::nchw && !tensor.may_be_nchw)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("{}.layout is nchw, which is accepted for the input of a dense first "
                                 "convolution of up to 4 channels, and for the output",
                                 tensor.name)};
    return {};
}

/// A stride that is stated: whole blocks, and nothing of what it steps over may be stepped on twice.
Status check_stride(const Tensor& tensor, const char* field, std::int64_t stride, std::int64_t least,
                    std::int64_t unit, const char* reason) {
    if (stride == 0 || (stride >= least && stride % unit == 0)) return {};
    return Error{ErrorCode::invalid_argument,
                 fmt::format("{}.{} is {}; {}at least {}, {}, is accepted", tensor.name, field, stride,
                             unit > 1 ? fmt::format("a multiple of {}, ", unit) : "", least, reason)};
}

Status check_strides(const Tensor& tensor, const TensorView& view) {
    const bool nhwc = view.layout == Layout::nhwc;
    const TensorShape& shape = tensor.shape;
    const std::int64_t unit = channel_block(view.layout);
    TensorView inner(view.layout, view.pixel);
    const auto dense = [&] {
        return filled(inner, shape);
    };
    if (nhwc && view.block != 0)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("{}.block is {}; 0 is accepted, as nhwc has no blocks of channels",
                                 tensor.name, view.block)};
    if (view.layout == Layout::nchw && view.pixel > 1)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("{}.pixel is {}; 0 or 1 is accepted, as pixels of nchw are adjacent",
                                 tensor.name, view.pixel)};
    if (auto s = check_stride(tensor, "pixel", view.pixel, nhwc ? shape.c : unit, unit,
                              nhwc ? "the channels" : "a block of channels");
        !s)
        return s;
    if (auto s = check_stride(tensor, "row", view.row, dense().row, unit, "a row's pixels"); !s) return s;
    inner.row = view.row;
    if (auto s = check_stride(tensor, "block", view.block, dense().block, unit, "an image's rows"); !s)
        return s;
    inner.block = view.block;
    return check_stride(tensor, "image", view.image, dense().image, unit,
                        nhwc ? "an image's rows" : "an image's blocks of channels");
}

Status check_extent(const Tensor& tensor, const TensorView& view) {
    TensorShape image = tensor.shape;
    image.n = 1;
    constexpr std::int64_t most = std::int64_t{1} << 60;  // whose bytes can be counted
    const std::int64_t elements = element_count(image, view), bytes = element_bytes(tensor.dtype);
    if (elements < 0 || elements >= image_limit / bytes)
        return Error{
            ErrorCode::overflow,
            fmt::format("{}: an image spans {} bytes; less than {} is accepted, so that offsets fit a "
                        "32-bit displacement",
                        tensor.name,
                        elements < 0      ? "more than 2^63"
                        : elements > most ? "more than 2^60"
                                          : std::to_string(elements * bytes),
                        image_limit)};
    const std::int64_t batch = element_count(tensor.shape, view);
    if (batch < 0 || batch > most)
        return Error{ErrorCode::overflow,
                     fmt::format("{}: a batch of {} spans more than 2^60 elements; fewer "
                                 "are accepted",
                                 tensor.name, tensor.shape.n)};
    return {};
}

/// All strides. Those of dimensions of size 1, which nothing depends on, become what they are where none is
/// stated: tensors that lie alike then have the same view, and no offset is large for nothing.
TensorView resolved(const TensorView& stated, const TensorShape& shape) noexcept {
    TensorView view = filled(stated, shape);
    if (shape.w == 1) view.pixel = 0;
    if (shape.h == 1) view.row = 0;
    if (shape.c <= channel_block(view.layout)) view.block = 0;
    if (shape.n == 1) view.image = 0;
    return filled(view, shape);
}

/// Vectors fit one width of channel blocks.
Status join_layout(const Tensor& tensor, Layout layout, Layout& joined) {
    if (channel_block(layout) == 1 || layout == joined) return {};
    if (channel_block(joined) > 1)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("{}.layout is {} beside {} of another tensor; one width of channel blocks a "
                                 "chain is accepted",
                                 tensor.name, to_string(layout), to_string(joined))};
    joined = layout;
    return {};
}

Status resolve_view(const Tensor& tensor, const std::optional<TensorView>& stated, Layout otherwise,
                    Layout& joined, TensorView& view) {
    view = stated.value_or(TensorView(otherwise));
    if (stated) {
        if (auto s = check_layout(tensor, view); !s) return s;
        if (auto s = check_strides(tensor, view); !s) return s;
    }
    view = resolved(view, tensor.shape);
    if (stated)
        if (auto s = check_extent(tensor, view); !s) return s;
    return join_layout(tensor, view.layout, joined);
}

Status check_residual(const Problem& problem, int i, const std::optional<TensorView>& stated) {
    const Stage& stage = problem.stage(i);
    if (stated && problem.residual_shape(i).c == 0)
        return Error{
            ErrorCode::invalid_argument,
            fmt::format("residual_views[{}] is stated; none is accepted, as convs[{}] has no +sum of a "
                        "tensor of its own",
                        i, i)};
    if (!stage.sums_input()) return {};
    if (problem.reads_planes(0))
        return Error{ErrorCode::invalid_argument,
                     fmt::format("input_view.layout is nchw, and convs[{}] has +sum(in); nhwc, nchw16c or "
                                 "nchw8c is accepted, as no residual is nchw",
                                 i)};
    const TensorShape in = problem.input_shape(), out = problem.output_shape(i);
    if (in != out)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("convs[{}] has +sum(in) and puts out {}x{}x{}; {}x{}x{}, the shape of the "
                                 "chain's input, is accepted",
                                 i, out.c, out.h, out.w, in.c, in.h, in.w)};
    if (problem.output_dtype(i) != problem.dtype)
        return Error{
            ErrorCode::invalid_argument,
            fmt::format("convs[{}] has +sum(in) and puts out {}; {}, the chain's input's data type, is "
                        "accepted",
                        i, to_string(problem.output_dtype(i)), to_string(problem.dtype))};
    return {};
}

}  // namespace

Status resolve_views(const ConvChain& chain, Problem& problem) {
    constexpr const char* residuals[max_stages] = {"residual_views[0]", "residual_views[1]",
                                                   "residual_views[2]", "residual_views[3]"};
    const Stage& first = problem.stage(0);
    const int last = problem.stage_count - 1;
    Layout joined = Layout::nhwc;
    const Tensor input{"input_view", problem.input_shape(), problem.dtype,
                       !first.depthwise() && first.in_channels <= 4};
    if (auto s = resolve_view(input, chain.input_view, chain.layout, joined, problem.input_view); !s)
        return s;
    const Tensor output{"output_view", problem.output_shape(), problem.output_dtype(last), true};
    if (auto s = resolve_view(output, chain.output_view, chain.layout, joined, problem.output_view); !s)
        return s;
    for (int i = 0; i < problem.stage_count; ++i) {
        const auto& stated = chain.residual_views[static_cast<std::size_t>(i)];
        if (auto s = check_residual(problem, i, stated); !s) return s;
        if (problem.stage(i).sums_input()) problem.residual_view(i) = problem.input_view;
        const Tensor residual{residuals[i], problem.residual_shape(i), problem.output_dtype(i)};
        if (residual.shape.c == 0) continue;
        if (auto s = resolve_view(residual, stated, chain.layout, joined, problem.residual_view(i)); !s)
            return s;
    }
    problem.layout = joined;
    return {};
}

}  // namespace tandem
