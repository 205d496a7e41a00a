// tandem suites: the suites and their layers.
#include <fmt/format.h>

#include "tools/commands.hpp"
#include "tools/options.hpp"
#include "tools/suites.hpp"

namespace tandem::tool {

void add_suites(CLI::App& app, int& exit_code) {
    CLI::App* const command = app.add_subcommand("suites", "List the suites and their layers' pairs");
    command->footer("Example: tandem suites | grep dw5");
    command->callback([&exit_code] {
        for (const Suite& suite : suites())
            fmt::print("{:<17} {:>2} layers: {}\n", suite.name, suite.layers.size(), suite.description);
        for (const Suite& suite : suites()) {
            if (suite.name == "paper-dw" || suite.name == "paper-dense") continue;  // parts of paper
            fmt::print("\n");
            for (const Layer& layer : suite.layers)
                fmt::print("{:<12} {:<19} {}\n", layer.name, layer.network, layer.pair);
        }
        exit_code = exit_ok;
    });
}

}  // namespace tandem::tool
