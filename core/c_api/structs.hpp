// Structs of the C API, of this version or another: an older one is shorter, a newer one longer, and fields
// that one side lacks are zero, the default.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <type_traits>

#include "tandem/result.hpp"
#include "tandem/tandem.h"

namespace tandem::c_api {

/// The size that the struct had in the first version with it. These never change.
template <class T>
inline constexpr std::size_t first_bytes = 0;
template <>
inline constexpr std::size_t first_bytes<tandem_quantization> = 16;
template <>
inline constexpr std::size_t first_bytes<tandem_tensor> = 96;
template <>
inline constexpr std::size_t first_bytes<tandem_chain_info> = 24;
template <>
inline constexpr std::size_t first_bytes<tandem_symbol> = 40;
template <>
inline constexpr std::size_t first_bytes<tandem_code_info> = 48;
template <>
inline constexpr std::size_t first_bytes<tandem_code_observer> = 40;
template <>
inline constexpr std::size_t first_bytes<tandem_context_options> = 48;
template <>
inline constexpr std::size_t first_bytes<tandem_dispatch_options> = 32;
template <>
inline constexpr std::size_t first_bytes<tandem_cache_stats> = 64;
template <>
inline constexpr std::size_t first_bytes<tandem_kernel_info> = 72;
template <>
inline constexpr std::size_t first_bytes<tandem_stage_weights> = 120;
template <>
inline constexpr std::size_t first_bytes<tandem_args> = 144;
template <>
inline constexpr std::size_t first_bytes<tandem_pool_options> = 16;
template <>
inline constexpr std::size_t first_bytes<tandem_reference_args> = 128;

inline constexpr std::size_t most_struct_bytes = 4096;  // of any version to come

/// Null, or a size that no version of the struct can have; `first` and `alignment` are the struct's.
Status check_struct(const char* name, const void* from, std::size_t first, std::size_t alignment);
/// Ok where what lies behind `known` bytes of the struct is zero.
Status check_tail(const char* name, const void* from, std::size_t known);

/// Sets to zero what lies behind `known` bytes of the struct.
void clear_tail(void* to, std::size_t known) noexcept;

/// Copies a struct that the caller passes; fields that it lacks become zero.
template <class T>
Status read_struct(const char* name, const T* from, T& to) {
    static_assert(std::is_trivially_copyable_v<T> && first_bytes<T> != 0 && first_bytes<T> <= sizeof(T));
    if (Status status = check_struct(name, from, first_bytes<T>, alignof(T)); !status) return status;
    if (Status status = check_tail(name, from, sizeof(T)); !status) return status;
    to = T{};
    std::memcpy(&to, from, std::min(from->struct_size, sizeof(T)));
    return {};
}

/// The same, but null stands for all defaults.
template <class T>
Status read_options(const char* name, const T* from, T& to) {
    to = T{};
    return from == nullptr ? Status() : read_struct(name, from, to);
}

/// Fills the caller's struct in, but for its struct_size; fields that this version lacks become zero.
template <class T>
Status write_struct(const char* name, T from, T* to) {
    if (Status status = check_struct(name, to, first_bytes<T>, alignof(T)); !status) return status;
    const std::size_t bytes = to->struct_size;
    from.struct_size = bytes;
    std::memcpy(static_cast<void*>(to), &from, std::min(bytes, sizeof(T)));
    clear_tail(to, sizeof(T));
    return {};
}

}  // namespace tandem::c_api
