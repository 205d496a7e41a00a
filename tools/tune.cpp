// tandem tune: finds the fastest plan of each layer by measuring, and remembers it in the wisdom file,
// layer by layer, so that a run that is stopped loses nothing and a second one goes on from there.
#include <fmt/format.h>

#include <charconv>
#include <memory>

#include "core/run/tuner.hpp"
#include "core/run/wisdom_file.hpp"
#include "tools/commands.hpp"
#include "tools/files.hpp"
#include "tools/problem_source.hpp"
#include "tools/progress_bar.hpp"

namespace tandem::tool {

namespace {

struct TuneCommandOptions {
    CommonOptions common{};
    ProblemSource source{};
    std::string effort = "measure", shard, wisdom;
    double seconds = 0;
    bool again = false;
};

struct Shard {
    std::size_t index = 0, count = 1;
};

Result<Shard> read_shard(const std::string& text) {
    Shard shard;
    if (text.empty()) return shard;
    const std::size_t slash = text.find('/');
    const auto number = [](std::string_view digits, std::size_t& value) {
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
        return error == std::errc() && end == digits.data() + digits.size();
    };
    const std::string_view view = text;
    if (slash == std::string::npos || !number(view.substr(0, slash), shard.index) ||
        !number(view.substr(slash + 1), shard.count) || shard.index >= shard.count)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("--shard is '{}'; accepted: I/N with 0 <= I < N, e.g. 0/4.", text)};
    return shard;
}

/// Every count-th item, so that neighbours, which are alike, go to different shards.
std::vector<Item> shard_of(const std::vector<Item>& items, const Shard& shard) {
    std::vector<Item> mine;
    for (std::size_t i = shard.index; i < items.size(); i += shard.count)
        mine.push_back(items[i]);
    return mine;
}

/// What the run needs to know.
struct Run {
    Settings settings{};
    Effort effort = Effort::measure;
    double seconds = 0;
    bool again = false;
    std::string path;
};

void print_report(const Item& item, const TuneReport& report) {
    fmt::print("{:<12} {:>9.1f} us  {:.3f}x  {:>3} of {:>3} plans timed  {}{}\n", item.name,
               report.microseconds, report.ratio, report.timed, report.candidates, to_string(report.plan),
               report.planner_kept ? "  (the planner's plan)" : "");
    for (const std::string& note : report.notes)
        if (note.find("no time was left") == std::string::npos) fmt::print("    not timed: {}\n", note);
}

/// True if the layer was tuned or had been; otherwise says why not.
bool tune_item(const Run& run, const Wisdom& known, const Item& item,
               const std::function<void(const TuneProgress&)>& progress, ProgressBar& bar) {
    const auto fail = [&](const std::string& why) {
        bar.clear();
        fmt::print("{:<12} FAILED: {}\n", item.name, why);
        return false;
    };
    const Result<Request> request = read_request(item, run.settings);
    if (!request) return fail(request.error().message);
    const Result<Problem> problem = make_problem(request->chain);
    if (!problem) return fail(problem.error().message);
    const Machine machine = request->settings.machine_for(request->chain);
    const WisdomEntry* const entry = known.find(wisdom_key(*problem, machine, run.settings.threads));
    if (entry && entry->effort >= run.effort && !run.again) {
        bar.clear();
        fmt::print("{:<12} {:>9.1f} us  {:.3f}x  known since {} (--again measures anew)\n", item.name,
                   entry->microseconds, entry->ratio, entry->date);
        return true;
    }
    const Result<TuneReport> report = tune(*problem, machine,
                                           {.threads = run.settings.threads,
                                            .effort = run.effort,
                                            .seconds = run.seconds,
                                            .progress = progress});
    if (!report) return fail(report.error().message);
    bar.clear();
    print_report(item, *report);
    Wisdom learnt;
    learnt.add(to_wisdom(*report, *problem, machine, run.settings.threads));
    if (const Status status = save_wisdom(run.path, learnt); !status) return fail(status.error().message);
    return true;
}

int run_items(const Run& run, const std::vector<Item>& items) {
    if (const Status writable = save_wisdom(run.path, Wisdom{}); !writable)
        return complain(writable.error().message, exit_failed);
    const Result<Wisdom> known = read_wisdom(run.path);
    if (!known) return complain(known.error().message, exit_failed);
    fmt::print(
        "# {} layers, effort {}, {}, {} on {}, wisdom in {}\n# time of the tuned plan, and how much longer "
        "the planner's plan takes\n",
        items.size(), to_string(run.effort),
        run.settings.threads == 1 ? "1 thread" : fmt::format("{} threads", run.settings.threads),
        to_string(run.settings.isa()), run.settings.machine.cpu_name, run.path);
    ProgressBar bar;
    std::size_t failures = 0;
    for (std::size_t i = 0; i < items.size(); ++i) {
        const auto progress = [&](const TuneProgress& now) {
            bar.show((static_cast<double>(i) + now.fraction) / static_cast<double>(items.size()),
                     fmt::format("{}: {} plans left", items[i].name, now.plans));
        };
        failures += !tune_item(run, *known, items[i], progress, bar);
    }
    fmt::print("{} tuned, {} failed\n", items.size() - failures, failures);
    return failures == 0 ? exit_ok : exit_failed;
}

int run_tune(const TuneCommandOptions& options) {
    const Result<Settings> settings = resolve(options.common);
    if (!settings) return complain(settings.error().message, exit_usage);
    const Result<std::vector<Item>> items = read_items(options.source);
    if (!items) return complain(items.error().message, exit_usage);
    const Result<Effort> effort = parse_effort(options.effort);
    if (!effort || *effort == Effort::estimate)
        return complain(fmt::format("--effort is '{}'; accepted: measure, exhaustive.", options.effort),
                        exit_usage);
    const Result<Shard> shard = read_shard(options.shard);
    if (!shard) return complain(shard.error().message, exit_usage);
    const std::string path = options.wisdom.empty() ? default_wisdom_path() : options.wisdom;
    if (path.empty())
        return complain(
            "There is no wisdom file, as TANDEM_WISDOM is empty or there is no home directory; --wisdom FILE "
            "is needed.",
            exit_usage);
    return run_items({common_settings(*items, *settings), *effort, options.seconds, options.again, path},
                     shard_of(*items, *shard));
}

}  // namespace

void add_tune(CLI::App& app, int& exit_code) {
    CLI::App* const command =
        app.add_subcommand("tune", "Find the fastest plans by measuring, and remember them as wisdom");
    command->footer(
        "Programs do the same with DispatchOptions::effort. A stopped run loses nothing: a second one goes "
        "on from there.\nExample: tandem tune --suite paper-dw --threads 2 --wisdom wisdom.json");
    const auto options = std::make_shared<TuneCommandOptions>();
    add_problem_source(*command, options->source);
    add_common_options(*command, options->common);
    command
        ->add_option("--effort", options->effort,
                     "measure (a second or two a layer) or exhaustive (every candidate)")
        ->capture_default_str();
    add_seconds_option(*command, options->seconds, "To aim for on each layer (0: as the effort has it)");
    command->add_option("--shard", options->shard,
                        "I/N: every Nth layer from the Ith on, counted from 0, to share the work");
    add_file_option(
        *command, "--wisdom", options->wisdom,
        "File to add to (default: TANDEM_WISDOM, else tandem/wisdom.json in the cache directory)");
    command->add_flag("--again", options->again, "Also layers that the file has already");
    command->callback([options, &exit_code] { exit_code = run_tune(*options); });
}

}  // namespace tandem::tool
