// What every function of the C API is wrapped in: nothing is thrown out of it, and pointers that it needs are
// there.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "core/plan/as_result.hpp"
#include "tandem/result.hpp"
#include "tandem/tandem.h"

namespace tandem::c_api {

/// Allocates; where that fails, it is the static error of out_of_memory.
tandem_error* make_error(ErrorCode code, std::string_view message) noexcept;
tandem_error* no_memory_error() noexcept;

/// Calls body(), which returns a Status, and hands its error over.
template <class Body>
tandem_error* guarded(Body&& body) noexcept {
    const Status status = as_result(std::forward<Body>(body));
    return status ? nullptr : make_error(status.error().code, status.error().message);
}

struct NamedPointer {
    const char* name;
    const void* pointer;
};
/// Ok, or which of them is null.
Status check_given(std::initializer_list<NamedPointer> pointers);

/// "NAME is VALUE; ACCEPTED accepted."
Error not_accepted(const char* name, std::int64_t value, std::string_view accepted);
Status check_range(const char* name, std::int64_t value, std::int64_t from, std::int64_t to);

/// A copy of the text for tandem_string_free().
Status give_text(std::string_view text, char** out);
/// The lines, each but the last followed by a line break.
template <class Lines>
std::string joined(const Lines& lines) {
    std::string text;
    for (const std::string& line : lines)
        text += (text.empty() ? "" : "\n") + line;
    return text;
}

/// A second owner of what the handle holds.
template <class Handle>
tandem_error* copied(const char* name, const Handle* handle, Handle** copy) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"copy", copy}}); !status) return status;
        *copy = nullptr;
        if (Status status = check_given({{name, handle}}); !status) return status;
        *copy = new Handle(*handle);
        return {};
    });
}

/// An enumerator's name, and its number by name.
template <class Enum>
const char* name_of(std::int32_t number, Enum last) noexcept {
    return number >= 0 && number <= static_cast<std::int32_t>(last) ? to_string(static_cast<Enum>(number))
                                                                    : "unknown";
}
template <class Parse>
tandem_error* parsed(const char* name, const char* text, std::int32_t* number, Parse parse) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"text", text}, {name, number}}); !status) return status;
        const auto found = parse(text);
        if (!found) return found.error();
        *number = static_cast<std::int32_t>(*found);
        return {};
    });
}

/// A new handle that holds the value, or the result's error.
template <class Handle, class Value>
Status give(Handle** out, Result<Value>&& result) {
    if (!result) return result.error();
    *out = new Handle{std::move(*result)};
    return {};
}

}  // namespace tandem::c_api
