// Version, errors and texts.
#include <cstdlib>
#include <iterator>

#include "core/c_api/guard.hpp"
#include "core/c_api/handles.hpp"

using namespace tandem;
using namespace tandem::c_api;

// Codes are those of C++ with 0 for none, which keep their numbers.
static_assert(TANDEM_INVALID_ARGUMENT == static_cast<int>(ErrorCode::invalid_argument) + 1);
static_assert(TANDEM_PARSE_ERROR == static_cast<int>(ErrorCode::parse_error) + 1);
static_assert(TANDEM_OVERFLOW == static_cast<int>(ErrorCode::overflow) + 1);
static_assert(TANDEM_UNSUPPORTED == static_cast<int>(ErrorCode::unsupported) + 1);
static_assert(TANDEM_BUFFER_TOO_SMALL == static_cast<int>(ErrorCode::buffer_too_small) + 1);
static_assert(TANDEM_SYSTEM == static_cast<int>(ErrorCode::system) + 1);
static_assert(TANDEM_OUT_OF_MEMORY == static_cast<int>(ErrorCode::out_of_memory) + 1);
static_assert(TANDEM_INTERNAL == static_cast<int>(ErrorCode::internal) + 1);

#define TANDEM_TEXT_OF(number) #number
#define TANDEM_TEXT(number) TANDEM_TEXT_OF(number)

const char* tandem_version(void) noexcept {
    return TANDEM_TEXT(TANDEM_VERSION_MAJOR) "." TANDEM_TEXT(TANDEM_VERSION_MINOR) "." TANDEM_TEXT(
        TANDEM_VERSION_PATCH);
}

std::int32_t tandem_version_number(void) noexcept { return TANDEM_VERSION_NUMBER; }

std::int32_t tandem_error_code(const tandem_error* error) noexcept { return error ? error->code : TANDEM_OK; }

const char* tandem_error_message(const tandem_error* error) noexcept { return error ? error->message : ""; }

const char* tandem_error_code_name(std::int32_t code) noexcept {
    if (code == TANDEM_OK) return "ok";
    return code > TANDEM_OK && code <= TANDEM_INTERNAL ? to_string(static_cast<ErrorCode>(code - 1))
                                                       : "unknown";
}

void tandem_error_free(tandem_error* error) noexcept {
    if (error != no_memory_error()) std::free(error);
}

void tandem_string_free(char* text) noexcept { std::free(text); }
