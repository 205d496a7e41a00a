#include "core/c_api/guard.hpp"

#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

#include "core/c_api/handles.hpp"

namespace tandem::c_api {
namespace {

tandem_error no_memory{TANDEM_OUT_OF_MEMORY, "Out of memory."};

}  // namespace

tandem_error* no_memory_error() noexcept { return &no_memory; }

// The text lies behind the object.
tandem_error* make_error(ErrorCode code, std::string_view message) noexcept {
    if (code == ErrorCode::out_of_memory) return no_memory_error();
    auto* const memory = static_cast<char*>(std::malloc(sizeof(tandem_error) + message.size() + 1));
    if (memory == nullptr) return no_memory_error();
    char* const text = memory + sizeof(tandem_error);
    std::memcpy(text, message.data(), message.size());
    text[message.size()] = '\0';
    return new (memory) tandem_error{static_cast<std::int32_t>(code) + 1, text};
}

Status check_given(std::initializer_list<NamedPointer> pointers) {
    for (const NamedPointer& given : pointers)
        if (given.pointer == nullptr)
            return Error{ErrorCode::invalid_argument,
                         fmt::format("{} is null; a pointer is needed.", given.name)};
    return {};
}

Error not_accepted(const char* name, std::int64_t value, std::string_view accepted) {
    return {ErrorCode::invalid_argument, fmt::format("{} is {}; {} accepted.", name, value, accepted)};
}

Status check_range(const char* name, std::int64_t value, std::int64_t from, std::int64_t to) {
    if (value >= from && value <= to) return {};
    return not_accepted(name, value, fmt::format("{} to {} is", from, to));
}

Status give_text(std::string_view text, char** out) {
    auto* const copy = static_cast<char*>(std::malloc(text.size() + 1));
    if (copy == nullptr) throw std::bad_alloc();
    std::memcpy(copy, text.data(), text.size());
    copy[text.size()] = '\0';
    *out = copy;
    return {};
}

}  // namespace tandem::c_api
