// tandem bench --sequence: the layers one after the other, as in a network, where each finds its weights
// driven out of the caches by the others'; without and with Args::next, which names the next one's.
#pragma once

#include <string>

#include "tools/contender.hpp"
#include "tools/problem_source.hpp"

namespace tandem::tool {

/// Prints a line a layer and one of them all; writes `json_path` unless it is empty. Returns the exit code.
/// `seconds`: to spend on each layer.
int run_sequence_bench(const BenchSetup& setup, const std::vector<Item>& items, double seconds,
                       const std::string& json_path);

}  // namespace tandem::tool
