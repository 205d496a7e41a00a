// tandem bench: Tandem's kernels against other ways to compute the same layer, interleaved in one process.
//
// A round is one sample of every contender and one of the probes of f32 FMAs and of the kernel's own
// multiply instruction, so that a slow moment of the machine hits all alike, and shows.
// Before anything is timed, every contender's output is compared with Tandem's: no speed without the same
// result.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <sstream>

#include "core/plan/arithmetic.hpp"
#include "core/plan/cost_model.hpp"
#include "core/run/phases.hpp"
#include "core/run/probes.hpp"
#include "core/run/tolerance.hpp"
#include "tools/bench_plot.hpp"
#include "tools/bench_report.hpp"
#include "tools/cold_caches.hpp"
#include "tools/commands.hpp"
#include "tools/dispatch_bench.hpp"
#include "tools/files.hpp"
#include "tools/onednn_pair.hpp"
#include "tools/openmp_environment.hpp"
#include "tools/sequence_bench.hpp"
#include "tools/thread_placement.hpp"

namespace tandem::tool {

namespace {

constexpr std::int64_t probe_iterations = 5000;  // some 30 us
constexpr double sample_seconds_many =
    1e-3;  // several threads: a sample has to hide that its first call wakes them
constexpr double idle_seconds_many = 2e-3;  // see openmp_environment.hpp

struct BenchOptions {
    CommonOptions common{};
    ProblemSource source{};
    double seconds = 0.5;
    std::string json, csv, plot, against, onednn_algorithm = "direct", align = "line";
    bool dispatch = false, sequence = false, cold = false;
};

Result<std::vector<std::string>> read_against(const std::string& text) {
    if (text.empty()) return std::vector<std::string>{contender_names().front()};
    std::vector<std::string> names;
    std::stringstream stream(text);
    for (std::string name; std::getline(stream, name, ',');) {
        const auto& known = contender_names();
        if (std::find(known.begin(), known.end(), name) == known.end())
            return Error{
                ErrorCode::invalid_argument,
                fmt::format("--against is '{}'; accepted{}: {}.", name,
                            have_onednn() ? "" : " (this build is without oneDNN)", fmt::join(known, ", "))};
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
    return names;
}

Result<Alignment> read_alignment(const std::string& text) {
    for (const Alignment alignment : {Alignment::line, Alignment::page, Alignment::staggered})
        if (text == to_string(alignment)) return alignment;
    return Error{ErrorCode::invalid_argument,
                 fmt::format("--align is '{}'; accepted: {}.", text, fmt::join(alignment_names, ", "))};
}

/// How far `other` is from `ours`, relative to the largest of ours.
double difference(const std::vector<float>& ours, const std::vector<float>& other) {
    if (ours.size() != other.size()) return INFINITY;
    double largest = 0, worst = 0;
    for (std::size_t i = 0; i < ours.size(); ++i) {
        const double distance = std::abs(static_cast<double>(ours[i]) - other[i]);
        if (!(distance <= worst)) worst = distance;  // a NaN is kept
        largest = std::max(largest, std::abs(static_cast<double>(ours[i])));
    }
    return worst / std::max(largest, 1e-30);
}

/// The contenders of one layer, prepared and found to agree.
struct Field {
    std::unique_ptr<Workload> workload;
    std::unique_ptr<Contender> ours;
    std::vector<std::unique_ptr<Contender>> others;  // null where not comparable
};

Result<Field> prepare(const BenchSetup& setup, const std::vector<std::string>& against,
                      const ConvChain& chain, LayerResult& layer) {
    Field field;
    Result<std::unique_ptr<Workload>> workload = make_workload(chain);
    if (!workload) return workload.error();
    field.workload = std::move(*workload);
    field.ours = make_tandem_contender(setup);
    const Result<std::vector<float>> output = field.ours->prepare(*field.workload);
    if (!output) return output.error();
    for (const std::string& name : against) {
        ContenderResult result;
        result.name = name;
        std::unique_ptr<Contender> other = make_contender(name, setup);
        const Result<std::vector<float>> its = other->prepare(*field.workload);
        if (its) {
            result.description = other->description();
            if (const double error = difference(*output, *its);
                !(error <= rough_agreement(field.workload->problem)))
                return Error{
                    ErrorCode::unsupported,
                    fmt::format("Results differ: {} is {:.1e} of max|y| away from Tandem.", name, error)};
        } else {
            result.problem = its.error().message;
            other = nullptr;
        }
        layer.others.push_back(std::move(result));
        field.others.push_back(std::move(other));
    }
    return field;
}

/// One thread's burst, or one of every worker's at once.
std::function<void()> probe(const BenchSetup& setup, Dot dot, Isa isa) {
    ThreadPool* const pool = setup.pool;
    if (!pool)
        return [=] {
            run_dots(dot, isa, probe_iterations);
        };
    return [=] {
        static_cast<void>(pool->parallel([=](int) { run_dots(dot, isa, 4 * probe_iterations); }));
    };
}

std::function<void()> run_of(const BenchSetup& setup, Contender& other) {
    return [&other, placement = setup.placement] {
        if (placement) placement->follow_caller();
        other.run();
    };
}

double probe_gflops(const BenchSetup& setup, Dot dot, Isa isa, double seconds) {
    const double burst = dot_ops_per_iteration(dot, isa) * static_cast<double>(probe_iterations);
    return (setup.pool ? 4 * burst * setup.settings.threads : burst) / seconds * 1e-9;
}

PhaseResult phase_result(const Phase& phase, const std::vector<Series>& series, const Field& field,
                         std::size_t first_other) {
    PhaseResult result;
    result.rounds = phase.count;
    const Series ours = during(phase, series[0]);
    for (const auto& other : field.others)
        result.ratios.push_back(other ? ratio(during(phase, series[first_other++]), ours) : Ratio{});
    return result;
}

void add_phases(const BenchSetup& setup, Dot dot, Isa isa, const std::vector<Series>& series,
                const Field& field, std::size_t first_other, LayerResult& layer) {
    const std::vector<Phase> phases = split_phases(series[1]);
    for (const Phase& phase : phases) {
        layer.phases.push_back(phase_result(phase, series, field, first_other));
        layer.phases.back().peak_gflops = probe_gflops(setup, dot, isa, phase.seconds);
        if (phases.size() > 1) layer.phases.back().name = &phase == &phases.front() ? "fast" : "slow";
    }
}

Status measure(const BenchSetup& setup, double seconds, const Kernel& kernel, Field& field,
               LayerResult& layer) {
    InterleaveOptions timing;
    timing.seconds = seconds;
    if (setup.pool) {
        timing.sample_seconds = sample_seconds_many;
        timing.idle_seconds = idle_seconds_many;
        timing.whole_process = true;
    }
    std::optional<ColdCaches> caches;
    Status evicted;
    if (setup.cold) {
        caches.emplace(setup.settings.machine.caches.l2, setup.pool);
        timing.before_call = [&] {
            if (Status status = caches->evict(); !status) evicted = status;
        };
    }
    const Isa isa = kernel.plan().isa;
    const Dot dot = main_dot(field.workload->problem, kernel.plan());
    std::vector<std::function<void()>> functions{[&] { field.ours->run(); }, probe(setup, dot, isa)};
    if (dot != Dot::f32) functions.push_back(probe(setup, Dot::f32, isa));
    const std::size_t first_other = functions.size();
    for (const auto& other : field.others)
        if (other) functions.push_back(run_of(setup, *other));
    std::vector<Series> series = interleave(functions, timing);
    if (!evicted) return evicted;
    for (const Series& one : series)
        layer.dropped += one.dropped;
    layer.peak_of = dot_instruction(dot);
    layer.peak_gflops = probe_gflops(setup, dot, isa, series[1].median);
    layer.fma_gflops =
        dot != Dot::f32 ? probe_gflops(setup, Dot::f32, isa, series[2].median) : layer.peak_gflops;
    add_phases(setup, dot, isa, series, field, first_other, layer);
    std::size_t next = first_other;
    for (std::size_t i = 0; i < field.others.size(); ++i) {
        if (!field.others[i]) continue;
        layer.others[i].ratio = ratio(series[next], series[0]);
        layer.others[i].series = std::move(series[next++]);
    }
    layer.ours = std::move(series[0]);
    return {};
}

bool uses_onednn(const std::vector<std::string>& against) {
    return std::ranges::any_of(against, [](const std::string& name) { return name.starts_with("onednn"); });
}

/// oneDNN is limited to an ISA once, for the run: a text that names another cannot be compared.
Result<Request> read_layer(const BenchReport& report, const Item& item) {
    const Settings& run = report.setup.settings;
    Result<Request> request = read_request(item, run);
    if (!request || !uses_onednn(report.against)) return request;
    const Isa of_run = least_isa(request->settings.dtype, request->settings.math, run.offered);
    if (request->settings.isa() == of_run) return request;
    return Error{ErrorCode::invalid_argument,
                 fmt::format("The text's ISA is {}, while oneDNN has one for the run, here {}; texts of one "
                             "ISA are accepted, or --against without oneDNN.",
                             to_string(request->settings.isa()), to_string(of_run))};
}

LayerResult bench_layer(const BenchReport& report, double seconds, const Item& item) {
    LayerResult layer;
    layer.item = item;
    layer.settings = report.setup.settings;
    const Result<Request> request = read_layer(report, item);
    BenchSetup setup = report.setup;
    if (request) layer.settings = setup.settings = request->settings;
    Result<Field> field =
        request ? prepare(setup, report.against, request->chain, layer) : Result<Field>(request.error());
    if (!field) {
        layer.error = field.error().message;
        return layer;
    }
    const Result<Kernel> kernel = setup.context->dispatch(request->chain, setup.settings.dispatch());
    if (!kernel) {
        layer.error = kernel.error().message;
        return layer;
    }
    layer.kernel = kernel->name();
    layer.fused = kernel->fused();
    const Problem& problem = field->workload->problem;
    layer.flops = problem.flops();
    layer.fused_intensity = intensity(problem, false);
    layer.separate_intensity = intensity(problem, true);
    if (setup.placement) setup.placement->find_threads();
    if (const Status status = measure(setup, seconds, *kernel, *field, layer); !status)
        layer.error = status.error().message;
    return layer;
}

Status write_reports(const BenchReport& report, const BenchOptions& options) {
    if (!options.json.empty())
        if (Status status = write_output({"--json", options.json}, to_json(report).dump(2) + "\n"); !status)
            return status;
    if (!options.csv.empty())
        if (Status status = write_output({"--csv", options.csv}, to_csv(report)); !status) return status;
    if (!options.plot.empty()) return draw_plot(report, measure_roofs(report.setup), options.plot);
    return {};
}

int run_layers(const BenchOptions& options, BenchReport& report, const std::vector<Item>& items) {
    if (options.sequence) return run_sequence_bench(report.setup, items, options.seconds, options.json);
    print_header(report);
    bool failed = false;
    for (const Item& item : items) {
        report.layers.push_back(bench_layer(report, options.seconds, item));
        failed |= !report.layers.back().error.empty();
        print_layer(report.layers.back());
    }
    print_summary(report);
    if (const Status status = write_reports(report, options); !status)
        return complain(status.error().message, exit_failed);
    return failed ? exit_failed : exit_ok;
}

/// Those that this build has; says which it has not.
std::vector<std::string> available(const std::vector<std::string>& names) {
    std::vector<std::string> found;
    for (const std::string& name : names) {
        const Status status = contender_available(name);
        if (status)
            found.push_back(name);
        else
            fmt::print("# {}\n", status.error().message);
    }
    return found;
}

int run_report(const BenchOptions& options, const Settings& settings, const std::vector<std::string>& against,
               const std::vector<Item>& items) {
    BenchReport report;
    report.against = available(against);
    report.setup.settings = settings;
    report.setup.cold = options.cold;
    report.setup.alignment = *read_alignment(options.align);
    report.setup.onednn_auto = options.onednn_algorithm == "auto";
    Context context;
    report.setup.context = &context;
    if (settings.threads == 1) return run_layers(options, report, items);
    PoolOptions pool_options;
    pool_options.threads = settings.threads;
    Result<ThreadPool> pool = ThreadPool::create(pool_options);
    if (!pool) return complain(pool.error().message, exit_failed);
    if (const Status status = pool->parallel([](int) {}); !status)
        return complain(status.error().message, exit_failed);
    Result<ThreadPlacement> placement = ThreadPlacement::create(settings.threads);
    if (!placement) return complain(placement.error().message, exit_failed);
    report.setup.pool = &*pool;
    report.setup.placement = &*placement;
    return run_layers(options, report, items);
}

int run_bench(const BenchOptions& options, char** argv) {
    const Result<Settings> settings = resolve(options.common);
    if (!settings) return complain(settings.error().message, exit_usage);
    const Result<std::vector<Item>> items = read_items(options.source);
    if (!items) return complain(items.error().message, exit_usage);
    const Status writable =
        check_outputs({{"--json", options.json}, {"--csv", options.csv}, {"--plot", options.plot}},
                      {{"--file", options.source.file}});
    if (!writable) return complain(writable.error().message, exit_failed);
    if (options.dispatch) return run_dispatch_bench(*settings, *items, options.json);
    Result<std::vector<std::string>> against = read_against(options.against);
    if (!against) return complain(against.error().message, exit_usage);
    if (options.onednn_algorithm != "direct" && options.onednn_algorithm != "auto")
        return complain(
            fmt::format("--onednn-algorithm is '{}'; accepted: direct, auto.", options.onednn_algorithm),
            exit_usage);
    if (const Result<Alignment> alignment = read_alignment(options.align); !alignment)
        return complain(alignment.error().message, exit_usage);
    if (!options.plot.empty()) {
        if (const Status status = check_plot(options.plot); !status)
            return complain(status.error().message,
                            status.error().code == ErrorCode::invalid_argument ? exit_usage : exit_failed);
        if (std::find(against->begin(), against->end(), "separate") == against->end())
            against->push_back("separate");  // the roofline shows both
    }
    const Settings common = common_settings(*items, *settings);
    if (uses_onednn(*against)) {
        if (const Status status = set_openmp_environment(settings->threads, argv); !status)
            return complain(status.error().message, exit_failed);
        // Left alone where Tandem generates for everything that this machine has: oneDNN may know more.
        if (common.isa() != host_isas(common.dtype).back())
            if (const Status status = limit_onednn(common.isa()); !status)
                return complain(status.error().message, exit_failed);
    }
    return run_report(options, common, *against, *items);
}

}  // namespace

void add_bench(CLI::App& app, char** argv, int& exit_code) {
    CLI::App* const command = app.add_subcommand(
        "bench", "Time kernels against oneDNN's, LIBXSMM's or separate ones, interleaved in one process");
    const auto options = std::make_shared<BenchOptions>();
    add_problem_source(*command, options->source);
    add_common_options(*command, options->common);
    add_seconds_option(*command, options->seconds, "To spend on each layer, all contenders together");
    command->add_option("--against", options->against,
                        "Comma-separated, a column each: onednn (a primitive for each convolution, direct), "
                        "onednn-auto (the same, Winograd where oneDNN "
                        "thinks it faster), libxsmm (Tandem's plan with LIBXSMM's GEMMs), separate (Tandem's "
                        "own kernels, one for each convolution); default: onednn");
    command
        ->add_option("--onednn-algorithm", options->onednn_algorithm,
                     "Of contender onednn: direct, or auto: what onednn-auto does")
        ->capture_default_str();
    add_file_option(*command, "--json", options->json, "File for every number, as JSON");
    add_file_option(*command, "--csv", options->csv, "File for a table, one line a layer");
    add_file_option(*command, "--plot", options->plot,
                    "File (.svg or .png) for a roofline and a chart of the ratios; needs gnuplot, adds "
                    "contender separate");
    command
        ->add_option(
            "--align", options->align,
            "Where Tandem's tensors begin: line (64 bytes behind a page, as malloc() has it), page, or "
            "staggered (each elsewhere behind a page)")
        ->capture_default_str();
    command->add_flag("--cold", options->cold,
                      "Empty L1 and L2 before each call, so that tensors and weights come from L3 or memory, "
                      "as in a network");
    command
        ->add_flag("--dispatch", options->dispatch,
                   "Time emission and warm dispatch instead of running kernels")
        ->excludes("--cold", "--plot", "--csv");
    command
        ->add_flag("--sequence", options->sequence,
                   "Time the layers one after the other, weights cold as in a network, without and with "
                   "Args::next; no contenders, no probe")
        ->excludes("--cold", "--dispatch", "--plot", "--csv", "--against");
    command->footer(
        "Ratios above 1: Tandem is faster. Exit code 1: a layer failed, or results differ.\n"
        "Example: tandem bench --suite paper-dw,vgg --layout blocked --against onednn,libxsmm,separate "
        "--plot bench.svg");
    command->callback([options, argv, &exit_code] { exit_code = run_bench(*options, argv); });
}

}  // namespace tandem::tool
