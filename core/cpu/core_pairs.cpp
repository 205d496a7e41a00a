#include "core/cpu/core_pairs.hpp"

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>

#include <fmt/format.h>

namespace tandem {
namespace {

constexpr int rounds = 15, trips_in_round = 400;
constexpr double contention_seconds = 0.018;

struct alignas(128) Ball {
    std::atomic<int> value{0};
};

// Whoever waits gives up with the other side: a CPU that never runs must not hang the report.
constexpr double longest_wait = 0.5;

bool wait_for(const Ball& ball, int value, double end) {
    for (int spins = 0; ball.value.load(std::memory_order_acquire) != value; ++spins) {
        _mm_pause();
        if (spins % 4096 == 4095 && now_seconds() > end) return false;
    }
    return true;
}

Result<Figure> time_round_trip(CpuPair pair) {
    Ball ball;
    std::vector<double> seconds;
    const std::array cpus{pair.one, pair.other};
    const double end = now_seconds() + longest_wait;
    StealMeter steal;
    const Status run = run_pinned(cpus, [&](int part) {
        double start = now_seconds();
        for (int i = 0; i < rounds * trips_in_round; ++i) {
            if (!wait_for(ball, 2 * i + part, end)) return;
            ball.value.store(2 * i + part + 1, std::memory_order_release);
            if (part != 0 || (i + 1) % trips_in_round != 0) continue;
            const double now = now_seconds();
            seconds.push_back((now - start) / trips_in_round);
            start = now;
        }
    });
    if (!run) return run.error();
    Circumstances seen;
    seen.steal = steal.since_last();
    return scaled(judge(seconds, seen), 1e9);
}

Result<Figure> fma_rate(std::span<const int> cpus, Isa isa, const CycleClock& clock) {
    const jit::InstructionForm* const fma =
        jit::find_form(is_avx512(isa) ? "vfmadd231ps zmm, zmm, zmm" : "vfmadd231ps ymm, ymm, ymm");
    const Result<ProbeMemory> memory = ProbeMemory::create(jit::probe_memory_bytes);
    if (!memory) return memory.error();
    const auto make = [&](int) -> Result<CpuProbe> {
        Result<jit::ProbeLoop> loop = jit::throughput_loop(*fma, isa);
        if (!loop) return loop.error();
        return probe_of(std::move(*loop), *memory);
    };
    const Result<LoadFigures> figures = run_load(cpus, make, clock, contention_seconds);
    if (!figures) return figures.error();
    return figures->rate;
}

}  // namespace

std::string to_string(CpuPair pair) { return fmt::format("{}-{}", pair.one, pair.other); }

std::vector<CpuPair> sample_pairs(std::span<const int> cpus, std::size_t most) {
    std::vector<CpuPair> all, chosen;
    for (std::size_t i = 0; i < cpus.size(); ++i)
        for (std::size_t j = i + 1; j < cpus.size(); ++j)
            all.push_back({cpus[i], cpus[j]});
    if (all.size() <= most) return all;
    const auto add = [&](CpuPair pair) {
        if (chosen.size() < most && std::ranges::find(chosen, pair) == chosen.end()) chosen.push_back(pair);
    };
    add({cpus[0], cpus[1]});
    add({cpus[0], cpus[cpus.size() / 2]});
    add({cpus[1], cpus[2]});
    for (std::size_t i = 0; i < all.size() && chosen.size() < most;
         i += std::max<std::size_t>(1, all.size() / most))
        add(all[i]);
    return chosen;
}

Result<std::vector<ReportTable>> time_pairs(Isa isa, std::span<const CpuPair> pairs, const CycleClock& clock,
                                            const std::function<void(double)>& progress) {
    ReportTable trips{"core_to_core", "ns", "", {}}, shares{"contention", "of both alone", "", {}};
    std::map<int, double> alone;
    for (const CpuPair& pair : pairs) {
        const Result<Figure> trip = time_round_trip(pair);
        if (!trip) return trip.error();
        for (const int cpu : {pair.one, pair.other}) {
            if (alone.contains(cpu)) continue;
            const Result<Figure> rate = fma_rate(std::array{cpu}, isa, clock);
            if (!rate) return rate.error();
            alone[cpu] = rate->median;
        }
        const Result<Figure> both = fma_rate(std::array{pair.one, pair.other}, isa, clock);
        if (!both) return both.error();
        trips.readings.push_back({to_string(pair), 0, 2, *trip});
        shares.readings.push_back(
            {to_string(pair), 0, 2, scaled(*both, 1 / (alone[pair.one] + alone[pair.other]))});
        if (progress)
            progress(static_cast<double>(trips.readings.size()) / static_cast<double>(pairs.size()));
    }
    return std::vector{std::move(trips), std::move(shares)};
}

}  // namespace tandem
