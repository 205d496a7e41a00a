#include "tandem/result.hpp"

#include <exception>
#include <new>
#include <stdexcept>

#include <fmt/format.h>

#include "core/plan/as_result.hpp"

namespace tandem {

const char* to_string(ErrorCode code) noexcept {
    switch (code) {
        case ErrorCode::invalid_argument: return "invalid_argument";
        case ErrorCode::parse_error: return "parse_error";
        case ErrorCode::overflow: return "overflow";
        case ErrorCode::unsupported: return "unsupported";
        case ErrorCode::buffer_too_small: return "buffer_too_small";
        case ErrorCode::system: return "system";
        case ErrorCode::out_of_memory: return "out_of_memory";
        case ErrorCode::internal: return "internal";
    }
    return "unknown";
}

namespace {

// Texts as short as these lie within std::string itself.
union NoError {
    Error error{ErrorCode::internal, "Not an error."};
    constexpr NoError() {}
    constexpr ~NoError() {}  // never destroyed: static destructors may ask for it
};
const NoError not_an_error;

}  // namespace

const Error& no_error() noexcept { return not_an_error.error; }

Error out_of_memory() noexcept { return {ErrorCode::out_of_memory, "Out of memory."}; }

namespace {

Error unexpected(const char* what) noexcept try {
    return {ErrorCode::internal, fmt::format("An exception was not expected: {}.", what)};
} catch (...) {
    return out_of_memory();
}

}  // namespace

Error caught_error() noexcept try { throw; } catch (const std::bad_alloc&) {
    return out_of_memory();
} catch (const std::length_error&) {  // more elements than a container can have
    return out_of_memory();
} catch (const std::exception& error) {
    return unexpected(error.what());
} catch (...) {
    return unexpected("its type is not known");
}

}  // namespace tandem
