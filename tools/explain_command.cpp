// tandem explain: a kernel's plan, what the cost model makes of it, and what it really takes.
#include <fmt/format.h>

#include <memory>

#include "core/run/explain.hpp"
#include "tools/commands.hpp"
#include "tools/plan_timing.hpp"

namespace tandem::tool {

namespace {

struct ExplainOptions {
    CommonOptions common{};
    ProblemSource source{};
    double seconds = 0.3;
};

Status explain_item(BenchSetup setup, const Item& item, double seconds) {
    const Result<Request> request = read_request(item, setup.settings);
    if (!request) return request.error();
    setup.settings = request->settings;
    const ConvChain& chain = request->chain;
    const Result<Kernel> kernel = kernel_to_show(*setup.context, *request);
    if (!kernel) return kernel.error();
    if (setup.settings.foreign) {
        fmt::print("{}Not measured: the kernel is for another machine.\n", explain(*kernel->impl()));
        return {};
    }
    std::optional<double> measured;
    if (seconds > 0) {
        const Result<std::vector<Series>> series = time_plans(setup, chain, {kernel->plan()}, seconds);
        if (!series) return series.error();
        measured = series->front().median;
    }
    fmt::print("{}", explain(*kernel->impl(), setup.settings.machine_for(chain), measured));
    return {};
}

int run_explain(const ExplainOptions& options) {
    const Result<Settings> settings = resolve_anywhere(options.common);
    if (!settings) return complain(settings.error().message, exit_usage);
    const Result<std::vector<Item>> items = read_items(options.source);
    if (!items) return complain(items.error().message, exit_usage);
    Context context;
    BenchSetup setup;
    setup.settings = *settings;
    setup.context = &context;
    Result<ThreadPool> pool = Error{ErrorCode::system, "One thread needs no pool."};
    if (settings->threads > 1 && !settings->foreign) {
        PoolOptions pool_options;
        pool_options.threads = settings->threads;
        pool = ThreadPool::create(pool_options);
        if (!pool) return complain(pool.error().message, exit_failed);
        setup.pool = &*pool;
    }
    int exit_code = exit_ok;
    for (const Item& item : *items) {
        if (&item != &items->front()) fmt::print("\n");
        if (const Status status = explain_item(setup, item, options.seconds); !status)
            exit_code = complain(fmt::format("{}: {}", item.name, status.error().message), exit_failed);
    }
    return exit_code;
}

}  // namespace

void add_explain(CLI::App& app, int& exit_code) {
    CLI::App* const command = app.add_subcommand(
        "explain", "Explain a kernel: fused or not and why, predicted against measured time");
    command->footer("Example: tandem explain --suite paper-dense --seconds 0.1");
    const auto options = std::make_shared<ExplainOptions>();
    add_problem_source(*command, options->source);
    add_common_options(*command, options->common);
    add_machine_option(*command, options->common);
    add_seconds_option(*command, options->seconds, "To spend on measuring (0: do not measure)");
    command->callback([options, &exit_code] { exit_code = run_explain(*options); });
}

}  // namespace tandem::tool
