// tandem machine: what Tandem sees of this machine, and what the machine can do at best right now.
#include <fmt/format.h>
#include <sched.h>

#include <memory>

#include "core/plan/arithmetic.hpp"
#include "core/plan/isa_text.hpp"
#include "core/run/amx_permission.hpp"
#include "core/run/machine_json.hpp"
#include "core/run/probes.hpp"
#include "core/run/topology.hpp"
#include "tools/commands.hpp"
#include "tools/options.hpp"

namespace tandem::tool {

namespace {

constexpr std::size_t dram_probe_factor = 4, largest_probe = std::size_t{1} << 29;

void print_placement() {
    const Result<Topology> topology = load_topology();
    if (!topology) {
        fmt::print("pool        unknown: {}\n", topology.error().message);
        return;
    }
    const Placement placement = place_on_host(topology->get(), 0);
    fmt::print("pool        {} workers: {}\n", placement.workers.size(), placement.explanation);
    for (std::size_t i = 0; i < placement.workers.size(); ++i) {
        const Worker& worker = placement.workers[i];
        fmt::print("  worker {}  core {}, CPU {}, NUMA node {}\n", i, worker.core_index,
                   worker.cpuset ? hwloc_bitmap_first(worker.cpuset.get()) : -1, worker.numa_node);
    }
    fmt::print(
        "            that is where they begin: by default the kernel may move them, but not to the "
        "core that the caller is on\n");
}

/// Of one thread, and of one a core.
void print_peak(Dot dot, Isa isa, ThreadPool* pool) {
    const double one = dot_peak_gflops(dot, isa);
    std::string text = fmt::format("{:<11} {:.1f} {}, one thread", dot == Dot::f32 ? "FMA peak" : "peak", one,
                                   sums_integers(dot) ? "GOP/s" : "GFLOP/s");
    if (pool) {
        const ParallelFor parallel = [&](const std::function<void(int)>& fn) {
            static_cast<void>(pool->parallel(fn));
        };
        text += fmt::format(", {:.1f} with {}", dot_peak_gflops(dot, isa, pool->threads(), parallel),
                            pool->threads());
    }
    fmt::print("{}; {}, {}\n", text, dot_instruction(dot), to_string(isa));
}

// Of every dot that the ISA has; x3 and x6 run the instruction of another.
void print_peaks(Isa isa) {
    Result<ThreadPool> pool = ThreadPool::create();
    for (const Dot dot : all_dots) {
        if (!has_dot(isa, dot) || dot_parts(dot) > 1) continue;
        if (const Status allowed = uses_amx(dot) ? request_amx() : Status(); !allowed)
            fmt::print("{:<11} unknown: {}; {}\n", "peak", allowed.error().message, dot_instruction(dot));
        else
            print_peak(dot, isa, pool && pool->threads() > 1 ? &*pool : nullptr);
    }
}

void print_speed(const Machine& machine) {
    const Isa isa = machine.isa;
    print_peaks(isa);
    const CacheSizes& caches = machine.caches;
    const std::size_t dram = std::min(largest_probe, std::max(caches.l3, caches.l2) * dram_probe_factor);
    const std::pair<const char*, std::size_t> probes[] = {{"L1", caches.l1 / 2},
                                                          {"L2", caches.l2 / 2},
                                                          {"L3", std::max(caches.l2 * 2, caches.l3 / 4)},
                                                          {"memory", dram}};
    for (const auto& [name, bytes] : probes)
        fmt::print("{:<11} {:.1f} GB/s, one thread reading {} KB\n", name, read_bandwidth(isa, bytes),
                   bytes / 1024);
}

struct MachineOptions {
    std::string isa, json;
};

int run_machine(const MachineOptions& options) {
    CommonOptions common;
    common.isa = options.isa;
    const Result<Machine> host = chosen_machine(common);
    if (!host) return complain(host.error().message, exit_usage);
    const Machine& machine = *host;
    if (!options.json.empty()) {
        if (const Status saved = save_machine(options.json, machine); !saved)
            return complain("--json: " + saved.error().message, exit_failed);
    }
    fmt::print("CPU         {}\n", machine.cpu_name);
    fmt::print("ISAs        {}; generating for {}\n", list_of(host_isas()), to_string(machine.isa));
    if (machine.fast_ymm) fmt::print("            a 256-bit FMA costs half a 512-bit one\n");
    if (machine.slow_bf16)
        fmt::print("            vdpbf16ps multiplies at half the rate of f32 FMAs, which are used instead\n");
    fmt::print("caches      L1d {} KB, L2 {} KB a core, L3 {} KB over {} cores\n", machine.caches.l1 / 1024,
               machine.caches.l2 / 1024, machine.caches.l3 / 1024, machine.caches.l3_cores);
    print_placement();
    print_speed(machine);
    return exit_ok;
}

}  // namespace

void add_machine(CLI::App& app, int& exit_code) {
    CLI::App* const command = app.add_subcommand("machine", "Describe this machine and measure its peaks");
    command->footer("Example: tandem machine --isa avx2");
    const auto options = std::make_shared<MachineOptions>();
    command->add_option("--isa", options->isa,
                        "Instruction set to measure with (default: TANDEM_ISA, else the best here)");
    command->add_option("--json", options->json,
                        "File to describe the machine in, for --machine of plan, dump and explain");
    command->callback([options, &exit_code] { exit_code = run_machine(*options); });
}

}  // namespace tandem::tool
