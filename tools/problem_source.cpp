#include "tools/problem_source.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <tuple>

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

// Each pair as its two convolutions; what is no pair stays as it is.
std::vector<Item> separated(const std::vector<Item>& items) {
    std::vector<Item> parts;
    for (const Item& item : items) {
        const Result<ConvPair> pair = ConvPair::parse(item.text);
        if (!pair || !validate(*pair)) {
            parts.push_back(item);
            continue;
        }
        const bool named = item.name != item.text;
        for (const auto& [suffix, single, which] : {std::tuple{"/first", first_of(*pair), Part::first},
                                                    std::tuple{"/second", second_of(*pair), Part::second}}) {
            Item part = item;
            part.part = which;
            part.text = to_string(single);
            part.name = named ? item.name + suffix : part.text;
            parts.push_back(part);
        }
    }
    return parts;
}

void set_dtypes(ConvPair& pair, Part, const Settings& settings) {
    pair.dtype = settings.dtype;
    pair.intermediate_dtype = settings.intermediate_dtype;
    pair.output_dtype = settings.output_dtype;
}

void set_dtypes(SingleConv& single, Part part, const Settings& settings) {
    ConvPair pair;
    set_dtypes(pair, part, settings);
    const SingleConv half = part == Part::second ? second_of(pair) : first_of(pair);
    single.dtype = half.dtype;
    single.output_dtype = part == Part::whole ? settings.output_dtype : half.output_dtype;
}

template <class Descriptor>
Result<Work> with_settings(Result<Descriptor> parsed, Part part, const Settings& settings) {
    if (!parsed) return parsed.error();
    parsed->layout = settings.layout;
    parsed->math = settings.math;
    set_dtypes(*parsed, part, settings);
    const Status valid = validate(*parsed);
    if (!valid) return valid.error();
    return Work{*parsed};
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
    app.add_flag("--separate", source.separate, "Each convolution of a pair alone, as a kernel of its own");
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

Result<Work> parse_work(const Item& item, const Settings& settings) {
    if (item.text.find(':') == std::string::npos)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("The pair is '{}'; a layer's name (tandem suites lists those) or a text "
                                 "like 1x32x112x112:dw3:conv1o64 is accepted.",
                                 item.text)};
    if (std::count(item.text.begin(), item.text.end(), ':') == 1)
        return with_settings(SingleConv::parse(item.text), item.part, settings);
    return with_settings(ConvPair::parse(item.text), item.part, settings);
}

Result<Kernel> dispatch(Context& context, const Work& work, const DispatchOptions& options) {
    return std::visit([&](const auto& descriptor) { return context.dispatch(descriptor, options); }, work);
}

Result<Kernel> kernel_to_show(Context& context, const Work& work, const Settings& settings) {
    if (!settings.foreign) return dispatch(context, work, settings.dispatch());
    const Result<Problem> problem = make_problem(work);
    if (!problem) return problem.error();
    return kernel_for(*problem, settings.machine, settings.threads);
}

Result<Problem> make_problem(const Work& work) {
    return std::visit([](const auto& descriptor) { return tandem::make_problem(descriptor); }, work);
}

}  // namespace tandem::tool
