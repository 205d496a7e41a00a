#include "tools/problem_source.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>

#include "core/run/compile.hpp"
#include "tools/suites.hpp"

namespace tandem::tool {

namespace {

Item item_of(const std::string& text) {
    if (const Layer* const layer = find_layer(text)) return {text, std::string(layer->pair)};
    return {text, text};
}

std::string trimmed(const std::string& line) {
    const char* const blanks = " \t\r";
    const std::size_t from = line.find_first_not_of(blanks);
    if (from == std::string::npos) return {};
    return line.substr(from, line.find_last_not_of(blanks) - from + 1);
}

Status append_file(const std::string& path, std::vector<Item>& items) {
    std::ifstream file(path);
    if (!file) return Error{ErrorCode::system, fmt::format("--file is '{}', which cannot be read.", path)};
    for (std::string line; std::getline(file, line);) {
        const std::string text = trimmed(line.substr(0, line.find('#')));
        if (!text.empty()) items.push_back(item_of(text));
    }
    return {};
}

Status append_suite(const std::string& name, std::vector<Item>& items) {
    const Suite* const suite = find_suite(name);
    if (!suite) {
        std::vector<std::string_view> names;
        for (const Suite& known : suites())
            names.push_back(known.name);
        return Error{ErrorCode::invalid_argument,
                     fmt::format("--suite is '{}'; accepted: {}.", name, fmt::join(names, ", "))};
    }
    for (const Layer& layer : suite->layers)
        items.push_back({std::string(layer.name), std::string(layer.pair), name});
    return {};
}

// Each chain as its convolutions; what is none stays as it is.
std::vector<Item> separated(const std::vector<Item>& items) {
    std::vector<Item> parts;
    for (const Item& item : items) {
        const Result<ConvChain> chain = ConvChain::parse(item.text);
        if (!chain || chain->conv_count == 1 || !validate(*chain)) {
            parts.push_back(item);
            continue;
        }
        for (int i = 0; i < chain->conv_count; ++i) {
            Item part = item;
            part.chain = item.text;
            part.stage = i;
            part.text = to_string(stage_of(*chain, i));
            part.name = item.name != item.text ? fmt::format("{}/{}", item.name, i + 1) : part.text;
            parts.push_back(part);
        }
    }
    return parts;
}

void apply(const Settings& settings, ConvChain& chain) {
    chain.layout = settings.layout;
    chain.math = settings.math;
    chain.dtype = settings.dtype;
    if (chain.conv_count == 0) return;
    const auto last = static_cast<std::size_t>(chain.conv_count - 1);
    std::fill_n(chain.output_dtypes.begin(), last, settings.intermediate_dtype);
    chain.output_dtypes[last] = settings.output_dtype;
}

}  // namespace

void add_problem_source(CLI::App& app, ProblemSource& source) {
    app.add_option(
        "pair", source.texts,
        "e.g. 1x32x112x112:dw3+bias+relu6:conv1o64+bias+relu6, or a suite layer's name, e.g. mv1_1");
    app.add_option("--file", source.file, "File with one pair a line; '#' starts a comment");
    app.add_option("--suite", source.suites,
                   "Every layer of a suite, or of several: NAME,NAME; see tandem suites")
        ->delimiter(',')
        ->allow_extra_args(false);
    app.add_flag("--separate", source.separate, "Each convolution of a chain alone, as a kernel of its own");
}

Result<std::vector<Item>> read_items(const ProblemSource& source) {
    std::vector<Item> items;
    for (const std::string& text : source.texts)
        items.push_back(item_of(text));
    if (!source.file.empty())
        if (const Status status = append_file(source.file, items); !status) return status.error();
    for (const std::string& suite : source.suites)
        if (const Status status = append_suite(suite, items); !status) return status.error();
    if (items.empty() && source.file.empty())
        return Error{ErrorCode::invalid_argument,
                     "No pair was given; accepted: PAIR..., --file FILE, --suite NAME,..."};
    return source.separate ? separated(items) : items;
}

Result<ConvChain> parse_chain(const Item& item, const Settings& settings) {
    if (item.text.find(':') == std::string::npos)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("The pair is '{}'; a layer's name (tandem suites lists those) or a text "
                                 "like 1x32x112x112:dw3:conv1o64 is accepted.",
                                 item.text)};
    const std::string& text = item.chain.empty() ? item.text : item.chain;
    Result<ConvChain> chain = ConvChain::parse(text);
    if (!chain) return chain;
    if (text.find('/') == std::string::npos) apply(settings, *chain);
    if (const Status valid = validate(*chain); !valid) return valid.error();
    return item.chain.empty() ? chain : stage_of(*chain, item.stage);
}

Result<Kernel> kernel_to_show(Context& context, const ConvChain& chain, const Settings& settings) {
    if (!settings.foreign) return context.dispatch(chain, settings.dispatch());
    const Result<Problem> problem = make_problem(chain);
    if (!problem) return problem.error();
    return kernel_for(*problem, settings.machine_for(chain), settings.threads);
}

}  // namespace tandem::tool
