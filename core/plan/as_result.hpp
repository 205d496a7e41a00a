// as_result: where Tandem meets its callers. Inside, functions may throw (mostly for want of memory); behind
// a public function that returns a Result nothing does.
#pragma once

#include <type_traits>
#include <utility>

#include "tandem/result.hpp"

namespace tandem {

/// Needs no memory itself.
Error out_of_memory() noexcept;

/// What the exception that is being handled says; needs no memory where there is none.
Error caught_error() noexcept;

/// What fn() returns, a Result or a Status; where it throws, caught_error().
template <class Fn>
std::invoke_result_t<Fn> as_result(Fn&& fn) noexcept {
    try {
        return std::forward<Fn>(fn)();
    } catch (...) {
        return caught_error();
    }
}

}  // namespace tandem
