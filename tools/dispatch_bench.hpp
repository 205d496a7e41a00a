// tandem bench --dispatch: what it costs to get a kernel, the first time and every other time.
#pragma once

#include <string>
#include <vector>

#include "tools/problem_source.hpp"

namespace tandem::tool {

/// Prints a line a layer and the medians; writes `json_path` unless it is empty. Returns the exit code.
int run_dispatch_bench(const Settings& settings, const std::vector<Item>& items,
                       const std::string& json_path);

}  // namespace tandem::tool
