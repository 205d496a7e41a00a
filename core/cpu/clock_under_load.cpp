#include "core/cpu/clock_under_load.hpp"

#include <chrono>
#include <cstring>
#include <thread>

#include "core/cpu/instruction_timing.hpp"
#include "core/run/amx_permission.hpp"

namespace tandem {
namespace {

/// What keeps a core busy; null: adds.
struct Load {
    const char* name;
    const jit::InstructionForm* form;
};

std::vector<Load> loads_of(Isa isa) {
    std::vector<Load> loads{{"scalar", nullptr}, {"AVX2", jit::find_form("vfmadd231ps ymm, ymm, ymm")}};
    if (is_avx512(isa)) loads.push_back({"AVX-512", jit::find_form("vfmadd231ps zmm, zmm, zmm")});
    if (isa.has(IsaFeature::amx_bf16) && request_amx())
        loads.push_back({"AMX", jit::find_form("tdpbf16ps tmm, tmm, tmm")});
    return loads;
}

Result<CpuProbe> load_probe(const jit::InstructionForm* form, Isa isa) {
    Result<jit::ProbeLoop> loop = form ? jit::throughput_loop(*form, isa) : jit::add_chain_loop();
    if (!loop) return loop.error();
    Result<ProbeMemory> memory = ProbeMemory::create(jit::probe_memory_bytes);
    if (!memory) return memory.error();
    memory->fill(0x3ebd3ebd);
    const auto kept = std::make_shared<const ProbeMemory>(std::move(*memory));
    CpuProbe probe = probe_of(std::move(*loop), *kept);
    probe.run = [kept, run = std::move(probe.run)](std::int64_t iterations) {
        run(iterations);
    };
    return probe;
}

// From registers, in the order of the table.
std::vector<const jit::InstructionForm*> multiplying_forms(Isa isa) {
    std::vector<const jit::InstructionForm*> forms;
    for (const jit::InstructionForm* const form : jit::instruction_forms(isa)) {
        const std::string mnemonic = form->mnemonic;
        const bool twin = mnemonic == "vfmadd213ps" || mnemonic == "vfnmadd231ps" || mnemonic == "vpmaddwd";
        const bool allowed = !has_amx(form->needs) || request_amx().ok();
        if (operations_of(*form) > 0 && !form->reads_memory() && !twin && allowed) forms.push_back(form);
    }
    return forms;
}

/// Looks at the clock after each bite, at times further and further apart.
std::vector<Reading> follow_clock(const Load& load, const CpuProbe& probe, const CycleClock& clock,
                                  double seconds) {
    constexpr double first_look = 0.2e-3, spacing = 1.15;
    std::vector<Reading> readings;
    std::int64_t bite = 1;
    const double start = now_seconds();
    double since = 0;
    std::vector<double> seen;
    for (double look = first_look; since < seconds;) {
        const double before = now_seconds();
        probe.run(bite);
        const double now = now_seconds();
        if (now - before < first_look / 8) bite *= 2;
        since = now - start;
        seen.push_back(1e-9 / clock.cycle_seconds());
        if (since < look) continue;
        Figure figure = exact_figure(quantile(seen, 0.5));
        figure.low = quantile(seen, 0.25), figure.high = quantile(seen, 0.75);
        figure.rounds = static_cast<int>(seen.size());
        readings.push_back({load.name, since * 1e3, 1, figure});
        seen.clear();
        look = since * spacing;
    }
    return readings;
}

}  // namespace

Result<ReportTable> time_clock(Isa isa, std::span<const int> cpus, std::span<const int> counts,
                               const CycleClock& clock, double seconds_each) {
    ReportTable table{"clock", "GHz", "", {}};
    for (const Load& load : loads_of(isa)) {
        for (const int count : counts) {
            const auto make = [&](int) {
                return load_probe(load.form, isa);
            };
            const Result<LoadFigures> figures =
                run_load(cpus.first(static_cast<std::size_t>(count)), make, clock, seconds_each);
            if (!figures) return figures.error();
            table.readings.push_back({load.name, 0, count, figures->ghz});
        }
    }
    return table;
}

Result<ReportTable> time_first_seconds(Isa isa, const CycleClock& clock, double seconds) {
    constexpr auto pause = std::chrono::milliseconds(200);
    ReportTable table{"timeline", "GHz", "ms", {}};
    for (const Load& load : loads_of(isa)) {
        const Result<CpuProbe> probe = load_probe(load.form, isa);
        if (!probe) return probe.error();
        std::this_thread::sleep_for(pause);
        for (Reading& reading : follow_clock(load, *probe, clock, seconds))
            table.readings.push_back(std::move(reading));
    }
    return table;
}

Result<ReportTable> time_peaks(Isa isa, std::span<const int> cpus, std::span<const int> counts,
                               const CycleClock& clock, double seconds_each) {
    ReportTable table{"peaks", "GFLOP/s or GOP/s", "", {}};
    for (const jit::InstructionForm* const form : multiplying_forms(isa)) {
        for (const int count : counts) {
            const auto make = [&](int) {
                return load_probe(form, isa);
            };
            const Result<LoadFigures> figures =
                run_load(cpus.first(static_cast<std::size_t>(count)), make, clock, seconds_each);
            if (!figures) return figures.error();
            table.readings.push_back(
                {form->name(), 0, count, scaled(figures->rate, operations_of(*form) * 1e-9)});
        }
    }
    return table;
}

}  // namespace tandem
