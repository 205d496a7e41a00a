// tandem wisdom: what wisdom files hold, and several made one.
#include <fmt/format.h>

#include <memory>

#include "core/run/wisdom_file.hpp"
#include "tools/commands.hpp"
#include "tools/files.hpp"
#include "tools/options.hpp"

namespace tandem::tool {

namespace {

struct WisdomOptions {
    std::vector<std::string> files;
    std::string output;
};

/// The files named, or the one at the default location, as one.
Result<Wisdom> read_all(const std::vector<std::string>& named) {
    std::vector<std::string> files = named;
    if (files.empty()) files.push_back(default_wisdom_path());
    if (files.front().empty())
        return Error{ErrorCode::invalid_argument,
                     "There is no wisdom file, as TANDEM_WISDOM is empty or there is no home directory; a "
                     "file is needed."};
    Wisdom all;
    for (const std::string& file : files) {
        const Result<Wisdom> wisdom = read_wisdom(file, MissingFile::error);
        if (!wisdom) return wisdom.error();
        all.merge(*wisdom);
    }
    return all;
}

void print_entry(const WisdomEntry& entry, const Result<Machine>& machine) {
    const WisdomKey& key = entry.key;
    fmt::print("{} {}, {} thread{}: {:.1f} us, {:.3f}x over the planner's plan, {}, {}\n    {}\n",
               key.problem, to_string(key.isa), key.threads, key.threads == 1 ? "" : "s", entry.microseconds,
               entry.ratio, to_string(entry.effort), entry.date, to_string(entry.plan));
    if (!machine) return;
    if (const auto reason = why_unused(entry, *machine)) fmt::print("    not used here, {}\n", *reason);
}

int show(const WisdomOptions& options) {
    const Result<Wisdom> wisdom = read_all(options.files);
    if (!wisdom) return complain(wisdom.error().message, exit_failed);
    const Result<Machine> machine = host_machine();
    for (const auto& [key, entry] : wisdom->entries())
        print_entry(entry, machine);
    for (const std::string& reason : wisdom->put_aside())
        fmt::print("unreadable: {}\n", reason);
    fmt::print("{} entries\n", wisdom->entries().size());
    return exit_ok;
}

int merge(const WisdomOptions& options) {
    const std::string path = options.output.empty() ? default_wisdom_path() : options.output;
    if (path.empty())
        return complain(
            "There is no wisdom file, as TANDEM_WISDOM is empty or there is no home directory; -o FILE is "
            "needed.",
            exit_usage);
    const Result<Wisdom> wisdom = read_all(options.files);
    if (!wisdom) return complain(wisdom.error().message, exit_failed);
    if (const Status status = save_wisdom(path, *wisdom); !status)
        return complain(status.error().message, exit_failed);
    const Result<Wisdom> merged = read_wisdom(path);
    if (!merged) return complain(merged.error().message, exit_failed);
    fmt::print("{} entries from {} files; {} has {}\n", wisdom->entries().size(), options.files.size(), path,
               merged->entries().size());
    return exit_ok;
}

}  // namespace

void add_wisdom(CLI::App& app, int& exit_code) {
    CLI::App* const command = app.add_subcommand("wisdom", "Show or merge files of tuned plans");
    command->footer("Example: tandem wisdom merge a.json b.json -o all.json");
    command->require_subcommand(1);
    const auto options = std::make_shared<WisdomOptions>();
    CLI::App* const show_command = command->add_subcommand(
        "show", "Print every entry, and why those of other machines are not used here");
    add_file_option(*show_command, "files", options->files, "Default: the file at the default location");
    show_command->callback([options, &exit_code] { exit_code = show(*options); });
    CLI::App* const merge_command =
        command->add_subcommand("merge", "Add files to another: of two entries for a layer the better stays");
    add_file_option(*merge_command, "files", options->files, "Files to add")->required();
    add_file_option(*merge_command, "-o,--output", options->output,
                    "File to add to (default: the one at the default location)");
    merge_command->callback([options, &exit_code] { exit_code = merge(*options); });
}

}  // namespace tandem::tool
