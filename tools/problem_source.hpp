// Where the layers of a subcommand come from: texts on the command line, lines of a file, a suite.
#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

#include "core/plan/problem.hpp"
#include "tandem/tandem.hpp"
#include "tools/options.hpp"

namespace tandem::tool {

struct Item {
    std::string name;     // of the layer; the text where it has none
    std::string text;     // as given
    std::string suite{};  // that brought it; empty where it was named otherwise
    /// Where it is one convolution of a chain: the chain's text, and which. Data types follow from those.
    std::string chain{};
    int stage = 0;
};

struct ProblemSource {
    std::vector<std::string> texts;
    std::string file;
    std::vector<std::string> suites;
    bool separate = false;  // each convolution of a chain as an item of its own
};
void add_problem_source(CLI::App& app, ProblemSource& source);

/// The items named, in order: texts (a layer's name, e.g. mv1_1, stands for its text), then the file, then
/// the suites. An unreadable file, an unknown suite or nothing at all is an error.
Result<std::vector<Item>> read_items(const ProblemSource& source);

/// An item's chain, and the settings that are its own.
struct Request {
    ConvChain chain{};
    Settings settings{};
};
/// Parses an item and validates it. Layout, types, math and ISA are its text's, and the settings' where it
/// has none. A text that contradicts an option that was given is an error.
Result<Request> read_request(const Item& item, const Settings& settings);
/// The item's text says some of these itself.
bool states_fields(const Item& item);
/// The settings, with what all items that can be read have alike in its place: what a heading over all of
/// them says.
Settings common_settings(const std::vector<Item>& items, Settings settings);

/// The kernel to look at: dispatched, or, where the settings' machine is another, made without running it.
Result<Kernel> kernel_to_show(Context& context, const Request& request);

}  // namespace tandem::tool
