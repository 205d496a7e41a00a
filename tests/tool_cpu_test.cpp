// tandem cpu, run the way people run it: the files it writes, and what it makes of two of them.
#ifdef TANDEM_TOOL

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "support/doctest.hpp"
#include "support/markup.hpp"
#include "support/source_text.hpp"
#include "support/tool.hpp"

using namespace tandem::test;
using Json = nlohmann::ordered_json;

namespace {

void write(const TemporaryFile& file, const Json& json) { std::ofstream(file.path()) << json.dump(); }

Json& median_of(Json& machine, const std::string& table, const std::string& name) {
    for (Json& one : machine["report"]["tables"])
        if (one["name"] == table)
            for (Json& reading : one["readings"])
                if (reading["name"] == name) return reading["median"];
    FAIL(table << " has no " << name);
    return machine;
}

}  // namespace

TEST_CASE("tool: cpu --quick writes a file and a page, which --from shows again") {
    const TemporaryFile json("cpu.json"), page("cpu.html"), again("again.html");
    const Outcome quick = run_tool("cpu --quick --json " + json.path() + " --html " + page.path());
    INFO(quick.output);
    REQUIRE(quick.code == 0);
    for (const char* word :
         {"CPU  ", "executed    avx2", "caches      L1i", "FMA peak", "L1  ", "memory", "trust", "measured"})
        CHECK_MESSAGE(quick.contains(word), word);
    CHECK(markup_error(page.text()) == "");
    CHECK(page.text().find("<svg") != std::string::npos);
    const Json machine = Json::parse(json.text());
    CHECK(machine.at("report").at("quick") == true);
    CHECK(machine.at("report").at("tables").size() == 2);
    const Outcome shown = run_tool("cpu --from " + json.path() + " --html " + again.path());
    CHECK(shown.code == 0);
    CHECK(quick.contains(shown.output.substr(shown.output.find("FMA peak"))));
}

TEST_CASE("tool: cpu --compare shows the figures that differ with their ratio, and the plans that change") {
    const TemporaryFile first("a.json"), second("b.json");
    REQUIRE(run_tool("cpu --quick --isa avx2 --threads 1 --json " + first.path()).code == 0);
    Json machine = Json::parse(first.text());
    const std::string fma = "vfmadd231ps ymm, ymm, ymm";
    for (Json& table : machine["report"]["tables"])
        for (Json& reading : table["readings"])
            reading["low"] = reading["high"] = reading["median"] = 100.0;
    write(first, machine);
    const Outcome same = run_tool("cpu --compare " + first.path() + " " + first.path());
    CHECK(same.code == 0);
    CHECK(same.contains("plans that change: 0 of 33"));
    CHECK(same.output.find("x\n") == std::string::npos);
    Json other = machine;
    median_of(other, "peaks", fma) = 250.0;
    for (Json& table : other["report"]["tables"])
        for (Json& reading : table["readings"])
            reading["low"] = reading["high"] = reading["median"];
    other["features"] = {"avx2"};
    other["caches"]["l1"] = 16384;
    other["caches"]["l2"] = 131072;
    write(second, other);
    const Outcome outcome = run_tool("cpu --compare " + first.path() + " " + second.path());
    INFO(outcome.output);
    CHECK(outcome.code == 0);
    CHECK(outcome.contains("2.50x"));
    CHECK(outcome.contains(fma));
    CHECK(outcome.contains("of B only: none"));
    CHECK_FALSE(outcome.contains("plans that change: 0 of 33"));
    CHECK(outcome.contains("    B  isa=avx2"));
}

TEST_CASE("tool: cpu's wrong options and files are named") {
    const TemporaryFile empty("empty.json");
    std::ofstream(empty.path()) << "{}";
    const Outcome compared = run_tool("cpu --compare " + empty.path() + " " + empty.path());
    CHECK(compared.code == 1);
    CHECK(compared.contains("machine.format is missing."));
    const std::string machines = TANDEM_SOURCE_DIR "/docs/machines/";
    CHECK(run_tool("cpu --from " + machines + "zen-5.json")
              .contains("has no \"report\"; accepted: a file as tandem cpu --json writes it."));
    const Outcome planned = run_tool("cpu --compare " + machines + "zen-4.json " + machines + "zen-5.json");
    CHECK(planned.code == 0);
    CHECK(planned.contains("broadcast-registers"));  // what an embedded one costs on Zen 5
    CHECK(
        run_tool("cpu --from /nonexistent.json").contains("/nonexistent.json cannot be read: No such file"));
    CHECK(run_tool("cpu --quick --json /nonexistent/a.json").code == 1);
    CHECK(run_tool("cpu --threads -1").code == 2);
    CHECK(run_tool("cpu --isa sse9").code == 2);
}

#endif
