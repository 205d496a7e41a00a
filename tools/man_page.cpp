// tandem man-page: the manual page, in man(7)'s macros, made of what --help says. The build installs it.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "tandem/version.h"
#include "tools/commands.hpp"
#include "tools/options.hpp"

namespace tandem::tool {
namespace {

// Text that is not taken for macros and escapes; hyphens stay what is typed.
std::string roff(std::string_view text) {
    std::string result;
    bool line_begins = true;
    for (const char c : text) {
        if (line_begins && (c == '.' || c == '\'')) result += "\\&";
        if (c == '\\')
            result += "\\e";
        else if (c == '-')
            result += "\\-";
        else
            result += c;
        line_begins = c == '\n';
    }
    return result;
}

// A paragraph. A new line is one in the page, too, as where an example follows.
std::string paragraph(const std::string& text) {
    std::string result = text.empty() ? "" : ".PP\n";
    for (std::size_t from = 0; from < text.size();) {
        const std::size_t end = std::min(text.find('\n', from), text.size());
        result += fmt::format("{}{}\n", from > 0 ? ".br\n" : "", roff(text.substr(from, end - from)));
        from = end + 1;
    }
    return result;
}

std::string options_of(const CLI::App& app) {
    const CLI::Formatter formatter;
    std::string result;
    for (const CLI::Option* option : app.get_options()) {
        if (option->get_group().empty() || option == app.get_help_ptr()) continue;
        const bool positional = !option->nonpositional();
        result += fmt::format(".TP\n\\fB{}\\fR{}\n{}\n", roff(option->get_name(positional, true)),
                              roff(formatter.make_option_opts(option)), roff(option->get_description()));
    }
    return result;
}

// A subcommand and those below it; `name` is what is typed.
std::string section_of(const CLI::App& app, const std::string& name) {
    std::string result =
        fmt::format(".SS {}\n{}\n{}", roff(name), roff(app.get_description()), options_of(app));
    result += paragraph(app.get_footer());
    for (const CLI::App* command : app.get_subcommands({}))
        result += section_of(*command, name + ' ' + command->get_name());
    return result;
}

std::string man_page(const CLI::App& app) {
    std::string result = fmt::format(
        ".TH TANDEM 1 \"\" \"tandem {}.{}.{}\" \"User Commands\"\n.SH NAME\n{} \\- {}\n"
        ".SH SYNOPSIS\n\\fB{}\\fR \\fISUBCOMMAND\\fR [\\fIOPTIONS\\fR]\n.SH DESCRIPTION\n{}\n.SH "
        "SUBCOMMANDS\n",
        TANDEM_VERSION_MAJOR, TANDEM_VERSION_MINOR, TANDEM_VERSION_PATCH, app.get_name(),
        roff(app.get_description()), app.get_name(), roff(app.get_footer()));
    for (const CLI::App* command : app.get_subcommands({}))
        if (!command->get_group().empty()) result += section_of(*command, command->get_name());
    return result;
}

}  // namespace

void add_man_page(CLI::App& app, int& exit_code) {
    CLI::App* const command = app.add_subcommand("man-page", "Print the manual page");
    command->group("");  // not in --help: of use to packages only
    command->callback([&app, &exit_code] {
        fmt::print("{}", man_page(app));
        exit_code = exit_ok;
    });
}

}  // namespace tandem::tool
