#include "core/cpu/measure_cpu.hpp"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "core/cpu/clock_under_load.hpp"
#include "core/cpu/core_pairs.hpp"
#include "core/cpu/executed_features.hpp"
#include "core/cpu/instruction_timing.hpp"
#include "core/cpu/memory_timing.hpp"
#include "core/cpu/runtime_timing.hpp"
#include "core/run/amx_permission.hpp"
#include "core/run/wisdom.hpp"

namespace tandem {
namespace {

constexpr std::size_t most_pairs = 24;

/// 1, 2, and then up to `most` in at most two further steps: time must not grow with the cores.
std::vector<int> thread_counts(int most) {
    std::vector<int> counts{1};
    for (const int count : {2, most / 2, most})
        if (count > counts.back() && count <= most) counts.push_back(count);
    return counts;
}

class Measurement {
public:
    Measurement(const Machine& machine, const CpuOptions& options, std::vector<int> cpus, CycleClock clock)
        : isa_(machine.isa), options_(options), cpus_(std::move(cpus)), clock_(std::move(clock)),
          sizes_(memory_sizes(machine.caches)), most_{1, static_cast<int>(cpus_.size())} {
        most_.erase(std::unique(most_.begin(), most_.end()), most_.end());
    }

    Status run(CpuReport& report) {
        std::vector<Step> steps = options_.effort == CpuEffort::quick   ? quick_steps()
                                  : options_.effort == CpuEffort::brief ? brief_steps()
                                                                        : full_steps();
        double all = 0, done = 0;
        for (const Step& step : steps)
            all += step.seconds;
        for (const Step& step : steps) {
            show_ = [&, done](double fraction) {
                if (options_.progress) options_.progress((done + fraction * step.seconds) / all, step.what);
            };
            show_(0);
            if (const Status status = run(step, report); !status) return status;
            done += step.seconds;
        }
        return {};
    }

private:
    struct Step {
        const char* what;
        double seconds;  // about, for the progress
        std::function<Status(CpuReport&)> run;
        bool bound =
            true;  // with the thread bound to the first CPU, which a pool would take for all there is
    };

    Status run(const Step& step, CpuReport& report) const {
        std::optional<ThreadBinding> binding;
        if (step.bound) binding.emplace(cpus_.front());
        return step.run(report);
    }

    static Status add(CpuReport& report, Result<ReportTable> table) {
        if (!table) return table.error();
        if (!table->readings.empty()) report.tables.push_back(std::move(*table));
        return {};
    }
    static Status add(CpuReport& report, Result<std::vector<ReportTable>> tables) {
        if (!tables) return tables.error();
        std::ranges::move(*tables, std::back_inserter(report.tables));
        return {};
    }

    std::function<void(double)> progress() const {
        return [this](double fraction) {
            show_(fraction);
        };
    }
    SampleOptions sampling(int passes, double seconds) const {
        SampleOptions options;
        options.passes = passes;
        options.seconds = seconds;
        options.progress = progress();
        return options;
    }

    Status instructions(CpuReport& report) {
        Result<InstructionTables> tables = time_instructions(isa_, clock_, sampling(16, 12));
        if (!tables) return tables.error();
        for (ReportTable* const table :
             {&tables->throughput, &tables->latency, &tables->fma_share, &tables->operations})
            report.tables.push_back(std::move(*table));
        return {};
    }

    Step peaks(std::span<const int> counts, double each) {
        return {"peaks", 26 * each, [this, counts, each](CpuReport& report) {
                    return add(report, time_peaks(isa_, cpus_, counts, clock_, each));
                }};
    }
    Step bandwidths(StreamChoice streams, std::span<const int> counts, double each) {
        return {"bandwidths", 30 * each, [this, streams, counts, each](CpuReport& report) {
                    return add(report, time_bandwidth(isa_, streams, sizes_, cpus_, counts, clock_, each));
                }};
    }

    std::vector<Step> quick_steps() {
        sizes_.most = std::min(sizes_.most, std::size_t{64} << 20);
        const std::span<const int> one(most_.data(), 1);
        return {peaks(one, 0.015), bandwidths(StreamChoice::reads, one, 0.012)};
    }

    std::vector<Step> brief_steps() {
        return {peaks(most_, 0.05), bandwidths(StreamChoice::all, most_, 0.05)};
    }

    std::vector<Step> full_steps() {
        counts_ = thread_counts(most_.back());
        std::vector<Step> steps{{"instructions", 8,
                                 [this](CpuReport& r) {
                                     return instructions(r);
                                 }},
                                {"code", 0.5,
                                 [this](CpuReport& r) {
                                     return add(r, time_code(isa_, clock_, sampling(9, 2)));
                                 }},
                                {"accesses", 0.3,
                                 [this](CpuReport& r) {
                                     return add(r, time_accesses(isa_, clock_, sampling(9, 2)));
                                 }},
                                peaks(most_, 0.15),
                                {"clock", 3,
                                 [this](CpuReport& r) {
                                     return add(r, time_clock(isa_, cpus_, counts_, clock_, 0.2));
                                 }},
                                {"first second", 5,
                                 [this](CpuReport& r) {
                                     return add(r, time_first_seconds(isa_, clock_, 1));
                                 }},
                                bandwidths(StreamChoice::all, counts_, 0.08)};
        add_memory_steps(steps);
        return steps;
    }

    void add_memory_steps(std::vector<Step>& steps) {
        steps.push_back({"reads by size", 2, [this](CpuReport& r) {
                             return add(r, time_read_sizes(isa_, sizes_, cpus_.front(), clock_, 0.03));
                         }});
        steps.push_back({"latency", 4, [this](CpuReport& r) {
                             return add(r, time_latency(sizes_, clock_, progress()));
                         }});
        steps.push_back({"prefetches", 0.5, [this](CpuReport& r) {
                             return add(r, time_prefetch(sizes_, clock_));
                         }});
        steps.push_back({"tile loads", 0.2, [this](CpuReport& r) {
                             return add(r, time_tile_loads(isa_, sizes_, clock_));
                         }});
        steps.push_back({"pairs of CPUs", 2, [this](CpuReport& r) {
                             const std::vector<CpuPair> pairs = sample_pairs(all_cpus_, most_pairs);
                             return add(r, time_pairs(isa_, pairs, clock_, progress()));
                         }});
        steps.push_back(
            {"runtime", 0.8, [this](CpuReport& r) { return add(r, time_runtime(options_.threads)); }, false});
    }

    Isa isa_;
    const CpuOptions& options_;
    std::vector<int> cpus_;
    const std::vector<int> all_cpus_ = allowed_cpus();
    CycleClock clock_;
    MemorySizes sizes_;
    std::vector<int> most_, counts_;
    std::function<void(double)> show_;
};

}  // namespace

CpuReport describe_cpu(const CpuQueries& cpu) {
    CpuReport report;
    report.date = utc_date();
    report.hypervisor = detect_hypervisor(cpu);
    report.l1_instructions = detect_l1_instructions(cpu);
    report.xcr0 = detect_saved_state(cpu);
    report.palettes = detect_tile_palettes(cpu);
    const Status amx = request_amx();
    report.amx = amx ? "granted" : amx.error().message;
    report.features = execute_features(cpu);
    return report;
}

Result<CpuReport> measure_cpu(const Machine& machine, const CpuOptions& options) {
    const double start = now_seconds();
    CpuReport report = describe_cpu(host_cpu());
    report.quick = options.effort != CpuEffort::full;
    Result<std::vector<int>> cpus = worker_cpus(options.threads);
    if (!cpus) return cpus.error();
    Result<CycleClock> clock = CycleClock::create();
    if (!clock) return clock.error();
    Measurement measurement(machine, options, *cpus, std::move(*clock));
    if (const Status status = measurement.run(report); !status) return status.error();
    report.seconds = now_seconds() - start;
    return report;
}

}  // namespace tandem
