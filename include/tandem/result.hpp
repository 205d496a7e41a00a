// Result<T>: a value or an error that says, in one sentence, which field is wrong, its value, and what
// would be accepted. Every function that can fail returns one of these, and nothing in Tandem prints, aborts
// or throws across its API; but a function that returns a std::string or a std::vector, and copying an Error,
// may throw std::bad_alloc.
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "tandem/export.h"

namespace tandem {

enum class ErrorCode {
    invalid_argument,  // a field of a descriptor, an option or a call argument is out of its range
    parse_error,       // a text is not of the documented form
    overflow,          // a size or an offset does not fit its integer type
    unsupported,       // valid, but this build or this machine cannot do it
    buffer_too_small,  // a buffer's stated size is below what the descriptor needs
    system,            // the operating system refused memory, protection or a file
    out_of_memory,     // an allocation failed; nothing is left half done, and the same call may work later
    internal,          // a fault of Tandem itself: worth a report
};

/// Name of an error code as used in messages, e.g. "invalid_argument".
TANDEM_API const char* to_string(ErrorCode code) noexcept;

struct Error {
    ErrorCode code;
    std::string message;
};

/// What error() of a result that is ok returns: `internal`, "Not an error.".
TANDEM_API const Error& no_error() noexcept;

template <class T>
class [[nodiscard]] Result {
public:
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}
    /// A default-constructed value, made in place: for large values that are filled in afterwards.
    explicit Result(std::in_place_t) : state_(std::in_place_index<0>) {}

    bool ok() const noexcept { return state_.index() == 0; }
    explicit operator bool() const noexcept { return ok(); }

    /// The value. Of a result that is not ok there is none: undefined, as with std::optional.
    T& value() & noexcept { return *std::get_if<0>(&state_); }
    const T& value() const& noexcept { return *std::get_if<0>(&state_); }
    T&& value() && noexcept { return std::move(*std::get_if<0>(&state_)); }
    T& operator*() & noexcept { return value(); }
    const T& operator*() const& noexcept { return value(); }
    T* operator->() noexcept { return &value(); }
    const T* operator->() const noexcept { return &value(); }

    /// The error; no_error() where there is none.
    const Error& error() const noexcept {
        const Error* const error = std::get_if<1>(&state_);
        return error ? *error : no_error();
    }

private:
    std::variant<T, Error> state_;
};

/// The result of a call that returns nothing but may fail.
template <>
class [[nodiscard]] Result<void> {
public:
    Result() = default;
    Result(Error error) : error_(std::move(error)), ok_(false) {}
    bool ok() const noexcept { return ok_; }
    explicit operator bool() const noexcept { return ok_; }
    const Error& error() const noexcept { return ok_ ? no_error() : error_; }

private:
    Error error_{};
    bool ok_ = true;
};

using Status = Result<void>;

}  // namespace tandem
