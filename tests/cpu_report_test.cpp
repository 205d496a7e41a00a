// What `tandem cpu` measures and writes: cycles, verdicts on samples, JSON, the page. No times but those that
// follow from what a cycle is.
#include "core/cpu/report_json.hpp"

#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <set>
#include <string>

#include "core/cpu/core_pairs.hpp"
#include "core/cpu/executed_features.hpp"
#include "core/cpu/instruction_timing.hpp"
#include "core/cpu/memory_timing.hpp"
#include "core/plan/isa_text.hpp"
#include "jit/memory_loop.hpp"
#include "support/doctest.hpp"
#include "support/markup.hpp"
#include "tools/cpu_html.hpp"
#include "tools/cpu_text.hpp"

using namespace tandem;

namespace {

std::vector<double> around(double value, int count, double spread = 0.001) {
    std::vector<double> values;
    for (int i = 0; i < count; ++i)
        values.push_back(value * (1 + spread * (i % 3 - 1)));
    return values;
}

CpuReport sample_report() {
    CpuReport report;
    report.date = "2026-01-02T03:04:05Z";
    report.hypervisor = "KVMKVMKVM";
    report.amx = "granted";
    report.seconds = 12.5;
    report.l1_instructions = 32768;
    report.xcr0 = 0x602e7;
    report.palettes = {"palette 1: 8 tiles of 16 rows of 64 bytes"};
    report.features = {{"avx2", true, "runs"}, {"avx512", true, "SIGILL"}, {"fp16", false, "runs"}};
    const Figure sure{4, 3.9, 4.1, 21, ""}, unsure{5, 4, 8, 9, "two phases & <more>"};
    report.tables = {
        {"throughput", "cycles", "", {{"vfmadd231ps zmm, zmm, zmm", 0, 1, sure}}},
        {"latency", "cycles", "", {{"vfmadd231ps zmm, zmm, zmm", 0, 1, unsure}}},
        {"peaks", "GFLOP/s or GOP/s", "", {{"vfmadd231ps zmm, zmm, zmm", 0, 1, sure}}},
        {"bandwidth", "GB/s", "KB a thread", {{"read L1", 24, 1, sure}, {"read L1", 24, 2, sure}}},
        {"memory_latency", "ns", "KB", {{"huge pages", 4, 1, sure}, {"huge pages", 8, 1, unsure}}},
        {"timeline", "GHz", "ms", {{"scalar", 0.5, 1, sure}, {"scalar", 1.5, 1, sure}}},
        {"layers", "GFLOP/s", "FLOP/byte", {{"mv1_1", 10, 1, sure}}}};
    return report;
}

Machine sample_machine() {
    Machine machine = imagined_machine(Isa::avx512);
    machine.features = Isa::avx512;
    machine.cpu_name = "A CPU <of> \"ours\" & others";
    return machine;
}

}  // namespace

TEST_CASE("cycle clock: an add is a cycle, by definition; a multiplication some, an FMA two to ten") {
    const Result<CycleClock> clock = CycleClock::create();
    REQUIRE(clock.ok());
    Result<ProbeMemory> memory = ProbeMemory::create(jit::probe_memory_bytes);
    REQUIRE(memory.ok());
    memory->fill(0x3ebd3ebd);
    std::vector<CpuProbe> probes;
    for (Result<jit::ProbeLoop> loop : {jit::add_chain_loop(), jit::multiply_chain_loop(),
                                        jit::latency_loop(jit::instruction_forms().front(), Isa::avx2)}) {
        REQUIRE(loop.ok());
        probes.push_back(probe_of(*loop, *memory));
    }
    const std::vector<ClockedSamples> samples = sample_in_turn(probes, *clock, {.passes = 15});
    CHECK(samples[0].in_cycles().median == doctest::Approx(1).epsilon(0.1));
    CHECK(samples[1].in_cycles().median > 1.8);
    CHECK(samples[1].in_cycles().median < 6);
    CHECK(samples[2].in_cycles().median > 2);
    CHECK(samples[2].in_cycles().median < 10);
}

TEST_CASE("figures: samples that agree are trusted") {
    const Figure figure = judge(around(2, 20), {});
    CHECK(figure.doubt == "");
    CHECK(figure.median == doctest::Approx(2));
    CHECK(figure.rounds == 20);
    CHECK(judge(around(2, 20), {.before = around(1, 20), .after = around(1.02, 20)}).trusted());
}

TEST_CASE("figures: each cause of doubt is named") {
    const auto doubt = [](const std::vector<double>& values, const Circumstances& seen) {
        return judge(values, seen).doubt;
    };
    CHECK(doubt({}, {.dropped = 8}) == "0 undisturbed rounds, 8 dropped");
    CHECK(doubt(around(2, 5), {.dropped = 9}) == "switched out in 9 of 14 rounds");
    CHECK(doubt(around(2, 20), {.steal = 0.07}) == "7 % of the time was stolen");
    CHECK(doubt(around(2, 20), {.before = around(1, 20), .after = around(1.1, 20)}) ==
          "the clock changed by 10 % during samples");
    std::vector<double> phases = around(1, 12), later = around(2, 12);
    for (std::size_t i = 0; i < later.size(); ++i)
        phases.insert(phases.begin() + static_cast<std::ptrdiff_t>(2 * i), later[i]);
    CHECK(doubt(phases, {}).starts_with("two phases, 2.00x apart, in 12 and 12 rounds"));
    std::vector<double> drift = around(1, 10), second = around(1.1, 10);
    drift.insert(drift.end(), second.begin(), second.end());
    CHECK(doubt(drift, {}).starts_with("the halves of the rounds are 10 % apart"));
    std::vector<double> wide;
    for (int i = 0; i < 40; ++i)
        wide.push_back(1 + 0.01 * (i * 7 % 20));
    CHECK(doubt(wide, {}).starts_with("quartiles"));
}

TEST_CASE("figures: rates are the other way round, spreads too") {
    const Figure rate = inverse({.median = 2, .low = 1, .high = 4, .rounds = 7, .doubt = "d"}, 8);
    CHECK(rate == Figure{4, 2, 8, 7, "d"});
    CHECK(scaled({.median = 2, .low = 1, .high = 4, .rounds = 7}, 3) == Figure{6, 3, 12, 7, ""});
}

TEST_CASE("report json: a report and its machine survive the way there and back") {
    const std::string text = measured_machine_to_text(sample_machine(), sample_report());
    const Result<MeasuredMachine> again = measured_machine_from_text(text, "m.json");
    REQUIRE_MESSAGE(again.ok(), again.error().message);
    CHECK(again->report == sample_report());
    CHECK(again->machine.cpu_name == sample_machine().cpu_name);
    CHECK(again->machine.features == Isa::avx512);
}

TEST_CASE("report json: what is no report is an error that names the member") {
    const auto error = [](const std::function<void(Json&)>& change) {
        Json json = Json::parse(measured_machine_to_text(sample_machine(), sample_report()));
        change(json);
        const Result<MeasuredMachine> read = measured_machine_from_text(json.dump(), "m.json");
        return read ? std::string() : read.error().message;
    };
    CHECK(error([](Json&) {}) == "");
    CHECK(error([](Json& json) { json.erase("report"); }) ==
          "m.json has no \"report\"; accepted: a file as tandem cpu --json writes it.");
    CHECK(error([](Json& json) { json["report"]["version"] = 2; }) ==
          "m.json: report.version is 2; 1 is accepted.");
    CHECK(error([](Json& json) { json["report"].erase("xcr0"); }) == "m.json: report.xcr0 is missing.");
    CHECK(error([](Json& json) { json["report"]["tables"][0]["readings"][0]["median"] = "4"; }) ==
          "m.json: report.tables[0].readings[0].median is \"4\"; a number is accepted.");
    CHECK(error([](Json& json) { json["report"]["tables"] = 3; }) ==
          "m.json: report.tables is 3; a list is accepted.");
    CHECK(error([](Json& json) { json["cpu"] = 3; }).starts_with("m.json: machine.cpu is 3;"));
    CHECK_FALSE(measured_machine_from_text("{", "m.json").ok());
}

TEST_CASE("report page: well-formed, and it loads nothing") {
    const CpuReport report = sample_report();
    const std::string page = tool::cpu_page(sample_machine(), report, "a < b & \"c\"");
    CHECK(test::markup_error(page) == "");
    for (const char* const word : {"<script", "src=", "href=", "url(", "@import"})
        CHECK_MESSAGE(page.find(word) == std::string::npos, word);
    CHECK(page.find("Roofline") != std::string::npos);
    CHECK(page.find("two phases &amp; &lt;more&gt;") != std::string::npos);
    CHECK(page.find("mv1_1: 4.00 GFLOP/s, 100 % of the FMAs") != std::string::npos);
    CHECK(test::markup_error(tool::cpu_page(sample_machine(), {}, "")) == "");
}

TEST_CASE("report page: the check of markup finds what is wrong") {
    CHECK(test::markup_error("<!DOCTYPE html>\n<a><b x=\"1\"/>t</a>") == "");
    CHECK(test::markup_error("<a><b></a>") == "</a> ends <b>");
    CHECK(test::markup_error("<a>") == "<a> has no end");
    CHECK(test::markup_error("<a>1 & 2</a>") == "a bare &");
    CHECK(test::markup_error("<a>1 > 2</a>") == "a bare >");
    CHECK(test::markup_error("</a>") == "</a> ends nothing");
}

TEST_CASE("report text: doubtful figures are marked and explained, features are what they do") {
    const std::string text =
        tool::identity_text(sample_machine(), sample_report(), "") + tool::details_text(sample_report());
    for (const char* const part :
         {"hypervisor KVMKVMKVM", "avx512 is advertised: SIGILL", "fp16 runs without being advertised",
          "2 of 10 figures are in doubt", "latency vfmadd231ps zmm, zmm, zmm: two phases & <more>", "5.00?"})
        CHECK_MESSAGE(text.find(part) != std::string::npos, part);
}

TEST_CASE("report text: bandwidths by level, pairs of CPUs that share a core, other kinds of cores") {
    CpuReport report = sample_report();
    const Figure half{0.52, 0.5, 0.53, 8, ""}, whole{1, 1, 1, 8, ""}, trip{80, 79, 81, 9, ""};
    report.tables[3].readings.push_back({"copy L1", 24, 1, trip});
    report.tables.push_back({"core_to_core", "ns", "", {{"0-1", 0, 2, trip}, {"0-2", 0, 2, trip}}});
    report.tables.push_back({"contention", "of both alone", "", {{"0-1", 0, 2, half}, {"0-2", 0, 2, whole}}});
    CHECK(
        tool::details_text(report).find("2 measured: 80.00 to 80.00 ns for a line there and back; sharing a "
                                        "core's FMAs: 0-1\n") != std::string::npos);
    CHECK(tool::peaks_text(sample_machine(), report)
              .find("L1          4.00 GB/s, one thread, 4.00 with 2; each reading 24 KB\n"
                    "            copy 80.00 GB/s, one thread\n") != std::string::npos);
    Machine hybrid = sample_machine();
    hybrid.core_kind = "core";
    CHECK(tool::identity_text(hybrid, report, "").find("/sys/devices/cpu_atom/cpus") != std::string::npos);
}

TEST_CASE("executed features: what this host offers runs in a child, and ends are called by name") {
    const Result<Machine> host = host_machine();
    REQUIRE(host.ok());
    for (const ExecutedFeature& feature : execute_features(host_cpu())) {
        CAPTURE(feature.name);
        const auto named = isa_feature_named(feature.name);
        REQUIRE(named);
        CHECK(feature.advertised == host->features.has(*named));
        const bool tried = !feature.outcome.starts_with("not tried");
        if (feature.advertised && tried) CHECK(feature.outcome == "runs");
    }
    CHECK(outcome_text(SIGILL) == "SIGILL");
    CHECK(outcome_text(SIGALRM) == "hangs");
    CHECK(outcome_text(0) == "runs");
    CHECK(outcome_text(3 << 8) == "exit code 3");
}

TEST_CASE("core pairs: all of a few CPUs, a sample of many") {
    const std::vector<int> few{0, 2, 5};
    CHECK(sample_pairs(few, 24) == std::vector<CpuPair>{{0, 2}, {0, 5}, {2, 5}});
    std::vector<int> many;
    for (int i = 0; i < 256; ++i)
        many.push_back(i);
    const std::vector<CpuPair> pairs = sample_pairs(many, 24);
    CHECK(pairs.size() == 24);
    CHECK(std::ranges::find(pairs, CpuPair{0, 1}) != pairs.end());
    CHECK(std::ranges::find(pairs, CpuPair{0, 128}) != pairs.end());
    std::set<std::pair<int, int>> distinct;
    for (const CpuPair& pair : pairs)
        distinct.insert({pair.one, pair.other});
    CHECK(distinct.size() == pairs.size());
}

TEST_CASE("memory loops: lines come once each, and every loop ends") {
    for (const std::uint64_t lines : {std::uint64_t{4}, std::uint64_t{64}, std::uint64_t{4096}}) {
        std::set<std::uint64_t> seen;
        for (std::uint64_t line = 0, i = 0; i < lines; ++i, line = jit::next_line(line, lines))
            seen.insert(line);
        CHECK(seen.size() == lines);
    }
    Result<ProbeMemory> memory = ProbeMemory::create(jit::probe_memory_bytes);
    REQUIRE(memory.ok());
    for (const int distance : {0, 1, 7})
        jit::prefetch_loop(distance)->run(100, memory->data(), jit::probe_memory_bytes);
    for (int i = 0; i < jit::awkward_access_count; ++i)
        jit::awkward_loop(static_cast<jit::AwkwardAccess>(i), Isa::avx2)->run(3, memory->data());
}

TEST_CASE("memory loops: a copy copies one half to the other, a write writes all and nothing more") {
    constexpr std::size_t bytes = 16 * 1024;
    Result<ProbeMemory> memory = ProbeMemory::create(2 * bytes);
    REQUIRE(memory.ok());
    const auto word = [&](std::size_t i) {
        return reinterpret_cast<std::uint32_t*>(memory->data())[i];
    };
    for (const Isa isa : {Isa::avx2, Isa::avx512}) {
        if (!host_offers(isa)) continue;
        memory->fill(1);
        reinterpret_cast<std::uint32_t*>(memory->data())[100] = 5;
        jit::stream_loop(jit::Stream::copy, isa)->run(1, memory->data(), bytes);
        CHECK(word(bytes / 8 + 100) == 5);
        CHECK(word(bytes / 4) == 1);
        jit::stream_loop(jit::Stream::write, isa)->run(2, memory->data(), bytes);
        CHECK(word(0) == word(bytes / 4 - 1));
        CHECK(word(0) != 1);
        CHECK(word(bytes / 4) == 1);
        jit::stream_loop(jit::Stream::read, isa)->run(2, memory->data(), bytes);
    }
}

TEST_CASE("instruction timing: operations of an instance") {
    const auto operations = [](const char* name) {
        return operations_of(*jit::find_form(name));
    };
    CHECK(operations("vfmadd231ps zmm, zmm, zmm") == 32);
    CHECK(operations("vfmadd231ps ymm, ymm, m{1to8}") == 16);
    CHECK(operations("vdpbf16ps zmm, zmm, zmm") == 64);
    CHECK(operations("vfmadd231ph ymm, ymm, ymm") == 32);
    CHECK(operations("vpdpbusd zmm, zmm, zmm") == 128);
    CHECK(operations("vpmaddwd+vpaddd zmm, zmm, zmm") == 64);
    CHECK(operations("tdpbf16ps tmm, tmm, tmm") == 16 * 16 * 32 * 2);
    CHECK(operations("tdpbusd tmm, tmm, tmm") == 16 * 16 * 64 * 2);
    CHECK(operations("vaddps zmm, zmm, zmm") == 0);
}
