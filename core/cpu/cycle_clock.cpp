#include "core/cpu/cycle_clock.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <string>

namespace tandem {
namespace {

constexpr std::int64_t chain_iterations = 128;
constexpr std::size_t huge_page = std::size_t{2} << 20;

double shortest_reading() {
    double shortest = 1;
    for (int i = 0; i < 200; ++i) {
        const double start = now_seconds();
        shortest = std::min(shortest, now_seconds() - start);
    }
    return shortest;
}

double time_run(const CpuProbe& probe, std::int64_t iterations, double reading) {
    const double start = now_seconds();
    probe.run(iterations);
    return std::max(now_seconds() - start - reading, 1e-9);
}

std::int64_t iterations_for(const CpuProbe& probe, double seconds, double reading) {
    probe.run(1);
    for (std::int64_t n = 1;; n *= 4) {
        const double spent = time_run(probe, n, reading);
        if (spent * 4 < seconds && n < std::int64_t{1} << 40) continue;
        const double wanted = std::ceil(static_cast<double>(n) * seconds / spent);
        return std::max<std::int64_t>(1, static_cast<std::int64_t>(wanted));
    }
}

void take_sample(const CpuProbe& probe, std::int64_t iterations, const CycleClock& clock,
                 ClockedSamples& samples) {
    const long switches = involuntary_switches(false);
    const double before = clock.cycle_seconds();
    const double spent = time_run(probe, iterations, clock.reading_seconds());
    const double after = clock.cycle_seconds();
    if (involuntary_switches(false) != switches) {
        ++samples.dropped;
        return;
    }
    samples.seconds.push_back(spent / (static_cast<double>(iterations) * probe.units));
    samples.before.push_back(before);
    samples.after.push_back(after);
}

Circumstances circumstances_of(const ClockedSamples& samples) {
    return {samples.dropped, samples.steal, samples.before, samples.after};
}

}  // namespace

Result<CycleClock> CycleClock::create() {
    Result<jit::ProbeLoop> chain = jit::add_chain_loop();
    if (!chain) return chain.error();
    return CycleClock(std::move(*chain));
}

CycleClock::CycleClock(jit::ProbeLoop chain) : chain_(std::move(chain)), reading_(shortest_reading()) {
    cycle_seconds();
}

double CycleClock::cycle_seconds() const noexcept {
    const double start = now_seconds();
    chain_.run(chain_iterations, nullptr);
    const double spent = now_seconds() - start - reading_;
    return spent / (static_cast<double>(chain_iterations) * chain_.units());
}

Result<ProbeMemory> ProbeMemory::create(std::size_t bytes, Pages pages) {
    const std::size_t mapped = (bytes + huge_page - 1) / huge_page * huge_page;
    void* const memory =
        mmap(nullptr, mapped + huge_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return Error{ErrorCode::system,
                     "mmap of " + std::to_string(mapped) + " bytes to measure with failed."};
    // Aligned to a huge page, so that such pages fit; the rest is given back.
    const auto begin = reinterpret_cast<std::uintptr_t>(memory);
    const std::uintptr_t aligned = (begin + huge_page - 1) / huge_page * huge_page;
    if (aligned > begin) munmap(memory, aligned - begin);
    auto* const data = reinterpret_cast<std::byte*>(aligned);
    if (const std::size_t rest = begin + huge_page - aligned; rest > 0) munmap(data + mapped, rest);
    if (pages != Pages::usual) madvise(data, mapped, pages == Pages::huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    return ProbeMemory(data, mapped);
}

void ProbeMemory::Unmap::operator()(std::byte* memory) const noexcept { munmap(memory, bytes); }

void ProbeMemory::fill(std::uint32_t value) noexcept {
    auto* const words = reinterpret_cast<std::uint32_t*>(data());
    std::fill(words, words + bytes() / sizeof(value), value);
}

CpuProbe probe_of(jit::ProbeLoop loop, const ProbeMemory& memory, std::size_t bytes) {
    const double units = loop.units();
    return {[loop = std::move(loop), data = memory.data(), bytes](std::int64_t iterations) {
                loop.run(iterations, data, bytes);
            },
            units};
}

Figure ClockedSamples::in_seconds() const { return judge(seconds, circumstances_of(*this)); }

Figure ClockedSamples::in_cycles() const {
    std::vector<double> cycles;
    for (std::size_t i = 0; i < seconds.size(); ++i)
        cycles.push_back(seconds[i] * 2 / (before[i] + after[i]));
    return judge(cycles, circumstances_of(*this));
}

std::vector<ClockedSamples> sample_in_turn(const std::vector<CpuProbe>& probes, const CycleClock& clock,
                                           const SampleOptions& options) {
    std::vector<ClockedSamples> all(probes.size());
    std::vector<std::int64_t> iterations;
    StealMeter steal;
    for (const CpuProbe& probe : probes)
        iterations.push_back(iterations_for(probe, options.sample_seconds, clock.reading_seconds()));
    const double end = now_seconds() + options.seconds;
    for (int pass = 0; pass < options.passes && (pass == 0 || now_seconds() < end); ++pass) {
        for (std::size_t i = 0; i < probes.size(); ++i)
            for (int sample = 0; sample < options.samples; ++sample)
                take_sample(probes[i], iterations[i], clock, all[i]);
        if (options.progress) options.progress((pass + 1.0) / options.passes);
    }
    const double stolen = steal.since_last();
    for (ClockedSamples& samples : all)
        samples.steal = stolen;
    return all;
}

StealMeter::StealMeter() { since_last(); }

double StealMeter::since_last() {
    std::ifstream file("/proc/stat");
    std::string cpu;
    file >> cpu;
    double total = 0, stolen = 0;
    // user, nice, system, idle, iowait, irq, softirq, steal; what follows is part of the first two.
    for (int column = 0; column < 8; ++column) {
        double ticks = 0;
        if (!(file >> ticks)) break;
        total += ticks;
        if (column == 7) stolen = ticks;
    }
    const double share = total > total_ ? (stolen - stolen_) / (total - total_) : 0;
    stolen_ = stolen, total_ = total;
    return share;
}

}  // namespace tandem
