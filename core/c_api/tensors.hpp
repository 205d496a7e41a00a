// Data types, tensors and arrays of the C API as values of the C++ API.
#pragma once

#include <span>

#include "core/c_api/guard.hpp"
#include "core/plan/problem.hpp"

namespace tandem::c_api {

Result<DataType> data_type_of(std::int32_t number);
Result<Math> math_of(std::int32_t number);

/// A tensor with all strides filled in, and its sizes.
tandem_tensor described(const TensorShape& shape, const TensorView& view, DataType type);
/// Tensor `which` of a problem.
Result<tandem_tensor> tensor_of(const Problem& problem, std::int32_t which);

/// "NAME is null, but NAME_count is 7; ..."
template <class T>
Result<std::span<T>> array_of(const char* name, T* elements, std::size_t count) {
    if (elements == nullptr && count != 0)
        return Error{ErrorCode::invalid_argument, std::string(name) + " is null, but its count is " +
                                                      std::to_string(count) + "; 0 is accepted."};
    return std::span<T>(elements, count);
}

/// 0 is the default, 1.
Quantization quantization_of(float scale, std::int32_t zero_point) noexcept;

}  // namespace tandem::c_api
