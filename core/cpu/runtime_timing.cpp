#include "core/cpu/runtime_timing.hpp"

#include <chrono>
#include <thread>

#include "core/cpu/cycle_clock.hpp"
#include "tandem/tandem.hpp"

namespace tandem {
namespace {

constexpr const char* pair_text = "1x32x112x112:dw3+bias+relu6:conv1o64+bias+relu6";

/// Of `runs` calls, each after `prepare`.
Figure time_calls(int runs, const std::function<void()>& prepare, const std::function<void()>& call,
                  int calls = 1) {
    std::vector<double> seconds;
    Circumstances seen;
    StealMeter steal;
    for (int i = 0; i < runs; ++i) {
        prepare();
        const long switches = involuntary_switches(true);
        const double start = now_seconds();
        for (int j = 0; j < calls; ++j)
            call();
        const double spent = (now_seconds() - start) / calls;
        if (involuntary_switches(true) == switches)
            seconds.push_back(spent);
        else
            ++seen.dropped;
    }
    seen.steal = steal.since_last();
    return judge(seconds, seen);
}

void add_pool(ReportTable& table, int threads) {
    Result<ThreadPool> pool = ThreadPool::create({.threads = threads});
    if (!pool || pool->threads() < 2) return;
    constexpr int runs = 41, calls = 100;
    const auto nothing = [] {
    };
    const auto run = [&] {
        static_cast<void>(pool->parallel([](int) {}));
    };
    run();
    const auto add = [&](const char* name, const Figure& figure) {
        table.readings.push_back({name, 0, pool->threads(), scaled(figure, 1e6)});
    };
    add("fork and join, workers awake (us)", time_calls(runs, nothing, run, calls));
    const auto sleep = [] {
        std::this_thread::sleep_for(std::chrono::milliseconds(8));
    };
    add("fork and join, workers asleep (us)", time_calls(runs, sleep, run));
}

Status add_dispatch(ReportTable& table) {
    const Result<ConvChain> chain = ConvChain::parse(pair_text);
    if (!chain) return chain.error();
    Context context;
    const auto dispatch = [&] {
        return context.dispatch(*chain);
    };
    const Result<Kernel> kernel = dispatch();
    if (!kernel) return kernel.error();
    const auto call = [&] {
        static_cast<void>(dispatch());
    };
    const auto clear = [&] {
        context.clear_cache();
    };
    std::vector<double> emission;
    double before = context.cache_stats().emission_seconds;
    const Figure miss = time_calls(15, clear, [&] {
        call();
        const double now = context.cache_stats().emission_seconds;
        emission.push_back(now - before);
        before = now;
    });
    const Figure hit = time_calls(
        41, [] {}, call, 200);
    table.readings.push_back({"dispatch, kernel known (us)", 0, 1, scaled(hit, 1e6)});
    table.readings.push_back({"dispatch, kernel new (us)", 0, 1, scaled(miss, 1e6)});
    table.readings.push_back(
        {"emission (MB/s)", 0, 1,
         inverse(judge(emission, {}), static_cast<double>(kernel->code().size()) * 1e-6)});
    return {};
}

}  // namespace

Result<ReportTable> time_runtime(int threads) {
    ReportTable table{"runtime", "", "", {}};
    add_pool(table, threads);
    if (const Status status = add_dispatch(table); !status) return status.error();
    return table;
}

}  // namespace tandem
