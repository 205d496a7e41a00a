#include "tandem/data_type.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "core/plan/as_result.hpp"
#include "core/plan/float_state.hpp"

namespace tandem {
namespace {

constexpr std::array data_types{DataType::f32, DataType::bf16, DataType::f16, DataType::u8, DataType::s8};

// Shifts right by `count` bits, to the nearest, ties to even.
constexpr std::uint32_t shift_right_rounded(std::uint32_t bits, int count) noexcept {
    const std::uint32_t half = 1u << (count - 1), odd = bits >> count & 1;
    return (bits + half - 1 + odd) >> count;
}

// By its bits, which raises no flag.
constexpr bool is_nan(std::uint32_t bits) noexcept { return (bits & 0x7fffffff) > 0x7f800000; }

float nearest_in(float value, float low, float high) noexcept {
    const DefaultMxcsr nearest_even;
    return std::isnan(value) ? 0 : std::nearbyint(std::clamp(value, low, high));
}

}  // namespace

const char* to_string(DataType type) noexcept {
    switch (type) {
        case DataType::f32: return "f32";
        case DataType::bf16: return "bf16";
        case DataType::f16: return "f16";
        case DataType::u8: return "u8";
        case DataType::s8: return "s8";
    }
    return "unknown";
}

Result<DataType> parse_data_type(std::string_view text) noexcept try {
    if (text == "int8") return DataType::u8;
    for (const DataType type : data_types)
        if (text == to_string(type)) return type;
    return Error{
        ErrorCode::parse_error,
        fmt::format("Data type '{}' is not known; accepted: f32, bf16, f16, u8, s8, int8 (u8).", text)};
} catch (...) {
    return caught_error();
}

std::uint16_t to_bf16(float value) noexcept {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if (is_nan(bits)) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
    return static_cast<std::uint16_t>(shift_right_rounded(bits, 16));
}

float from_bf16(std::uint16_t bits) noexcept { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

std::uint16_t to_f16(float value) noexcept {
    constexpr std::uint32_t infinity = 0x7c00;
    const auto all = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = all >> 16 & 0x8000, bits = all & 0x7fffffff;
    if (is_nan(bits)) return static_cast<std::uint16_t>(sign | 0x7e00 | (bits >> 13 & 0x1ff));
    std::uint32_t result = 0;
    if (bits >= 0x38800000) {  // 2^-14 and above: normal numbers; the exponent's bias goes from 127 to 15
        result = std::min(shift_right_rounded(bits - (112u << 23), 13), infinity);
        if (bits >= 0x47800000) result = infinity;
    } else if (bits >= 0x33000000) {  // 2^-25 and above: multiples of 2^-24
        const int exponent = static_cast<int>(bits >> 23);
        result = shift_right_rounded((bits & 0x7fffff) | 0x800000, 126 - exponent);
    }
    return static_cast<std::uint16_t>(sign | result);
}

float from_f16(std::uint16_t bits) noexcept {
    const std::uint32_t exponent = bits >> 10 & 0x1f, fraction = bits & 0x3ff;
    float magnitude = 0;
    if (exponent == 0)
        magnitude = std::ldexp(static_cast<float>(fraction), -24);
    else
        magnitude = std::bit_cast<float>((exponent == 31 ? 255u : exponent + 112) << 23 | fraction << 13);
    return std::copysign(magnitude, bits & 0x8000 ? -1.0f : 1.0f);
}

float rounded(DataType type, float value) noexcept {
    switch (type) {
        case DataType::f32: return value;
        case DataType::bf16: return from_bf16(to_bf16(value));
        case DataType::f16: return from_f16(to_f16(value));
        case DataType::u8: return nearest_in(value, 0, 255);
        case DataType::s8: return nearest_in(value, -128, 127);
    }
    return value;
}

float load_element(DataType type, const void* tensor, std::size_t index) noexcept {
    const auto* bytes =
        static_cast<const std::byte*>(tensor) + index * static_cast<std::size_t>(element_bytes(type));
    const auto read = [bytes](auto value) {
        std::memcpy(&value, bytes, sizeof value);
        return value;
    };
    switch (type) {
        case DataType::f32: return read(0.0f);
        case DataType::bf16: return from_bf16(read(std::uint16_t{}));
        case DataType::f16: return from_f16(read(std::uint16_t{}));
        case DataType::u8: return read(std::uint8_t{});
        case DataType::s8: return read(std::int8_t{});
    }
    return 0;
}

void store_element(DataType type, void* tensor, std::size_t index, float value) noexcept {
    auto* bytes = static_cast<std::byte*>(tensor) + index * static_cast<std::size_t>(element_bytes(type));
    const auto write = [bytes](auto bits) {
        std::memcpy(bytes, &bits, sizeof bits);
    };
    switch (type) {
        case DataType::f32: return write(value);
        case DataType::bf16: return write(to_bf16(value));
        case DataType::f16: return write(to_f16(value));
        case DataType::u8: return write(static_cast<std::uint8_t>(rounded(type, value)));
        case DataType::s8: return write(static_cast<std::int8_t>(rounded(type, value)));
    }
}

}  // namespace tandem
