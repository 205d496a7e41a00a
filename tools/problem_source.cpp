#include "tools/problem_source.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "core/plan/descriptor_text.hpp"
#include "core/plan/descriptor_writer.hpp"
#include "core/run/compile.hpp"
#include "core/run/whole_file.hpp"
#include "tools/files.hpp"
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
    const Result<std::string> text = read_file(path);
    if (!text) return Error{text.error().code, "--file: " + text.error().message};
    const std::size_t before = items.size();
    std::istringstream lines(*text);
    for (std::string line; std::getline(lines, line);) {
        const std::string pair = trimmed(line.substr(0, line.find('#')));
        if (!pair.empty()) items.push_back(item_of(pair));
    }
    if (items.size() > before) return {};
    return Error{ErrorCode::invalid_argument,
                 fmt::format("--file: {} holds no pair; one pair a line is accepted.", path)};
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
            part.text = convolutions_text(stage_of(*chain, i));
            part.name = item.name != item.text ? fmt::format("{}/{}", item.name, i + 1) : part.text;
            parts.push_back(part);
        }
    }
    return parts;
}

/// Gives the chain what its text leaves out. Its layout was known when it was parsed.
void fill_in(const Settings& settings, StatedChain& stated) {
    ConvChain& chain = stated.chain;
    if (!stated.math) chain.math = settings.math;
    if (!stated.dtypes.empty()) return;
    chain.dtype = settings.dtype;
    if (chain.conv_count == 0) return;
    const auto last = static_cast<std::size_t>(chain.conv_count - 1);
    std::fill_n(chain.output_dtypes.begin(), last, settings.intermediate_dtype);
    chain.output_dtypes[last] = settings.output_dtype;
}

std::string joined(const std::vector<DataType>& types) {
    std::string text;
    for (const DataType type : types)
        text += fmt::format("{}{}", text.empty() ? "" : "-", to_string(type));
    return text;
}

const std::string& whole_text(const Item& item) { return item.chain.empty() ? item.text : item.chain; }

Error contradiction(const char* option, const std::string& value, const std::string& text) {
    return {ErrorCode::invalid_argument,
            fmt::format("{} is '{}', but the text says {}; the option is accepted where the text leaves that "
                        "out or says the same.",
                        option, value, text)};
}

/// The data types that options give and the text does too have to be the same.
Status check_dtypes(const CommonOptions& options, const StatedChain& stated) {
    if (stated.dtypes.empty()) return {};
    const ConvChain& chain = stated.chain;
    const auto differs = [](const std::string& option, DataType type) {
        const Result<DataType> asked = parse_data_type(option);
        return !option.empty() && asked && *asked != type;
    };
    const std::string text = joined(stated.dtypes);
    if (differs(options.dtype.value_or(""), chain.dtype))
        return contradiction("--dtype", *options.dtype, text);
    for (int i = 0; i < chain.conv_count; ++i) {
        const bool last = i + 1 == chain.conv_count;
        const std::string& option = last ? options.output_dtype : options.intermediate_dtype;
        if (differs(option, chain.output_dtypes[static_cast<std::size_t>(i)].value_or(chain.dtype)))
            return contradiction(last ? "--output-dtype" : "--intermediate-dtype", option, text);
    }
    return {};
}

/// The same of math, and of layout for the ISA that the item's settings have.
Status check_fields(const CommonOptions& options, const StatedChain& stated, const Settings& own) {
    if (stated.math && options.math && *options.math != to_string(stated.chain.math))
        return contradiction("--math", *options.math, to_string(stated.chain.math));
    if (!stated.layout || !options.layout) return {};
    const Result<Layout> asked = read_layout(options, own.isa());
    if (!asked) return asked.error();
    if (*asked == stated.chain.layout) return {};
    const bool blocked = *options.layout == "blocked";
    return contradiction("--layout",
                         blocked ? fmt::format("blocked ({})", to_string(*asked)) : *options.layout,
                         to_string(stated.chain.layout));
}

/// The options as if they had been given what the text says.
CommonOptions with_text(CommonOptions options, const StatedChain& stated) {
    if (stated.math) options.math = to_string(stated.chain.math);
    if (!stated.dtypes.empty()) {
        options.dtype = to_string(stated.chain.dtype);
        options.intermediate_dtype.clear();
        options.output_dtype.clear();
    }
    if (options.isa.empty() && stated.isa) {
        options.isa = to_string(*stated.isa);
        options.isa_of_text = true;
    }
    return options;
}

/// An item's own settings.
Result<Settings> settings_of(const StatedChain& stated, const Settings& settings) {
    const CommonOptions& options = settings.options;
    if (const Status same = check_dtypes(options, stated); !same) return same.error();
    const CommonOptions all = with_text(options, stated);
    Result<Settings> own = settings.anywhere ? resolve_anywhere(all) : resolve(all);
    if (!own) return own;
    // Names of kernels have the least ISA that serves: any that comes to the same is no other.
    if (stated.isa && !options.isa.empty() &&
        least_isa(own->dtype, own->math, *stated.isa) != least_isa(own->dtype, own->math, own->offered))
        return contradiction("--isa", options.isa, to_string(*stated.isa));
    if (const Status same = check_fields(options, stated, *own); !same) return same.error();
    if (stated.layout) own->layout = stated.chain.layout;
    own->text_dtypes = joined(stated.dtypes);
    own->options = options;
    return own;
}

}  // namespace

void add_problem_source(CLI::App& app, ProblemSource& source) {
    app.add_option(
        "pair", source.texts,
        "e.g. 1x32x112x112:dw3+bias+relu6:conv1o64+bias+relu6, or a suite layer's name, e.g. mv1_1");
    add_file_option(app, "--file", source.file, "File with one pair a line; '#' starts a comment");
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
    if (items.empty())
        return Error{ErrorCode::invalid_argument,
                     "No pair was given; accepted: PAIR..., --file FILE, --suite NAME,..."};
    return source.separate ? separated(items) : items;
}

Result<Request> read_request(const Item& item, const Settings& settings) {
    if (item.text.find(':') == std::string::npos)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("The pair is '{}'; a layer's name (tandem suites lists those) or a text "
                                 "like 1x32x112x112:dw3:conv1o64 is accepted.",
                                 item.text)};
    const std::string& text = whole_text(item);
    const Result<StatedChain> first = parse_stated(text);
    if (!first) return first.error();
    const Result<Settings> own = settings_of(*first, settings);
    if (!own) return own.error();
    Result<StatedChain> stated = parse_stated(text, own->layout);  // views follow the layout
    if (!stated) return stated.error();
    fill_in(*own, *stated);
    const ConvChain& chain = stated->chain;
    if (const Status valid = validate(chain); !valid) return valid.error();
    return Request{item.chain.empty() ? chain : stage_of(chain, item.stage), *own};
}

bool states_fields(const Item& item) { return whole_text(item).find('/') != std::string::npos; }

Settings common_settings(const std::vector<Item>& items, Settings settings) {
    std::vector<Settings> all;
    for (const Item& item : items)
        if (const Result<Request> request = read_request(item, settings)) all.push_back(request->settings);
    if (all.empty()) return settings;
    const Settings& first = all.front();
    const auto alike = [&](auto field) {
        return std::ranges::all_of(all, [&](const Settings& one) { return field(one) == field(first); });
    };
    if (alike([](const Settings& one) { return one.layout; })) settings.layout = first.layout;
    if (alike([](const Settings& one) { return one.math; })) settings.math = first.math;
    if (alike([](const Settings& one) { return dtypes_text(one); })) {
        settings.dtype = first.dtype;
        settings.text_dtypes = first.text_dtypes;
    }
    if (alike([](const Settings& one) { return one.offered; })) {
        settings.machine = first.machine;
        settings.offered = first.offered;
    }
    settings.machine.isa = least_isa(settings.dtype, settings.math, settings.offered);
    return settings;
}

Result<Kernel> kernel_to_show(Context& context, const Request& request) {
    const auto& [chain, settings] = request;
    if (!settings.foreign) return context.dispatch(chain, settings.dispatch());
    const Result<Problem> problem = make_problem(chain);
    if (!problem) return problem.error();
    return kernel_for(*problem, settings.machine_for(chain), settings.threads);
}

}  // namespace tandem::tool
