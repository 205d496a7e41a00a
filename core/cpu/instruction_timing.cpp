#include "core/cpu/instruction_timing.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/run/amx_permission.hpp"
#include "jit/memory_loop.hpp"

namespace tandem {
namespace {

using jit::FormChain, jit::FormWidth, jit::InstructionForm, jit::ProbeLoop;

constexpr std::uint32_t memory_numbers = 0x3ebd3ebd;
constexpr int largest_mix = 64;  // FMAs beside one instance

std::vector<const InstructionForm*> usable_forms(Isa isa) {
    std::vector<const InstructionForm*> forms = jit::instruction_forms(isa);
    if (has_amx(isa) && !request_amx())
        std::erase_if(forms, [](const InstructionForm* form) { return has_amx(form->needs); });
    return forms;
}

/// Probes under names, to become readings.
struct Battery {
    std::vector<std::string> names;
    std::vector<double> xs;
    std::vector<CpuProbe> probes;
    Status status;

    void add(std::string name, double x, Result<ProbeLoop> loop, const ProbeMemory& memory,
             std::size_t bytes = 0) {
        if (!loop) {
            status = loop.error();
            return;
        }
        names.push_back(std::move(name));
        xs.push_back(x);
        probes.push_back(probe_of(std::move(*loop), memory, bytes));
    }
    std::vector<Reading> cycles(const CycleClock& clock, const SampleOptions& options) const {
        std::vector<Reading> readings;
        const std::vector<ClockedSamples> samples = sample_in_turn(probes, clock, options);
        for (std::size_t i = 0; i < samples.size(); ++i)
            readings.push_back({names[i], xs[i], 1, samples[i].in_cycles()});
        return readings;
    }
};

Result<ProbeMemory> probe_memory() {
    Result<ProbeMemory> memory = ProbeMemory::create(jit::probe_memory_bytes);
    if (memory) memory->fill(memory_numbers);
    return memory;
}

const Reading* named(const std::vector<Reading>& readings, const std::string& name) {
    const auto found = std::ranges::find(readings, name, &Reading::name);
    return found == readings.end() ? nullptr : &*found;
}

std::string fma_beside(const InstructionForm& form) {
    return form.width == FormWidth::ymm ? "vfmadd231ps ymm, ymm, ymm" : "vfmadd231ps zmm, zmm, zmm";
}

/// How many FMAs take about as long as `forms` instances.
struct Mix {
    int forms = 1, fmas = 1;
};
Mix mix_for(double form_cycles, double fma_cycles) {
    const double ratio = form_cycles / fma_cycles;
    return {1, std::clamp(static_cast<int>(std::lround(ratio)), 1, largest_mix)};
}

/// What the group takes beyond the longer of its two parts, of the shorter one.
Figure share_of(const Figure& group, double forms_alone, double fmas_alone) {
    const double longer = std::max(forms_alone, fmas_alone), shorter = std::min(forms_alone, fmas_alone);
    const auto share = [&](double cycles) {
        return std::clamp((cycles - longer) / shorter, 0.0, 1.5);
    };
    return {share(group.median), share(group.low), share(group.high), group.rounds, group.doubt};
}

Result<ReportTable> time_beside_fmas(Isa isa, const std::vector<const InstructionForm*>& forms,
                                     const std::vector<Reading>& throughput, const CycleClock& clock,
                                     const SampleOptions& options) {
    const Result<ProbeMemory> memory = probe_memory();
    if (!memory) return memory.error();
    Battery battery;
    std::vector<std::pair<double, double>> alone;
    for (const InstructionForm* const form : forms) {
        const Reading* const fma = named(throughput, fma_beside(*form));
        const Reading* const own = named(throughput, form->name());
        const Mix mix = mix_for(own->figure.median, fma->figure.median);
        battery.add(form->name(), 0, jit::mixed_loop(*form, mix.forms, mix.fmas, isa), *memory);
        alone.emplace_back(own->figure.median * mix.forms, fma->figure.median * mix.fmas);
    }
    if (!battery.status) return battery.status.error();
    ReportTable table{"fma_share", "of its cycles", "", battery.cycles(clock, options)};
    for (std::size_t i = 0; i < table.readings.size(); ++i)
        table.readings[i].figure = share_of(table.readings[i].figure, alone[i].first, alone[i].second);
    return table;
}

}  // namespace

double operations_of(const InstructionForm& form) {
    const std::string name = form.mnemonic;
    const double bytes = form.width == FormWidth::zmm ? 64 : form.width == FormWidth::ymm ? 32 : 1024;
    const auto begins = [&](const char* text) {
        return name.starts_with(text);
    };
    if (form.width == FormWidth::tile) {
        const double pairs = begins("tdpbf16") || begins("tdpfp16") ? 2 : begins("tdpb") ? 4 : 0;
        return bytes / 4 * 16 * pairs * 2;
    }
    if ((begins("vfmadd") || begins("vfnmadd")) && name.ends_with("ps")) return bytes / 4 * 2;
    if (begins("vdpbf16ps") || begins("vfmadd231ph") || begins("vpmaddwd")) return bytes / 2 * 2;
    return begins("vpdpb") ? bytes * 2 : 0;
}

Result<InstructionTables> time_instructions(Isa isa, const CycleClock& clock, const SampleOptions& options) {
    const std::vector<const InstructionForm*> forms = usable_forms(isa);
    const Result<ProbeMemory> memory = probe_memory();
    if (!memory) return memory.error();
    Battery throughput, latency;
    for (const InstructionForm* const form : forms) {
        throughput.add(form->name(), 0, jit::throughput_loop(*form, isa), *memory);
        if (form->chain != FormChain::none)
            latency.add(form->name(), 0, jit::latency_loop(*form, isa), *memory);
    }
    for (const Battery* const battery : {&throughput, &latency})
        if (!battery->status) return battery->status.error();
    const auto part = [&](double from) {
        SampleOptions own = options;
        own.seconds = options.seconds / 3;
        if (options.progress)
            own.progress = [from, &options](double fraction) {
                options.progress(from + fraction / 3);
            };
        return own;
    };
    InstructionTables tables;
    tables.throughput = {"throughput", "cycles", "", throughput.cycles(clock, part(0))};
    tables.latency = {"latency", "cycles", "", latency.cycles(clock, part(1.0 / 3))};
    Result<ReportTable> beside =
        time_beside_fmas(isa, forms, tables.throughput.readings, clock, part(2.0 / 3));
    if (!beside) return beside.error();
    tables.fma_share = std::move(*beside);
    tables.operations = {"operations", "operations a cycle", "", {}};
    for (std::size_t i = 0; i < forms.size(); ++i)
        if (const double operations = operations_of(*forms[i]); operations > 0)
            tables.operations.readings.push_back(
                {forms[i]->name(), 0, 1, inverse(tables.throughput.readings[i].figure, operations)});
    return tables;
}

Result<std::vector<ReportTable>> time_code(Isa isa, const CycleClock& clock, const SampleOptions& options) {
    using jit::CheapInstruction;
    const Result<ProbeMemory> memory = probe_memory();
    if (!memory) return memory.error();
    Battery cheap, footprint;
    for (const auto one :
         {CheapInstruction::nop, CheapInstruction::move, CheapInstruction::lea, CheapInstruction::load})
        cheap.add(to_string(one), 0, jit::front_end_loop(one, isa), *memory);
    for (const std::size_t kb : {1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 64})
        footprint.add("FMAs", static_cast<double>(kb), jit::footprint_loop(kb * 1024, isa), *memory);
    std::vector<ReportTable> tables;
    for (const Battery* const battery : {&cheap, &footprint})
        if (!battery->status) return battery->status.error();
    tables.push_back({"front_end", "instructions a cycle", "", cheap.cycles(clock, options)});
    tables.push_back({"footprint", "FMAs a cycle", "KB of code", footprint.cycles(clock, options)});
    for (ReportTable& table : tables)
        for (Reading& reading : table.readings)
            reading.figure = inverse(std::move(reading.figure));
    return tables;
}

Result<ReportTable> time_accesses(Isa isa, const CycleClock& clock, const SampleOptions& options) {
    const Result<ProbeMemory> memory = probe_memory();
    if (!memory) return memory.error();
    Battery battery;
    for (int i = 0; i < jit::awkward_access_count; ++i) {
        const auto access = static_cast<jit::AwkwardAccess>(i);
        battery.add(to_string(access), 0, jit::awkward_loop(access, isa), *memory);
    }
    battery.add("multiplication r, r (3 nearly everywhere)", 0, jit::multiply_chain_loop(), *memory);
    if (has_amx(isa) && request_amx()) {
        battery.add("ldtilecfg + tilerelease", 0, jit::tile_configuration_loop(isa), *memory);
        battery.add("tilestored, vector load and store, tileloadd", 0, jit::tile_round_trip_loop(isa),
                    *memory);
    }
    if (!battery.status) return battery.status.error();
    return ReportTable{"accesses", "cycles", "", battery.cycles(clock, options)};
}

}  // namespace tandem
