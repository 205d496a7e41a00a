// Every measurement of `tandem cpu`, as short as it can be: what it has readings of, and that they are
// numbers. How large those are, nothing here says.
#include "core/cpu/clock_under_load.hpp"
#include "core/cpu/core_pairs.hpp"
#include "core/cpu/instruction_timing.hpp"
#include "core/cpu/measure_cpu.hpp"
#include "core/cpu/memory_timing.hpp"
#include "core/cpu/runtime_timing.hpp"
#include "support/doctest.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <set>

#include "core/run/amx_permission.hpp"

using namespace tandem;

namespace {

const CycleClock& the_clock() {
    static const Result<CycleClock> clock = CycleClock::create();
    REQUIRE(clock.ok());
    return *clock;
}

Isa host_isa() { return host_machine(host_isas().back())->isa; }

const SampleOptions brief{.passes = 1, .samples = 1, .sample_seconds = 5e-6};
constexpr MemorySizes small{{32 << 10, 128 << 10, 1 << 20, 1}, 1 << 20};

void check_numbers(const ReportTable& table) {
    CAPTURE(table.name);
    CHECK(!table.readings.empty());
    std::set<std::tuple<std::string, double, int>> keys;
    for (const Reading& reading : table.readings) {
        CAPTURE(reading.name);
        CAPTURE(reading.x);
        CHECK(std::isfinite(reading.figure.median));
        CHECK(reading.figure.median >= 0);
        CHECK(keys.emplace(reading.name, reading.x, reading.threads).second);
    }
}

}  // namespace

TEST_CASE("cpu timing: instructions have a throughput each, and those with a chain a latency") {
    const Result<InstructionTables> tables = time_instructions(host_isa(), the_clock(), brief);
    REQUIRE(tables.ok());
    for (const ReportTable* const table :
         {&tables->throughput, &tables->latency, &tables->fma_share, &tables->operations})
        check_numbers(*table);
    const bool tiles = has_amx(host_isa()) && request_amx().ok();
    std::size_t forms = 0, chains = 0;
    for (const jit::InstructionForm* const form : jit::instruction_forms(host_isa())) {
        if (has_amx(form->needs) && !tiles) continue;
        ++forms;
        chains += form->chain != jit::FormChain::none;
    }
    CHECK(tables->throughput.readings.size() == forms);
    CHECK(tables->fma_share.readings.size() == forms);
    CHECK(tables->latency.readings.size() == chains);
}

TEST_CASE("cpu timing: code and accesses") {
    const Result<std::vector<ReportTable>> code = time_code(Isa::avx2, the_clock(), brief);
    REQUIRE(code.ok());
    REQUIRE(code->size() == 2);
    for (const ReportTable& table : *code)
        check_numbers(table);
    const Result<ReportTable> accesses = time_accesses(host_isa(), the_clock(), brief);
    REQUIRE(accesses.ok());
    check_numbers(*accesses);
}

TEST_CASE("cpu timing: memory, in small") {
    const std::vector<int> cpus{allowed_cpus().front()}, one{1};
    const Result<ReportTable> streams =
        time_bandwidth(Isa::avx2, StreamChoice::all, small, cpus, one, the_clock(), 0.002);
    REQUIRE(streams.ok());
    check_numbers(*streams);
    CHECK(streams->readings.size() == 3 * 4);
    const Result<ReportTable> sizes = time_read_sizes(Isa::avx2, small, cpus.front(), the_clock(), 0.001);
    REQUIRE(sizes.ok());
    check_numbers(*sizes);
    CHECK(sizes->readings.back().x == 1024);
    double last = 0;
    const Result<std::vector<ReportTable>> latency =
        time_latency({small.caches, 32 << 10}, the_clock(), [&](double fraction) { last = fraction; });
    REQUIRE(latency.ok());
    CHECK(last == 1);
    REQUIRE(latency->size() == 2);
    for (const ReportTable& table : *latency)
        check_numbers(table);
    const Result<ReportTable> prefetch = time_prefetch(small, the_clock());
    REQUIRE(prefetch.ok());
    check_numbers(*prefetch);
    const Result<ReportTable> tiles = time_tile_loads(host_isa(), small, the_clock());
    REQUIRE(tiles.ok());
    CHECK(tiles->readings.empty() == !(has_amx(host_isa()) && request_amx().ok()));
}

TEST_CASE("cpu timing: the clock and peaks under load, on one CPU and on all") {
    const Result<std::vector<int>> cpus = worker_cpus(2);
    REQUIRE(cpus.ok());
    std::vector<int> counts{1};
    if (cpus->size() > 1) counts.push_back(2);
    const Result<ReportTable> clock = time_clock(host_isa(), *cpus, counts, the_clock(), 0.002);
    const Result<ReportTable> start = time_first_seconds(Isa::avx2, the_clock(), 0.005);
    const Result<ReportTable> peaks = time_peaks(host_isa(), *cpus, counts, the_clock(), 0.002);
    for (const Result<ReportTable>* const table : {&clock, &start, &peaks}) {
        REQUIRE(table->ok());
        check_numbers(**table);
    }
    CHECK(clock->readings.size() % counts.size() == 0);
    CHECK(std::ranges::any_of(peaks->readings, [](const Reading& reading) {
        return reading.name == "vfmadd231ps ymm, ymm, ymm" && reading.threads == 1;
    }));
}

TEST_CASE("cpu timing: pairs of CPUs, pools and dispatches") {
    const std::vector<int> cpus = allowed_cpus();
    if (cpus.size() > 1) {
        const std::vector<CpuPair> pairs{{cpus[0], cpus[1]}};
        const Result<std::vector<ReportTable>> tables = time_pairs(Isa::avx2, pairs, the_clock(), {});
        REQUIRE(tables.ok());
        REQUIRE(tables->size() == 2);
        check_numbers(tables->front());
        check_numbers(tables->back());
    }
    const Result<ReportTable> runtime = time_runtime(2);
    REQUIRE(runtime.ok());
    check_numbers(*runtime);
    CHECK(runtime->readings.size() == 5);
}

TEST_CASE(
    "cpu timing: pinned threads each run their part on their CPU, and a failing part's error is returned") {
    const std::vector<int> cpus = allowed_cpus();
    std::vector<std::vector<int>> seen(cpus.size());
    REQUIRE(run_pinned(cpus, [&](int part) { seen[static_cast<std::size_t>(part)] = allowed_cpus(); }).ok());
    for (std::size_t i = 0; i < cpus.size(); ++i)
        CHECK(seen[i] == std::vector<int>{cpus[i]});
    CHECK(allowed_cpus() == cpus);
    {
        const ThreadBinding binding(cpus.back());
        CHECK(allowed_cpus() == std::vector<int>{cpus.back()});
    }
    CHECK(allowed_cpus() == cpus);
    const auto fails = [](int) -> Result<CpuProbe> {
        return Error{ErrorCode::system, "no probe"};
    };
    const Result<LoadFigures> failed = run_load(cpus, fails, the_clock(), 0.001);
    REQUIRE(!failed.ok());
    CHECK(failed.error().message == "no probe");
}

TEST_CASE("cpu timing: the quick measurement says how far it is, and ends at the end") {
    std::vector<double> fractions;
    CpuOptions options;
    options.effort = CpuEffort::quick;
    options.threads = 1;
    options.progress = [&](double fraction, const std::string&) {
        fractions.push_back(fraction);
    };
    const Result<CpuReport> report = measure_cpu(*host_machine(), options);
    REQUIRE(report.ok());
    CHECK(report->quick);
    CHECK(report->features.size() == isa_feature_count);
    CHECK(std::ranges::is_sorted(fractions));
    CHECK(fractions.back() <= 1);
    const ReportTable* const bandwidth = report->table("bandwidth");
    REQUIRE(bandwidth);
    const Reading& first = bandwidth->readings.front();
    CHECK(report->reading("bandwidth", first.name, first.x) == &first);
    CHECK(report->reading("bandwidth", "nothing") == nullptr);
    CHECK(report->table("nothing") == nullptr);
}
