// Division that rounds up, for sizes that are not negative.
#pragma once

#include <cstdint>

namespace tandem {

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) noexcept { return (a + b - 1) / b; }

}  // namespace tandem
