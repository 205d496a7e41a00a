// tandem cpu: measures this CPU; tandem machine: the short form of the same.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include "core/cpu/measure_cpu.hpp"
#include "core/cpu/report_json.hpp"
#include "core/run/host_profile.hpp"
#include "core/run/machine_json.hpp"
#include "core/run/profile_measurement.hpp"
#include "core/run/topology.hpp"
#include "tools/bench_report.hpp"
#include "tools/commands.hpp"
#include "tools/cpu_compare.hpp"
#include "tools/cpu_html.hpp"
#include "tools/cpu_layers.hpp"
#include "tools/cpu_text.hpp"
#include "tools/options.hpp"
#include "tools/progress_bar.hpp"

namespace tandem::tool {

namespace {

// Of the progress bar, what the layers take in a full run.
constexpr double layers_share = 0.1, layer_seconds = 0.06;

// Over the planner's kernels in a full run, some ten seconds: what others do meanwhile spoils few of them
// all.
constexpr int profile_passes = 15;

struct CpuCommand {
    CommonOptions common{};
    std::string json{}, html{}, from{};
    std::vector<std::string> compare{};
    bool quick = false;
    int threads = 0;
};

Result<MeasuredMachine> read_measured(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return Error{ErrorCode::system, path + " cannot be read."};
    std::ostringstream text;
    text << file.rdbuf();
    return measured_machine_from_text(text.str(), path);
}

std::string placement_text(int threads) {
    const Result<Topology> topology = load_topology();
    if (!topology) return fmt::format("pool        unknown: {}\n", topology.error().message);
    const Placement placement = place_on_host(topology->get(), threads);
    std::string text =
        fmt::format("pool        {} workers: {}\n", placement.workers.size(), placement.explanation);
    constexpr std::size_t most = 16;
    for (std::size_t i = 0; i < std::min(most, placement.workers.size()); ++i) {
        const Worker& worker = placement.workers[i];
        text += fmt::format("  worker {}  core {}, CPU {}, NUMA node {}\n", i, worker.core_index,
                            worker.cpuset ? hwloc_bitmap_first(worker.cpuset.get()) : -1, worker.numa_node);
    }
    if (placement.workers.size() > most)
        text += fmt::format("  and {} more\n", placement.workers.size() - most);
    return text;
}

Result<CpuReport> measure(const Machine& machine, CpuEffort effort, int threads) {
    ProgressBar bar;
    const bool full = effort == CpuEffort::full;
    const double first = full ? 1 - layers_share : 1, start = now_seconds();
    CpuOptions options;
    options.effort = effort;
    options.threads = threads;
    options.progress = [&](double fraction, const std::string& what) {
        bar.show(fraction * first, what);
    };
    Result<CpuReport> report = measure_cpu(machine, options);
    if (!report || !full) return report;
    Result<ReportTable> layers = time_layers(machine, layer_seconds, [&](double fraction) {
        bar.show(first + fraction * layers_share, "layers");
    });
    if (!layers) return layers.error();
    report->tables.push_back(std::move(*layers));
    report->seconds = now_seconds() - start;
    return report;
}

/// A profile without a report has its plans compared, and no figures.
Result<MeasuredMachine> read_any(const std::string& path) {
    Result<Machine> machine = read_machine(path);
    if (!machine) return machine.error();
    Result<MeasuredMachine> measured = read_measured(path);
    return measured ? std::move(measured) : MeasuredMachine{std::move(*machine), {}};
}

int run_compare(const CpuCommand& options) {
    const Result<MeasuredMachine> a = read_any(options.compare[0]), b = read_any(options.compare[1]);
    for (const Result<MeasuredMachine>* const machine : {&a, &b})
        if (!*machine) return complain("--compare: " + machine->error().message, exit_failed);
    const Result<std::string> text = compare_machines(*a, *b);
    if (!text) return complain(text.error().message, exit_failed);
    fmt::print("{}", *text);
    return exit_ok;
}

/// For the plans of this user's programs from now on. Not being able to is no failure of the measurement.
std::string save_profile(const Machine& machine) {
    const std::string path = saved_profile_path(machine);
    if (path.empty()) return "Not kept for plans: there is no cache directory, or TANDEM_MACHINE is empty.\n";
    std::error_code error;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
    const Status saved = save_machine(path, machine);
    return saved ? fmt::format("Plans on this machine go by it from now on: {}\n", path)
                 : fmt::format("Not kept for plans: {}\n", saved.error().message);
}

/// What is measured here, or was in a file.
Result<MeasuredMachine> measured(const CpuCommand& options, const Machine& host, CpuEffort effort) {
    if (!options.from.empty()) return read_measured(options.from);
    Result<CpuReport> report = measure(host, effort, options.threads);
    if (!report) return report.error();
    Machine machine = host;
    machine.measured = std::make_shared<const MeasuredRates>(
        effort == CpuEffort::full ? measure_machine(machine, profile_passes, Widths::all)
                                  : measure_machine(machine, 1));
    return MeasuredMachine{std::move(machine), std::move(*report)};
}

int run_cpu(const CpuCommand& options) {
    if (!options.compare.empty()) return run_compare(options);
    const Result<Machine> host = chosen_machine(options.common);
    if (!host) return complain(host.error().message, exit_usage);
    const Result<MeasuredMachine> found =
        measured(options, *host, options.quick ? CpuEffort::quick : CpuEffort::full);
    if (!found) return complain(found.error().message, exit_failed);
    const std::string text = identity_text(found->machine, found->report,
                                           options.from.empty() ? placement_text(options.threads) : "") +
                             peaks_text(found->machine, found->report) + details_text(found->report);
    if (!options.json.empty())
        if (const Status saved =
                write_file("--json", options.json, measured_machine_to_text(found->machine, found->report));
            !saved)
            return complain(saved.error().message, exit_failed);
    if (!options.html.empty())
        if (const Status saved =
                write_file("--html", options.html, cpu_page(found->machine, found->report, text));
            !saved)
            return complain(saved.error().message, exit_failed);
    fmt::print("{}", text);
    if (options.from.empty() && !options.quick) fmt::print("{}", save_profile(found->machine));
    return exit_ok;
}

int run_machine(const CpuCommand& options) {
    const Result<Machine> machine = chosen_machine(options.common);
    if (!machine) return complain(machine.error().message, exit_usage);
    if (!options.json.empty())
        if (const Status saved = save_machine(options.json, *machine); !saved)
            return complain("--json: " + saved.error().message, exit_failed);
    const Result<CpuReport> report = measure(*machine, CpuEffort::brief, 0);
    if (!report) return complain(report.error().message, exit_failed);
    fmt::print("{}{}", identity_text(*machine, *report, placement_text(0)), peaks_text(*machine, *report));
    return exit_ok;
}

}  // namespace

void add_cpu(CLI::App& app, int& exit_code) {
    CLI::App* const command = app.add_subcommand("cpu",
                                                 "Measure this CPU: instructions, clock, memory, cores, and "
                                                 "what Tandem makes of them; below a minute");
    command->footer("Example: tandem cpu --json here.json --html here.html");
    const auto options = std::make_shared<CpuCommand>();
    command->add_option("--isa", options->common.isa,
                        "Instruction set to measure with (default: TANDEM_ISA, else the best here)");
    command->add_option("--threads", options->threads, "Most threads to measure with (0: one a core)")
        ->check(CLI::Range(0, 1024))
        ->capture_default_str();
    command->add_flag("--quick", options->quick,
                      "What the planner needs, and peaks of one thread: about a second, not kept");
    command->add_option("--json", options->json,
                        "File for every figure with its spread, and for the machine, as --machine reads it");
    command->add_option("--html", options->html, "File for one page with plots, which needs nothing else");
    command->add_option("--from", options->from, "Measure nothing: show what such a file of --json has");
    command
        ->add_option("--compare", options->compare,
                     "Two files of --json: print the figures that differ, and the layers of suite paper "
                     "whose plans do")
        ->expected(2);
    command->callback([options, &exit_code] { exit_code = run_cpu(*options); });
}

void add_machine(CLI::App& app, int& exit_code) {
    CLI::App* const command =
        app.add_subcommand("machine", "Describe this machine and measure its peaks: the short form of cpu");
    command->footer("Example: tandem machine --isa avx2");
    const auto options = std::make_shared<CpuCommand>();
    command->add_option("--isa", options->common.isa,
                        "Instruction set to measure with (default: TANDEM_ISA, else the best here)");
    command->add_option("--json", options->json,
                        "File to describe the machine in, for --machine of plan, dump and explain");
    command->callback([options, &exit_code] { exit_code = run_machine(*options); });
}

}  // namespace tandem::tool
