#include "core/c_api/tensors.hpp"

#include <limits>
#include <tuple>

#include "core/c_api/structs.hpp"
#include "tandem/data_type.hpp"
#include "tandem/layout.hpp"

using namespace tandem;
using namespace tandem::c_api;

static_assert(TANDEM_BF16 == static_cast<int>(DataType::bf16) &&
              TANDEM_F16 == static_cast<int>(DataType::f16));
static_assert(TANDEM_U8 == static_cast<int>(DataType::u8) && TANDEM_S8 == static_cast<int>(DataType::s8));
static_assert(TANDEM_NCHW16C == static_cast<int>(Layout::nchw16c));
static_assert(TANDEM_NCHW8C == static_cast<int>(Layout::nchw8c) &&
              TANDEM_NCHW == static_cast<int>(Layout::nchw));
static_assert(TANDEM_MATH_STRICT == static_cast<int>(Math::strict));
static_assert(TANDEM_MATH_BF16 == static_cast<int>(Math::bf16) &&
              TANDEM_MATH_F16 == static_cast<int>(Math::f16));

namespace tandem::c_api {
namespace {

struct Tensor {
    TensorShape shape;
    TensorView view;
};

// With sizes whose products, and so all indices, fit.
Result<Tensor> checked(const tandem_tensor& tensor) {
    if (Status status = check_range("tensor->layout", tensor.layout, TANDEM_NHWC, TANDEM_NCHW); !status)
        return status.error();
    const std::pair<const char*, std::int64_t> numbers[] = {{"tensor->n", tensor.n},
                                                            {"tensor->c", tensor.c},
                                                            {"tensor->h", tensor.h},
                                                            {"tensor->w", tensor.w},
                                                            {"tensor->pixel_stride", tensor.pixel_stride},
                                                            {"tensor->row_stride", tensor.row_stride},
                                                            {"tensor->block_stride", tensor.block_stride},
                                                            {"tensor->image_stride", tensor.image_stride}};
    for (const auto& [name, value] : numbers)
        if (value < 0) return not_accepted(name, value, "0 or more is");
    const Tensor result{{tensor.n, tensor.c, tensor.h, tensor.w},
                        {static_cast<Layout>(tensor.layout), tensor.pixel_stride, tensor.row_stride,
                         tensor.block_stride, tensor.image_stride}};
    const std::int64_t elements = element_count(result.shape, result.view);
    if (elements < 0 || elements > std::numeric_limits<std::int64_t>::max() / 8)
        return Error{ErrorCode::overflow,
                     "The tensor's extent does not fit 64 bits; smaller sizes and strides "
                     "are accepted."};
    return result;
}

Result<Tensor> read_tensor(const tandem_tensor* tensor) {
    tandem_tensor read;
    if (Status status = read_struct("tensor", tensor, read); !status) return status.error();
    return checked(read);
}

}  // namespace

Result<DataType> data_type_of(std::int32_t number) {
    if (Status status = check_range("data_type", number, TANDEM_F32, TANDEM_S8); !status)
        return status.error();
    return static_cast<DataType>(number);
}

Result<Math> math_of(std::int32_t number) {
    if (Status status = check_range("math", number, TANDEM_MATH_FAST, TANDEM_MATH_F16); !status)
        return status.error();
    return static_cast<Math>(number);
}

tandem_tensor described(const TensorShape& shape, const TensorView& view, DataType type) {
    tandem_tensor tensor = TANDEM_TENSOR_INIT;
    const TensorView strides = filled(view, shape);
    tensor.n = shape.n;
    tensor.c = shape.c;
    tensor.h = shape.h;
    tensor.w = shape.w;
    tensor.data_type = static_cast<std::int32_t>(type);
    tensor.layout = static_cast<std::int32_t>(view.layout);
    tensor.pixel_stride = strides.pixel;
    tensor.row_stride = strides.row;
    tensor.block_stride = strides.block;
    tensor.image_stride = strides.image;
    tensor.elements = element_count(shape, view);
    tensor.bytes = tensor.elements * element_bytes(type);
    return tensor;
}

Result<tandem_tensor> tensor_of(const Problem& problem, std::int32_t which) {
    const int last = problem.stage_count - 1;
    if (Status status = check_range("which", which, TANDEM_INPUT, TANDEM_RESIDUAL(last)); !status)
        return status.error();
    if (which == TANDEM_INPUT) return described(problem.input_shape(), problem.input_view, problem.dtype);
    if (which == TANDEM_OUTPUT)
        return described(problem.output_shape(), problem.output_view, problem.output_dtype(last));
    const int stage = which - TANDEM_RESIDUAL(0);
    return described(problem.residual_shape(stage), problem.residual_view(stage),
                     problem.output_dtype(stage));
}

Quantization quantization_of(float scale, std::int32_t zero_point) noexcept {
    return {scale == 0 ? 1 : scale, zero_point};
}

}  // namespace tandem::c_api

const char* tandem_data_type_name(std::int32_t data_type) noexcept {
    return name_of(data_type, DataType::s8);
}

const char* tandem_layout_name(std::int32_t layout) noexcept { return name_of(layout, Layout::nchw); }

const char* tandem_math_name(std::int32_t math) noexcept { return name_of(math, Math::f16); }

tandem_error* tandem_data_type_parse(const char* text, std::int32_t* data_type) noexcept {
    return parsed("data_type", text, data_type, &parse_data_type);
}

std::uint16_t tandem_to_bf16(float value) noexcept { return to_bf16(value); }
std::uint16_t tandem_to_f16(float value) noexcept { return to_f16(value); }
float tandem_from_bf16(std::uint16_t bits) noexcept { return from_bf16(bits); }
float tandem_from_f16(std::uint16_t bits) noexcept { return from_f16(bits); }

tandem_error* tandem_round(std::int32_t data_type, float value, float* rounded) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"rounded", rounded}}); !status) return status;
        const Result<DataType> type = data_type_of(data_type);
        if (!type) return type.error();
        *rounded = tandem::rounded(*type, value);
        return {};
    });
}

tandem_error* tandem_load_element(std::int32_t data_type, const void* tensor, std::size_t index,
                                  float* value) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"tensor", tensor}, {"value", value}}); !status) return status;
        const Result<DataType> type = data_type_of(data_type);
        if (!type) return type.error();
        *value = load_element(*type, tensor, index);
        return {};
    });
}

tandem_error* tandem_store_element(std::int32_t data_type, void* tensor, std::size_t index,
                                   float value) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"tensor", tensor}}); !status) return status;
        const Result<DataType> type = data_type_of(data_type);
        if (!type) return type.error();
        store_element(*type, tensor, index, value);
        return {};
    });
}

tandem_error* tandem_tensor_fill(tandem_tensor* tensor) noexcept {
    return guarded([&]() -> Status {
        const Result<Tensor> read = read_tensor(tensor);
        if (!read) return read.error();
        const Result<DataType> type = data_type_of(tensor->data_type);
        if (!type) return type.error();
        return write_struct("tensor", described(read->shape, read->view, *type), tensor);
    });
}

tandem_error* tandem_tensor_index(const tandem_tensor* tensor, std::int64_t n, std::int64_t c, std::int64_t y,
                                  std::int64_t x, std::int64_t* index) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"index", index}}); !status) return status;
        const Result<Tensor> read = read_tensor(tensor);
        if (!read) return read.error();
        const std::tuple<const char*, std::int64_t, std::int64_t> places[] = {{"n", n, read->shape.n},
                                                                              {"c", c, read->shape.c},
                                                                              {"y", y, read->shape.h},
                                                                              {"x", x, read->shape.w}};
        for (const auto& [name, place, size] : places)
            if (Status status = check_range(name, place, 0, size - 1); !status) return status;
        *index = element_index(read->shape, read->view, n, c, y, x);
        return {};
    });
}

tandem_error* tandem_from_nchw(const tandem_tensor* tensor, const float* nchw, std::size_t nchw_count,
                               float* out, std::size_t out_count) noexcept {
    return guarded([&]() -> Status {
        const Result<Tensor> read = read_tensor(tensor);
        if (!read) return read.error();
        if (Status status = check_given({{"nchw", nchw}, {"out", out}}); !status) return status;
        return from_nchw({nchw, nchw_count}, read->shape, read->view, {out, out_count});
    });
}

tandem_error* tandem_to_nchw(const tandem_tensor* tensor, const float* in, std::size_t in_count, float* nchw,
                             std::size_t nchw_count) noexcept {
    return guarded([&]() -> Status {
        const Result<Tensor> read = read_tensor(tensor);
        if (!read) return read.error();
        if (Status status = check_given({{"in", in}, {"nchw", nchw}}); !status) return status;
        return to_nchw({in, in_count}, read->shape, read->view, {nchw, nchw_count});
    });
}
