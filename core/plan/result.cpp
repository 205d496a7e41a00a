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
    }
    return "unknown";
}

}  // namespace tandem
