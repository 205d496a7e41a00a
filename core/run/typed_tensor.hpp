// Tensors of any data type from and to floats, one element each: for verification and measuring, where
// speed does not matter.
#pragma once

#include <span>
#include <vector>

#include "tandem/data_type.hpp"

namespace tandem {

inline std::size_t tensor_bytes(DataType type, std::size_t elements) noexcept {
    return elements * static_cast<std::size_t>(element_bytes(type));
}

/// Writes values[i] as element i.
inline void store_elements(DataType type, std::span<const float> values, void* tensor) noexcept {
    for (std::size_t i = 0; i < values.size(); ++i)
        store_element(type, tensor, i, values[i]);
}

/// Quantised elements as the integers that are stored.
inline std::vector<float> load_elements(DataType type, std::span<const std::byte> tensor) {
    std::vector<float> values(tensor.size() / static_cast<std::size_t>(element_bytes(type)));
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = load_element(type, tensor.data(), i);
    return values;
}

}  // namespace tandem
