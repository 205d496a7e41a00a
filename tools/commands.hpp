// The subcommands. Each add_*() describes its options to `app`; when it is chosen, it runs and stores its
// exit code.
#pragma once

#include <CLI/CLI.hpp>

namespace tandem::tool {

void add_check(CLI::App& app, int& exit_code);
void add_bench(CLI::App& app, char** argv, int& exit_code);  // argv: it may have to start the program anew
void add_dump(CLI::App& app, int& exit_code);
void add_plan(CLI::App& app, int& exit_code);
void add_suites(CLI::App& app, int& exit_code);
void add_machine(CLI::App& app, int& exit_code);
void add_explain(CLI::App& app, int& exit_code);
void add_model(CLI::App& app, int& exit_code);
void add_tune(CLI::App& app, int& exit_code);
void add_wisdom(CLI::App& app, int& exit_code);
void add_cpu(CLI::App& app, int& exit_code);
void add_man_page(CLI::App& app, int& exit_code);

}  // namespace tandem::tool
