// What every function of the C API is wrapped in: nothing is thrown out of it, and pointers that it needs are
// there.
#pragma once

#include <exception>
#include <initializer_list>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "tandem/result.hpp"
#include "tandem/tandem.h"

namespace tandem::c_api {

/// Allocates; where that fails, it is the static error of out_of_memory.
tandem_error* make_error(ErrorCode code, std::string_view message) noexcept;
tandem_error* out_of_memory() noexcept;

/// Calls body(), which returns a Status, and hands its error over.
template <class Body>
tandem_error* guarded(Body&& body) noexcept try {
    const Status status = body();
    return status ? nullptr : make_error(status.error().code, status.error().message);
} catch (const std::bad_alloc&) {
    return out_of_memory();
} catch (const std::exception& exception) {
    return make_error(ErrorCode::internal, exception.what());
} catch (...) {
    return make_error(ErrorCode::internal, "An exception of unknown type was caught.");
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

/// A new handle that holds the value, or the result's error.
template <class Handle, class Value>
Status give(Handle** out, Result<Value>&& result) {
    if (!result) return result.error();
    *out = new Handle{std::move(*result)};
    return {};
}

}  // namespace tandem::c_api
