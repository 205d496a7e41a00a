// The command-line tool, run as a process.
#pragma once

#include <string>

#include "support/temporary_file.hpp"

namespace tandem::test {

struct Outcome {
    int code = -1;
    std::string output;  // stdout and stderr
    bool contains(const std::string& text) const { return output.find(text) != std::string::npos; }
    std::string last_line() const {
        const std::size_t end = output.find_last_not_of('\n');
        if (end == std::string::npos) return {};
        const std::size_t from = output.rfind('\n', end);
        return output.substr(from == std::string::npos ? 0 : from + 1,
                             end - (from == std::string::npos ? 0 : from + 1) + 1);
    }
};

/// Of the tool with these arguments, as a shell reads them.
Outcome run_tool(const std::string& arguments);

}  // namespace tandem::test
