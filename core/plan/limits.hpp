// Limits of what callers may ask for, and whether an enumerator is one.
#pragma once

#include <algorithm>
#include <iterator>

namespace tandem {

/// Of pools, and that plans are meant for. Well above the CPUs of any machine, and low enough that a wrong
/// number is noticed before memory is gone.
inline constexpr int max_threads = 4096;

template <class Enum, class Range>
constexpr bool is_one_of(Enum value, const Range& accepted) noexcept {
    return std::find(std::begin(accepted), std::end(accepted), value) != std::end(accepted);
}

}  // namespace tandem
