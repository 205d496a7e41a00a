// tandem plan: what the planner decided for a pair, in words and in numbers.
#include <fmt/format.h>

#include <memory>

#include "core/plan/plan.hpp"
#include "tools/commands.hpp"
#include "tools/problem_source.hpp"

namespace tandem::tool {

namespace {

struct PlanOptions {
    CommonOptions common{};
    ProblemSource source{};
};

std::string shape_text(const TensorShape& shape) {
    return fmt::format("{}x{}x{}x{}", shape.n, shape.c, shape.h, shape.w);
}

void print_kernel(const Item& item, const Kernel& kernel, const Problem& problem) {
    if (item.name != item.text) fmt::print("layer    {}\n", item.name);
    fmt::print("kernel   {}\n", kernel.name());
    fmt::print("tensors  input {}", shape_text(kernel.input_shape()));
    for (int i = 0; i < problem.stage_count; ++i)
        fmt::print(", {} {}", to_string(problem.stage(i).conv), shape_text(problem.output_shape(i)));
    fmt::print("\nwork     {:.3f} GFLOP\n", problem.flops() * 1e-9);
    fmt::print("plan     {}\n", to_string(kernel.plan()));
    fmt::print("tiles    {}\n", kernel.tiles());
    fmt::print("scratch  {} bytes a running part\n", kernel.scratch_bytes());
    fmt::print("code     {} bytes\n", kernel.code().size());
    fmt::print("\n{}\n", kernel.explain());
}

int run_plan(const PlanOptions& options) {
    const Result<Settings> settings = resolve_anywhere(options.common);
    if (!settings) return complain(settings.error().message, exit_usage);
    const Result<std::vector<Item>> items = read_items(options.source);
    if (!items) return complain(items.error().message, exit_usage);
    int exit_code = exit_ok;
    Context context;
    for (const Item& item : *items) {
        const Result<Request> request = read_request(item, *settings);
        if (!request) {
            exit_code = complain(fmt::format("{}: {}", item.name, request.error().message), exit_failed);
            continue;
        }
        const Result<Kernel> kernel = kernel_to_show(context, *request);
        const Result<Problem> problem = make_problem(request->chain);
        if (!kernel || !problem) {
            exit_code = complain(
                fmt::format("{}: {}", item.name, (!kernel ? kernel.error() : problem.error()).message),
                exit_failed);
            continue;
        }
        if (&item != &items->front()) fmt::print("\n");
        print_kernel(item, *kernel, *problem);
    }
    return exit_code;
}

}  // namespace

void add_plan(CLI::App& app, int& exit_code) {
    CLI::App* const command =
        app.add_subcommand("plan", "Say what the planner decided and why: tiles, blocks, scratch, code size");
    command->footer("Example: tandem plan mv2_1 --threads 4");
    const auto options = std::make_shared<PlanOptions>();
    add_problem_source(*command, options->source);
    add_common_options(*command, options->common);
    add_machine_option(*command, options->common);
    command->callback([options, &exit_code] { exit_code = run_plan(*options); });
}

}  // namespace tandem::tool
