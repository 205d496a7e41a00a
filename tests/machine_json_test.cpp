// Machine <-> JSON: what is written is read back, and what describes no machine is an error.
#include "core/run/machine_json.hpp"

#include "support/doctest.hpp"
#include <unistd.h>

#include <filesystem>

#include "core/run/json_reader.hpp"

using namespace tandem;

namespace {

/// A Zen 4 desktop processor.
Machine sample() {
    Machine machine;
    machine.identity = {"AuthenticAMD", 0x19, 0x61, 2};
    machine = machine_with(machine, Isa::avx512_bf16.with(IsaFeature::vbmi));
    machine.cpu_name = "AMD Ryzen 9 7950X 16-Core Processor";
    machine.caches = {32 << 10, 1 << 20, 32 << 20, 8};
    machine.cores = {16, 2};
    return machine;
}

std::string error_of(const Json& json) {
    const Result<Machine> machine = machine_from_text(json.dump(), "m.json");
    return machine ? "" : machine.error().message;
}

Json changed(const char* member, const Json& value) {
    Json json = Json::parse(machine_to_text(sample()));
    json[member] = value;
    return json;
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("machine json: a machine survives the way there and back, with what its kind implies") {
    const Result<Machine> again = machine_from_text(machine_to_text(sample()), "m.json");
    REQUIRE_MESSAGE(again.ok(), again.error().message);
    CHECK(*again == sample());
    CHECK_FALSE(again->slow_bf16);
    CHECK(to_string(again->isa) == "avx512_bf16+vbmi");
    const Result<Machine> host = host_machine();
    if (!host) return;
    const Result<Machine> read = machine_from_text(machine_to_text(*host), "m.json");
    REQUIRE(read.ok());
    CHECK(read->features == host->features);
    CHECK(read->slow_bf16 == host->slow_bf16);
    CHECK(read->caches == host->caches);
    CHECK(read->cores == host->cores);
}

TEST_CASE("machine json: members have the documented names") {
    const Json json = Json::parse(machine_to_text(sample()));
    CHECK(json["format"] == 2);
    CHECK(json["vendor"] == "AuthenticAMD");
    CHECK(json["family"] == 25);
    CHECK(json["features"] == Json{"avx2", "avx512", "vnni", "bf16", "vbmi"});
    CHECK(json["caches"]["l3_cores"] == 8);
    CHECK(json["topology"]["threads_per_core"] == 2);
}

TEST_CASE("machine json: it generates for what kernels use of the features") {
    const Json features{"avx2", "avx_vnni", "avx512", "vnni"};
    const Result<Machine> machine = machine_from_text(changed("features", features).dump(), "m.json");
    REQUIRE(machine.ok());
    CHECK(machine->isa == Isa::avx512_vnni);
    CHECK(machine->features == Isa::avx512_vnni.with(IsaFeature::avx_vnni));
}

TEST_CASE("machine json: errors name the text, the member, its value and what is accepted") {
    CHECK(error_of(changed("format", 3)) == "m.json: machine.format is 3; 1 or 2 is accepted.");
    CHECK(machine_from_text(changed("format", 1).dump(), "m.json").ok());
    CHECK(error_of(changed("family", -1)) ==
          "m.json: machine.family is -1; a whole number from 0 to 2147483647 is accepted.");
    CHECK(error_of(changed("cpu", 7)) == "m.json: machine.cpu is 7; a text is accepted.");
    CHECK(contains(error_of(changed("features", "avx2")),
                   "machine.features is \"avx2\"; a list of features is"));
    CHECK(contains(error_of(changed("features", {"avx2", "sse9"})),
                   "machine.features[] is \"sse9\"; \"avx2\", "));
    CHECK(contains(error_of(changed("features", {"avx512"})), "a list with \"avx2\" is accepted"));
    CHECK(contains(error_of(changed("caches", {{"l1", 0}, {"l2", 1}, {"l3", 1}, {"l3_cores", 1}})),
                   "machine.caches.l1 is 0; 1 or more is accepted."));
    CHECK(contains(error_of(changed("caches", {{"l1", 1}})), "machine.caches.l2 is missing"));
    CHECK(contains(error_of(changed("speed", 1)), "machine has 11 members; exactly these 10 are accepted"));
    CHECK(error_of(changed("rates", 1)) == "m.json: machine.rates is 1; an object is accepted.");
    CHECK(contains(error_of(Json::array()), "m.json: machine is []; an object is accepted."));
    CHECK(contains(machine_from_text("{", "m.json").error().message,
                   "m.json is malformed: parse error at line 1"));
}

TEST_CASE("machine json: files") {
    const std::string path =
        (std::filesystem::temp_directory_path() / ("tandem_machine_" + std::to_string(getpid()))).string();
    REQUIRE(save_machine(path, sample()).ok());
    const Result<Machine> again = read_machine(path);
    REQUIRE(again.ok());
    CHECK(*again == sample());
    std::filesystem::remove(path);
    CHECK(contains(read_machine(path).error().message, "cannot be read: No such file"));
    CHECK(contains(save_machine("/nonexistent/m.json", sample()).error().message,
                   "Creating machine file /nonexistent/m.json"));
}
