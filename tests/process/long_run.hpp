// Stress tests take seconds; with TANDEM_LONG_RUN=<factor> set they repeat that many times as much.
#pragma once

#include <algorithm>
#include <cstdlib>

namespace tandem::test {

inline int repetitions(int usual) {
    const char* const factor = std::getenv("TANDEM_LONG_RUN");
    return usual * std::max(1, factor ? std::atoi(factor) : 1);
}

}  // namespace tandem::test
