#include "core/c_api/structs.hpp"

#include <fmt/format.h>

#include "core/c_api/guard.hpp"

namespace tandem::c_api {
namespace {

std::size_t struct_size(const void* from) noexcept {
    std::size_t size = 0;
    std::memcpy(&size, from, sizeof size);
    return size;
}

}  // namespace

Status check_struct(const char* name, const void* from, std::size_t first, std::size_t alignment) {
    if (Status status = check_given({{name, from}}); !status) return status;
    const std::size_t size = struct_size(from);
    if (size >= first && size <= most_struct_bytes && size % alignment == 0) return {};
    return Error{ErrorCode::invalid_argument,
                 fmt::format("{}->struct_size is {}; {} to {}, a multiple of {}, is accepted: begin with the "
                             "struct's _INIT macro.",
                             name, size, first, most_struct_bytes, alignment)};
}

Status check_tail(const char* name, const void* from, std::size_t known) {
    const auto* const bytes = static_cast<const unsigned char*>(from);
    for (std::size_t i = known; i < struct_size(from); ++i)
        if (bytes[i] != 0)
            return Error{ErrorCode::unsupported,
                         fmt::format("{} has a field at offset {} that this version ({}) does not know, and "
                                     "it is set; zero is accepted.",
                                     name, i, tandem_version())};
    return {};
}

void clear_tail(void* to, std::size_t known) noexcept {
    const std::size_t bytes = struct_size(to);
    if (bytes > known) std::memset(static_cast<char*>(to) + known, 0, bytes - known);
}

}  // namespace tandem::c_api
