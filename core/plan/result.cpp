#include "tandem/result.hpp"

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

const Error& no_error() noexcept {
    static const Error error{ErrorCode::internal,
                             "error() was asked of a result that is ok; there is no error."};
    return error;
}

}  // namespace tandem
