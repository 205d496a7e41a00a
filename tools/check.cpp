// tandem check: kernels against the reference, on integers (where results have to be equal) and on random
// data. For quantised kernels these are extreme and random integers, and results have to be equal on both.
#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <system_error>

#include "core/run/verification.hpp"
#include "tools/commands.hpp"
#include "tools/problem_source.hpp"

namespace tandem::tool {

namespace {

struct CheckOptions {
    CommonOptions common{};
    ProblemSource source{};
    std::uint64_t seed = 1;
    bool in_place = false;
};

struct Outcome {
    bool passed = false;
    std::string text;
};

Outcome check(Context& context, const Request& request, const CheckOptions& asked) {
    const Settings& settings = request.settings;
    VerifyOptions options;
    options.dispatch = settings.dispatch();
    options.threads = settings.threads;
    options.seed = asked.seed;
    options.in_place = asked.in_place;
    options.data = DataKind::integers;
    const Result<VerifyReport> integers = verify(context, request.chain, options);
    if (!integers) return {false, integers.error().message};
    if (!integers->passed) return {false, integers->message};
    options.data = DataKind::random;
    const Result<VerifyReport> random = verify(context, request.chain, options);
    if (!random) return {false, random.error().message};
    if (!random->passed) return {false, random->message};
    const std::string on_integers = integers->data != DataKind::integers ? "not compared (Winograd)"
                                    : integers->exact                    ? "equal"
                                                      : fmt::format("error {:.1e}", integers->max_error);
    const bool several = request.chain.conv_count > 1;
    return {true, fmt::format("integers {}, random error {:.1e}, {}", on_integers, random->max_error,
                              !several        ? "one convolution"
                              : random->fused ? "fused"
                                              : "not fused")};
}

/// Before it is run: with guard pages an access out of bounds ends the process, and then this is the last
/// line.
void print_item(const Item& item, const Settings& settings) {
    fmt::print("{}{}{} {} {} {}{}: ", item.name, item.name == item.text ? "" : " ",
               item.name == item.text ? "" : item.text, to_string(settings.isa()), to_string(settings.layout),
               dtypes_text(settings),
               states_fields(item) ? fmt::format(" {}", to_string(settings.math)) : "");
    if (std::fflush(stdout) != 0) throw std::system_error(errno, std::generic_category());
}

int run_check(const CheckOptions& options) {
    const Result<Settings> settings = resolve(options.common);
    if (!settings) return complain(settings.error().message, exit_usage);
    const Result<std::vector<Item>> items = read_items(options.source);
    if (!items) return complain(items.error().message, exit_usage);
    Context context;
    int passed = 0, failed = 0;
    for (const Item& item : *items) {
        const Result<Request> request = read_request(item, *settings);
        print_item(item, request ? request->settings : *settings);
        const Outcome outcome =
            request ? check(context, *request, options) : Outcome{false, request.error().message};
        ++(outcome.passed ? passed : failed);
        fmt::print("{}: {}\n", outcome.passed ? "passed" : "FAILED", outcome.text);
    }
    fmt::print("{} passed, {} failed\n", passed, failed);
    return failed == 0 ? exit_ok : exit_failed;
}

}  // namespace

void add_check(CLI::App& app, int& exit_code) {
    CLI::App* const command =
        app.add_subcommand("check", "Compare kernels with the reference, on integers and on random data");
    command->footer(
        "Exit code 0: all passed, 1: one failed. Integers have to come out equal where no approximated "
        "function or Winograd is involved; quantised kernels have to\nbe equal on random data too.\nExample: "
        "tandem check --suite paper --isa avx2 --layout blocked --dtype bf16");
    const auto options = std::make_shared<CheckOptions>();
    add_problem_source(*command, options->source);
    add_common_options(*command, options->common);
    command->add_option("--seed", options->seed, "Of the data")->capture_default_str();
    command->add_flag("--in-place", options->in_place,
                      "The output is the last convolution's residual, which has to lie like it");
    command->callback([options, &exit_code] { exit_code = run_check(*options); });
}

}  // namespace tandem::tool
