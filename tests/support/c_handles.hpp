// Owners of the C API's handles, for tests.
#pragma once

#include <memory>
#include <string>

#include "tandem/tandem.h"

namespace tandem::test {

template <auto free>
struct Freeing {
    template <class Handle>
    void operator()(Handle* handle) const noexcept {
        free(handle);
    }
};

using CChain = std::unique_ptr<tandem_chain, Freeing<tandem_chain_free>>;
using CContext = std::unique_ptr<tandem_context, Freeing<tandem_context_free>>;
using CKernel = std::unique_ptr<tandem_kernel, Freeing<tandem_kernel_free>>;
using CWeights = std::unique_ptr<tandem_weights, Freeing<tandem_weights_free>>;
using CPool = std::unique_ptr<tandem_pool, Freeing<tandem_pool_free>>;
using CProfile = std::unique_ptr<tandem_profile, Freeing<tandem_profile_free>>;

/// "ok", or "code: sentence" of an error, which it frees.
inline std::string said(tandem_error* error) {
    if (error == nullptr) return "ok";
    std::string text =
        std::string(tandem_error_code_name(tandem_error_code(error))) + ": " + tandem_error_message(error);
    tandem_error_free(error);
    return text;
}

/// What make(&handle) gives; null where it failed.
template <class Owner, class Make>
Owner made(Make make) {
    typename Owner::pointer handle = nullptr;
    tandem_error_free(make(&handle));
    return Owner(handle);
}

/// The text that make(&text) gives, or what the error says.
template <class Make>
std::string text_of(Make make) {
    char* text = nullptr;
    tandem_error* const error = make(&text);
    if (error != nullptr) return said(error);
    std::string copy = text;
    tandem_string_free(text);
    return copy;
}

inline CChain c_chain(const char* text) {
    return made<CChain>([&](tandem_chain** out) { return tandem_chain_parse(text, out); });
}

}  // namespace tandem::test
