#include "core/cpu/load_run.hpp"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>

#include "core/run/topology.hpp"

namespace tandem {
namespace {

constexpr int slices = 9;               // of a load run; the first warms up and does not count
constexpr double bite_seconds = 20e-6;  // between two looks at the time
constexpr int most_cpus = 4096;

struct CpuSet {
    cpu_set_t* const set = CPU_ALLOC(most_cpus);
    const std::size_t bytes = CPU_ALLOC_SIZE(most_cpus);
    CpuSet() { CPU_ZERO_S(bytes, set); }
    ~CpuSet() { CPU_FREE(set); }
    CpuSet(const CpuSet&) = delete;
    CpuSet& operator=(const CpuSet&) = delete;
    void add(int cpu) { CPU_SET_S(static_cast<std::size_t>(cpu), bytes, set); }
    bool has(int cpu) const { return CPU_ISSET_S(static_cast<std::size_t>(cpu), bytes, set); }
};

bool bind_to(const std::vector<int>& cpus) {
    CpuSet set;
    for (const int cpu : cpus)
        set.add(cpu);
    return sched_setaffinity(0, set.bytes, set.set) == 0;
}

/// What one thread saw of each slice.
struct Slice {
    double rate = 0, cycle = 0;
    bool disturbed = false;
};

std::int64_t bite_of(const CpuProbe& probe) {
    for (std::int64_t n = 1;; n *= 2) {
        const double start = now_seconds();
        probe.run(n);
        if (now_seconds() - start >= bite_seconds) return n;
    }
}

Slice run_slice(const CpuProbe& probe, std::int64_t bite, double end, const CycleClock& clock) {
    const long switches = involuntary_switches(false);
    const double start = now_seconds();
    std::int64_t done = 0;
    double now = start;
    do {
        probe.run(bite);
        done += bite;
        now = now_seconds();
    } while (now < end);
    Slice slice;
    slice.rate = static_cast<double>(done) * probe.units / (now - start);
    std::vector<double> cycles;
    for (int i = 0; i < 5; ++i)
        cycles.push_back(clock.cycle_seconds());
    slice.cycle = quantile(cycles, 0.5);
    slice.disturbed = involuntary_switches(false) != switches;
    return slice;
}

LoadFigures figures_of(const std::vector<std::vector<Slice>>& threads, double steal) {
    std::vector<double> rates, clocks;
    Circumstances seen;
    seen.steal = steal;
    for (int i = 1; i < slices; ++i) {
        double rate = 0, ghz = 0;
        bool disturbed = false;
        for (const std::vector<Slice>& thread : threads) {
            const Slice& slice = thread[static_cast<std::size_t>(i)];
            rate += slice.rate;
            ghz += 1e-9 / slice.cycle / static_cast<double>(threads.size());
            disturbed = disturbed || slice.disturbed;
        }
        if (disturbed) ++seen.dropped;
        rates.push_back(rate);
        clocks.push_back(ghz);
    }
    return {judge(rates, seen), judge(clocks, seen)};
}

}  // namespace

Result<std::vector<int>> worker_cpus(int threads) {
    const Result<Topology> topology = load_topology();
    if (!topology) return topology.error();
    std::vector<int> cpus;
    for (const Worker& worker : place_on_host(topology->get(), threads).workers)
        if (worker.cpuset) cpus.push_back(hwloc_bitmap_first(worker.cpuset.get()));
    if (cpus.empty()) cpus.push_back(allowed_cpus().front());
    return cpus;
}

std::vector<int> allowed_cpus() {
    CpuSet set;
    std::vector<int> cpus;
    if (sched_getaffinity(0, set.bytes, set.set) == 0)
        for (int cpu = 0; cpu < most_cpus; ++cpu)
            if (set.has(cpu)) cpus.push_back(cpu);
    if (cpus.empty()) cpus.push_back(0);
    return cpus;
}

bool bind_thread(int cpu) { return bind_to({cpu}); }

ThreadBinding::ThreadBinding(int cpu) : before_(allowed_cpus()) { bind_thread(cpu); }
ThreadBinding::~ThreadBinding() { bind_to(before_); }

Status run_pinned(std::span<const int> cpus, const std::function<void(int part)>& work) {
    std::atomic<std::size_t> ready{0};
    std::atomic<bool> abandoned{false};
    std::vector<std::jthread> threads;
    const auto body = [&](std::size_t part) {
        bind_thread(cpus[part]);
        ++ready;
        while (ready.load() < cpus.size() && !abandoned.load())
            std::this_thread::yield();
        if (!abandoned.load()) work(static_cast<int>(part));
    };
    try {
        for (std::size_t i = 0; i < cpus.size(); ++i)
            threads.emplace_back(body, i);
    } catch (const std::system_error& error) {
        abandoned = true;  // their work may wait for the others'
        return Error{ErrorCode::system, std::string("The system gave no thread: ") + error.what()};
    }
    return {};
}

Result<LoadFigures> run_load(std::span<const int> cpus, const MakeProbe& make, const CycleClock& clock,
                             double seconds) {
    std::vector<std::vector<Slice>> seen(cpus.size());
    std::vector<Status> failures(cpus.size());
    std::atomic<std::size_t> made{0};
    std::atomic<double> begin{0};
    StealMeter steal;
    const Status started = run_pinned(cpus, [&](int part) {
        const auto own = static_cast<std::size_t>(part);
        const Result<CpuProbe> probe = make(part);
        if (!probe) failures[own] = probe.error();
        const std::int64_t bite = probe ? bite_of(*probe) : 0;
        if (++made == cpus.size()) begin = now_seconds();
        while (begin.load() == 0)
            std::this_thread::yield();
        for (int i = 0; probe && i < slices; ++i)
            seen[own].push_back(run_slice(*probe, bite, begin + seconds * (i + 1) / slices, clock));
    });
    if (!started) return started.error();
    for (const Status& failure : failures)
        if (!failure) return failure.error();
    return figures_of(seen, steal.since_last());
}

}  // namespace tandem
