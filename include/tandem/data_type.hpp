// Data types of activation tensors, and single elements of them as numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tandem/export.h"
#include "tandem/result.hpp"

namespace tandem {

enum class DataType : std::uint8_t {
    f32,
    bf16,  // the upper half of an f32
    f16,   // IEEE binary16
    u8,    // quantised: see Quantization
    s8,
};
TANDEM_API const char* to_string(DataType type) noexcept;
/// By name; int8 stands for u8.
TANDEM_API Result<DataType> parse_data_type(std::string_view text) noexcept;

constexpr bool is_quantized(DataType type) noexcept { return type == DataType::u8 || type == DataType::s8; }
constexpr std::int64_t element_bytes(DataType type) noexcept {
    return type == DataType::f32 ? 4 : is_quantized(type) ? 1 : 2;
}

/// What the numbers of a quantised tensor stand for: real = scale * (stored - zero_point).
/// scale is finite and positive; zero_point is a number of the tensor's data type.
struct Quantization {
    float scale = 1;
    std::int32_t zero_point = 0;
    bool operator==(const Quantization&) const = default;
};

/// The nearest bf16 or f16 (ties to even), as bits. A NaN stays one.
TANDEM_API std::uint16_t to_bf16(float value) noexcept;
TANDEM_API std::uint16_t to_f16(float value) noexcept;
TANDEM_API float from_bf16(std::uint16_t bits) noexcept;
TANDEM_API float from_f16(std::uint16_t bits) noexcept;

/// `value` as the type can hold it: the nearest number, ties to even; for u8 and s8 the nearest integer in
/// range, 0 for NaN.
TANDEM_API float rounded(DataType type, float value) noexcept;

/// Element `index` of a tensor in memory; a quantised one as the integer that is stored.
TANDEM_API float load_element(DataType type, const void* tensor, std::size_t index) noexcept;
/// Stores rounded(type, value).
TANDEM_API void store_element(DataType type, void* tensor, std::size_t index, float value) noexcept;

}  // namespace tandem
