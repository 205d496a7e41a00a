// tandem: check, measure and look into the kernels from the command line.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>

#include "tools/commands.hpp"
#include "tools/options.hpp"

int main(int argc, char** argv) {
    using namespace tandem::tool;
    setvbuf(stdout, nullptr, _IOLBF, 0);  // whole lines, also into pipes: long runs can be watched
    CLI::App app{"Two convolutions in a row, run as one: check, measure and look into the kernels"};
    app.name("tandem");
    app.footer(
        "tandem SUBCOMMAND --help names its options. Exit codes: 0 all went well, 1 something failed, 2 "
        "wrong command line.");
    app.require_subcommand(1);
    int exit_code = exit_ok;
    add_check(app, exit_code);
    add_bench(app, argv, exit_code);
    add_dump(app, exit_code);
    add_plan(app, exit_code);
    add_suites(app, exit_code);
    add_machine(app, exit_code);
    add_cpu(app, exit_code);
    add_explain(app, exit_code);
    add_model(app, exit_code);
    add_tune(app, exit_code);
    add_wisdom(app, exit_code);
    add_man_page(app, exit_code);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? exit_ok : exit_usage;
    } catch (const std::exception& error) {
        return complain(error.what(), exit_failed);
    }
    return exit_code;
}
