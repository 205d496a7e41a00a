// tandem: check, measure and look into the kernels from the command line.
#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <iostream>
#include <sstream>
#include <system_error>

#include "tandem/version.h"
#include "tools/commands.hpp"
#include "tools/options.hpp"

namespace {

using namespace tandem::tool;

/// Where standard files are closed, the first that are opened would take their place, and the output with it.
void reserve_standard_files() {
    for (int file = 0; file <= 2; ++file)
        if (fcntl(file, F_GETFD) < 0 && errno == EBADF)
            static_cast<void>(open("/dev/null", file == 0 ? O_WRONLY : O_RDONLY));  // neither is of use
}

int run(int argc, char** argv) {
    CLI::App app{"Two convolutions in a row, run as one: check, measure and look into the kernels"};
    app.name("tandem");
    app.footer(
        "tandem SUBCOMMAND --help names its options. Exit codes: 0 all went well, 1 something failed, 2 "
        "wrong command line.");
    app.set_version_flag("--version", fmt::format("tandem {}.{}.{}", TANDEM_VERSION_MAJOR,
                                                  TANDEM_VERSION_MINOR, TANDEM_VERSION_PATCH));
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
        std::ostringstream help;
        const bool asked = app.exit(error, help, std::cerr) == 0;
        fmt::print("{}", help.str());  // which says if it cannot
        return asked ? exit_ok : exit_usage;
    }
    return exit_code;
}

/// `error`: why the output ended, where that is known already; 0: it has not.
int finish(int exit_code, int error) {
    const bool failed = std::ferror(stdout) != 0;
    if (std::fflush(stdout) != 0)
        error = errno;
    else if (!failed)
        return exit_code;
    if (error == EPIPE) return exit_failed;  // whoever read it has seen enough
    return complain(fmt::format("Writing to standard output failed: {}.", std::strerror(error)), exit_failed);
}

}  // namespace

int main(int argc, char** argv) {
    reserve_standard_files();
    setvbuf(stdout, nullptr, _IOLBF, 0);  // whole lines, also into pipes: long runs can be watched
    try {
        return finish(run(argc, argv), EIO);
    } catch (const std::system_error& error) {
        if (std::ferror(stdout)) return finish(exit_failed, error.code().value());
        return complain(error.what(), exit_failed);
    } catch (const std::exception& error) {
        return complain(error.what(), exit_failed);
    }
}
