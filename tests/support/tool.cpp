#ifdef TANDEM_TOOL

#include "support/tool.hpp"

#include "support/doctest.hpp"

#include <sys/wait.h>

#include <cstdio>

namespace tandem::test {

Outcome run_tool(const std::string& arguments) {
    const std::string command = std::string("'") + TANDEM_TOOL + "' " + arguments + " 2>&1";
    Outcome outcome;
    FILE* const pipe = popen(command.c_str(), "r");
    REQUIRE(pipe);
    char buffer[4096];
    while (const std::size_t read = std::fread(buffer, 1, sizeof buffer, pipe))
        outcome.output.append(buffer, read);
    const int status = pclose(pipe);
    outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    INFO("tandem " << arguments << "\n" << outcome.output);
    CHECK(outcome.code != 128);
    return outcome;
}

}  // namespace tandem::test

#endif
