// tandem cpu: measures this CPU; tandem machine: the short form of the same.
#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "core/cpu/measure_cpu.hpp"
#include "core/cpu/report_json.hpp"
#include "core/run/host_profile.hpp"
#include "core/run/machine_json.hpp"
#include "core/run/profile_measurement.hpp"
#include "core/run/topology.hpp"
#include "core/run/whole_file.hpp"
#include "tools/bench_report.hpp"
#include "tools/commands.hpp"
#include "tools/cpu_compare.hpp"
#include "tools/cpu_html.hpp"
#include "tools/cpu_layers.hpp"
#include "tools/cpu_text.hpp"
#include "tools/files.hpp"
#include "tools/options.hpp"
#include "tools/progress_bar.hpp"

namespace tandem::tool {

namespace {

// Of the progress bar, what the layers take in a full run.
constexpr double layers_share = 0.1, layer_seconds = 0.06;

constexpr double profile_share = 0.25;  // of a full run
// Over the planner's kernels, some five seconds each: at least twice in a full run.
constexpr int profile_passes = 7;
constexpr std::size_t most_profiles = 4;
constexpr double agreement = 0.05;  // of two profiles: the machine was quiet

struct Profiled {
    MeasuredRates rates{};
    double difference = 0;  // between two measurements; 0: there was one
};

struct CpuCommand {
    CommonOptions common{};
    std::string json{}, html{}, from{};
    std::vector<std::string> compare{};
    bool quick = false;
    int threads = 0;
};

Result<MeasuredMachine> read_measured(const std::string& path) {
    const Result<std::string> text = read_file(path);
    return text ? measured_machine_from_text(*text, path) : text.error();
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

/// The median over dense blocks of how much longer one of two measurements has them take.
double disagreement(const MeasuredRates& a, const MeasuredRates& b) {
    std::vector<double> ratios;
    for (const auto width : {&MeasuredRates::ymm, &MeasuredRates::zmm}) {
        const auto &one = a.*width, &other = b.*width;
        for (std::size_t i = 0; one && other && i < std::min(one->dense.size(), other->dense.size()); ++i)
            ratios.push_back(std::abs(one->dense[i].step / other->dense[i].step - 1));
    }
    return quantile(std::move(ratios), 0.5);
}

/// ns of a step of every dense block.
double all_steps(const MeasuredRates& rates) {
    double sum = 0;
    for (const DenseBodyRate& body : (rates.zmm ? *rates.zmm : *rates.ymm).dense)
        sum += body.step;
    return sum;
}

/// Full: again and again until the two fastest agree, as others only ever add; how far they do is told.
Profiled profile_of(const Machine& machine, CpuEffort effort) {
    if (effort != CpuEffort::full) return {measure_machine(machine, 1), 0};
    std::vector<MeasuredRates> all;
    double difference = 1;
    while (all.size() < most_profiles && difference > agreement) {
        all.push_back(measure_machine(machine, profile_passes, Widths::all));
        std::ranges::sort(all, {}, all_steps);
        if (all.size() > 1) difference = disagreement(all[0], all[1]);
    }
    return {std::move(all.front()), difference};
}

Result<MeasuredMachine> measure(const Machine& machine, CpuEffort effort, int threads, double& difference) {
    ProgressBar bar;
    const bool full = effort == CpuEffort::full;
    const double first = full ? 1 - layers_share - profile_share : 1, start = now_seconds();
    CpuOptions options;
    options.effort = effort;
    options.threads = threads;
    options.progress = [&](double fraction, const std::string& what) {
        bar.show(fraction * first, what);
    };
    Result<CpuReport> report = measure_cpu(machine, options);
    if (!report) return report.error();
    MeasuredMachine measured{machine, std::move(*report)};
    if (effort == CpuEffort::brief) return measured;
    bar.show(first, "the planner's profile");
    Profiled profiled = profile_of(machine, effort);
    difference = profiled.difference;
    measured.machine.measured = std::make_shared<const MeasuredRates>(std::move(profiled.rates));
    if (full) {
        Result<ReportTable> layers = time_layers(measured.machine, layer_seconds, [&](double fraction) {
            bar.show(1 - layers_share * (1 - fraction), "layers");
        });
        if (!layers) return layers.error();
        measured.report.tables.push_back(std::move(*layers));
    }
    measured.report.seconds = now_seconds() - start;
    return measured;
}

/// A profile without a report has its plans compared, and no figures.
Result<MeasuredMachine> read_any(const std::string& path) {
    const Result<std::string> text = read_file(path);
    if (!text) return text.error();
    Result<Machine> machine = machine_from_text(*text, path);
    if (!machine) return machine.error();
    if (parse_json(*text, path)->contains("report")) return measured_machine_from_text(*text, path);
    return MeasuredMachine{std::move(*machine), {}};
}

/// The same, planning for --isa where that is given.
Result<MeasuredMachine> read_for_isa(const std::string& path, const std::string& isa_text) {
    Result<MeasuredMachine> measured = read_any(path);
    if (!measured || isa_text.empty()) return measured;
    const Result<Isa> isa = parse_isa(isa_text);
    if (!isa) return Error{isa.error().code, "--isa: " + isa.error().message};
    Machine& machine = measured->machine;
    if (!machine.features.includes(*isa))
        return Error{ErrorCode::unsupported,
                     fmt::format("--isa is '{}', which the machine of {} does not offer; it has {}.",
                                 isa_text, path, to_string(machine.features))};
    machine.isa = *isa;
    return measured;
}

int run_compare(const CpuCommand& options) {
    const std::string& isa = options.common.isa;
    const Result<MeasuredMachine> a = read_for_isa(options.compare[0], isa),
                                  b = read_for_isa(options.compare[1], isa);
    for (const Result<MeasuredMachine>* const machine : {&a, &b})
        if (!*machine) return complain("--compare: " + machine->error().message, exit_failed);
    const Result<std::string> text = compare_machines(*a, *b);
    if (!text) return complain(text.error().message, exit_failed);
    fmt::print("{}", *text);
    return exit_ok;
}

/// For the plans of this user's programs from now on. Not being able to is no failure of the measurement.
std::string save_profile(const Machine& machine, double difference) {
    const std::string path = saved_profile_path(machine);
    if (path.empty())
        return "profile     not kept for plans: there is no cache directory, or TANDEM_MACHINE is empty\n";
    if (difference > agreement)
        return fmt::format(
            "profile     not kept for plans: its best measurements differ by {:.0f} %, the machine "
            "is busy\n",
            difference * 100);
    std::error_code ignored;  // saving says it, too
    std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
    const Status saved = save_machine(path, machine);
    if (!saved) return fmt::format("profile     not kept for plans: {}\n", saved.error().message);
    const char* const named = std::getenv("TANDEM_MACHINE");
    return fmt::format("profile     kept in {}; plans on this machine go by {}\n", path,
                       named ? "the file that TANDEM_MACHINE names" : "it from now on");
}

int show_measured(const CpuCommand& options, const MeasuredMachine& found, const std::string& placement) {
    const std::string text = identity_text(found.machine, found.report, placement) +
                             peaks_text(found.machine, found.report) + details_text(found.report);
    if (!options.json.empty())
        if (const Status saved =
                write_output({"--json", options.json}, measured_machine_to_text(found.machine, found.report));
            !saved)
            return complain(saved.error().message, exit_failed);
    if (!options.html.empty())
        if (const Status saved =
                write_output({"--html", options.html}, cpu_page(found.machine, found.report, text));
            !saved)
            return complain(saved.error().message, exit_failed);
    fmt::print("{}", text);
    return exit_ok;
}

/// The host as it is, whatever TANDEM_MACHINE says of it.
Result<Machine> bare_host(const CpuCommand& options) {
    if (options.common.isa.empty()) return host_machine();
    const Result<Isa> isa = parse_isa(options.common.isa);
    if (!isa) return Error{isa.error().code, "--isa: " + isa.error().message};
    return host_machine(*isa);
}

int run_cpu(const CpuCommand& options) {
    if (!options.compare.empty()) return run_compare(options);
    const Status writable =
        check_outputs({{"--json", options.json}, {"--html", options.html}}, {{"--from", options.from}});
    if (!writable) return complain(writable.error().message, exit_failed);
    if (!options.from.empty()) {
        const Result<MeasuredMachine> found = read_measured(options.from);
        return found ? show_measured(options, *found, "") : complain(found.error().message, exit_failed);
    }
    const Result<Machine> host = bare_host(options);
    if (!host) return complain(host.error().message, exit_usage);
    double difference = 0;
    const Result<MeasuredMachine> found =
        measure(*host, options.quick ? CpuEffort::quick : CpuEffort::full, options.threads, difference);
    if (!found) return complain(found.error().message, exit_failed);
    const int code = show_measured(options, *found, placement_text(options.threads));
    if (code == exit_ok && !options.quick) fmt::print("{}", save_profile(found->machine, difference));
    return code;
}

int run_machine(const CpuCommand& options) {
    const Result<Machine> machine = bare_host(options);
    if (!machine) return complain(machine.error().message, exit_usage);
    if (!options.json.empty()) {
        const Result<Machine> known = profiled_machine(machine->isa);  // with the rates that plans here go by
        if (!known) return complain(known.error().message, exit_usage);
        if (const Status saved = write_output({"--json", options.json}, machine_to_text(*known)); !saved)
            return complain(saved.error().message, exit_failed);
    }
    double difference = 0;
    const Result<MeasuredMachine> found = measure(*machine, CpuEffort::brief, 0, difference);
    if (!found) return complain(found.error().message, exit_failed);
    fmt::print("{}{}", identity_text(found->machine, found->report, placement_text(0)),
               peaks_text(found->machine, found->report));
    return exit_ok;
}

}  // namespace

void add_cpu(CLI::App& app, int& exit_code) {
    CLI::App* const command = app.add_subcommand("cpu",
                                                 "Measure this CPU: instructions, clock, memory, cores, and "
                                                 "what Tandem makes of them; below a minute");
    command->footer("Example: tandem cpu --json here.json --html here.html");
    const auto options = std::make_shared<CpuCommand>();
    command->add_option(
        "--isa", options->common.isa,
        "Instruction set to measure with (default: TANDEM_ISA, else the best here); with --compare: "
        "to plan for (default: the best of each)");
    command->add_option("--threads", options->threads, "Most threads to measure with (0: one a core)")
        ->check(CLI::Range(0, 1024))
        ->capture_default_str();
    command->add_flag("--quick", options->quick,
                      "What the planner needs, and peaks of one thread: about a second, not kept");
    add_file_option(*command, "--json", options->json,
                    "File for every figure with its spread, and for the machine, as --machine reads it");
    add_file_option(*command, "--html", options->html,
                    "File for one page with plots, which needs nothing else");
    add_file_option(*command, "--from", options->from,
                    "Measure nothing: show what such a file of --json has");
    add_file_option(*command, "--compare", options->compare,
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
    add_file_option(*command, "--json", options->json,
                    "File to describe the machine in, for --machine of plan, dump and explain");
    command->callback([options, &exit_code] { exit_code = run_machine(*options); });
}

}  // namespace tandem::tool
