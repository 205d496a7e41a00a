// Where the layers of a subcommand come from: texts on the command line, lines of a file, a suite.
#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <variant>
#include <vector>

#include "core/plan/problem.hpp"
#include "tandem/tandem.hpp"
#include "tools/options.hpp"

namespace tandem::tool {

/// One or two convolutions.
using Work = std::variant<ConvPair, SingleConv>;

/// What an item is of the pair that it was made of.
enum class Part { whole, first, second };

struct Item {
    std::string name;         // of the layer; the text where it has none
    std::string text;         // as given
    std::string suite{};      // that brought it; empty where it was named otherwise
    Part part = Part::whole;  // which tensors of the pair are its own: their data types may differ
};

struct ProblemSource {
    std::vector<std::string> texts;
    std::string file;
    std::vector<std::string> suites;
    bool separate = false;  // each convolution of a pair as an item of its own
};
void add_problem_source(CLI::App& app, ProblemSource& source);

/// The items named, in order: texts (a layer's name, e.g. mv1_1, stands for its pair), then the file, then
/// the suites. An unreadable file, an unknown suite or nothing at all is an error.
Result<std::vector<Item>> read_items(const ProblemSource& source);

/// Parses a pair, or a single convolution where the text has one <conv> only, and gives it the settings'
/// layout, types and math.
Result<Work> parse_work(const Item& item, const Settings& settings);

Result<Kernel> dispatch(Context& context, const Work& work, const DispatchOptions& options);
/// The kernel to look at: dispatched, or, where the settings' machine is another, made without running it.
Result<Kernel> kernel_to_show(Context& context, const Work& work, const Settings& settings);
Result<Problem> make_problem(const Work& work);

}  // namespace tandem::tool
