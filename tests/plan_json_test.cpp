// Plan <-> JSON: what is written is read back, and what is not a plan is an error that names the field.
#include "core/run/plan_json.hpp"

#include "support/doctest.hpp"

#include <nlohmann/json.hpp>
#include <random>

#include "core/plan/candidates.hpp"
#include "support/random_chain.hpp"

using namespace tandem;
using Json = nlohmann::ordered_json;

namespace {

Plan sample() {
    Plan plan;
    plan.isa = Isa::avx512;
    plan.edges[0] = Edge::sliding;
    plan.tile_h = 2, plan.tile_w = 56, plan.channel_splits = 3;
    plan.prefetch_next = true;
    plan.stages[0] = {Algorithm::direct,    Dot::f32,    12,  1, 2, true, 64,
                      Broadcast::registers, point_ahead, true};
    plan.stages[1] = {Algorithm::winograd4, Dot::f32, 14, 2, 1, false, 0, Broadcast::embedded, 8192, false};
    return plan;
}

std::string error_of(const Json& json) {
    const Result<Plan> plan = plan_from_json(json);
    return plan ? "" : plan.error().message;
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("plan json: every candidate of random pairs survives the way there and back") {
    std::mt19937_64 engine(11);
    for (int round = 0; round < 20; ++round) {
        const Result<Problem> problem = make_problem(test::random_pair(engine));
        REQUIRE(problem);
        Machine machine;
        machine.isa = round % 2 == 0 ? Isa::avx2 : Isa::avx512;
        for (const Plan& plan : candidate_plans(*problem, machine, 1 + round % 3)) {
            const Result<Plan> again = plan_from_json(Json::parse(plan_to_json(plan).dump()));
            REQUIRE_MESSAGE(again.ok(), (again ? "" : again.error().message));
            CHECK(*again == plan);
        }
    }
    const Result<Plan> again = plan_from_json(plan_to_json(sample()));
    REQUIRE(again);
    CHECK(*again == sample());
}

TEST_CASE("plan json: a plan from before broadcasts and prefetches were decisions means what it meant then") {
    Plan plan = sample();
    plan.stages[0] = {.block_pixels = 9, .block_vectors = 3, .broadcast = Broadcast::embedded};
    plan.stages[1].pixel_pairs = true;
    Json json = plan_to_json(plan);
    for (Json& stage : json["stages"])
        stage.erase("broadcast"), stage.erase("weights_ahead"), stage.erase("pixel_pairs");
    const Result<Plan> read = plan_from_json(json);
    REQUIRE(read);
    CHECK(read->stages[0].broadcast == Broadcast::registers);
    CHECK(read->stages[1].broadcast == Broadcast::embedded);
    CHECK(read->stages[1].weights_ahead == point_ahead);
    CHECK_FALSE(read->stages[1].pixel_pairs);
    json["stages"][0]["broadcast"] = "sometimes";
    CHECK(error_of(json) ==
          R"(plan.stages[0].broadcast is "sometimes"; "embedded", "registers" are accepted.)");
}

TEST_CASE("plan json: members have names, not positions") {
    const Json json = plan_to_json(sample());
    CHECK(json["tile_h"] == 2);
    CHECK(json["edges"] == Json::array({"sliding"}));
    CHECK(json["stages"][1]["algorithm"] == "winograd4");
    CHECK(json["stages"][0]["block_channels"] == 64);
    Json reversed = Json::object();
    for (auto it = json.end(); it != json.begin();)
        --it, reversed[it.key()] = it.value();
    CHECK(plan_from_json(reversed).ok());
}

TEST_CASE("plan json: ISAs by the names of presets, as ever, and with features behind") {
    Json json = plan_to_json(sample());
    for (const char* name : {"avx2", "avx2_vnni", "avx512", "avx512_vnni", "avx512_bf16", "avx512_fp16",
                             "amx", "avx512_vnni+vbmi"}) {
        json["isa"] = name;
        const Result<Plan> plan = plan_from_json(json);
        REQUIRE_MESSAGE(plan.ok(), name);
        CHECK(plan_to_json(*plan)["isa"] == name);
    }
    json["isa"] = "avx9";
    CHECK(contains(error_of(json), "plan.isa: ISA 'avx9' is not known; accepted: avx2, "));
    json["isa"] = 3;
    CHECK(error_of(json) == "plan.isa is 3; the name of an ISA is accepted.");
}

TEST_CASE("plan json: errors name the field, its value and what is accepted") {
    const Json good = plan_to_json(sample());
    Json json = good;
    json["tile_h"] = -1;
    CHECK(error_of(json) == "plan.tile_h is -1; a whole number from 0 to 2147483647 is accepted.");
    json["tile_h"] = 4294967298;  // 2 after truncation
    CHECK(contains(error_of(json), "plan.tile_h is 4294967298"));
    json["tile_h"] = 2.5;
    CHECK(contains(error_of(json), "plan.tile_h is 2.5"));
    json = good;
    json["edges"][0] = "both";
    CHECK(error_of(json) == R"(plan.edges[0] is "both"; "recompute", "sliding", "stored" are accepted.)");
    json["edges"] = Json::array();
    CHECK(error_of(json) == "plan.edges is []; a list of 1 is accepted.");
    json = good;
    json["prefetch_next"] = 1;
    CHECK(error_of(json) == "plan.prefetch_next is 1; true or false is accepted.");
    json = good;
    json.erase("backend");
    CHECK(error_of(json) == "plan.backend is missing.");
    json = good;
    json["unroll"] = 4;
    CHECK(contains(error_of(json), "plan has 9 members; exactly these 8"));
    json = good;
    json["stages"].push_back(json["stages"][0]);
    CHECK(contains(error_of(json), "a list of 2 is accepted"));  // edges
    json["stages"] = Json::array();
    CHECK(contains(error_of(json), "plan.stages is []; a list of 1 to 4 is accepted."));
    json = good;
    json["stages"][1]["block_rows"] = nullptr;
    CHECK(contains(error_of(json), "plan.stages[1].block_rows is null"));
    CHECK(contains(error_of(Json::array()), "plan is []; an object"));
    CHECK(contains(error_of(Json()), "plan is null; an object"));
}

TEST_CASE(
    "plan json: stored edges bring their tiling, and pairs' plans from before there were edges are read") {
    Plan plan = sample();
    plan.stages[2] = plan.stages[0];
    plan.edges = {Edge::stored, Edge::recompute, Edge::recompute};
    plan.stored[0] = {.tile_h = 4, .tile_w = 28, .channel_splits = 2, .prefetch_next = false};
    const Json json = plan_to_json(plan);
    CHECK(json["stored"].size() == 1);
    const Result<Plan> again = plan_from_json(json);
    REQUIRE(again);
    CHECK(*again == plan);
    Json broken = json;
    broken["stored"][0].erase("tile_w");
    CHECK(error_of(broken) == "plan.stored[0].tile_w is missing.");

    Json old = plan_to_json(sample());
    old.erase("edges");
    old["fusion"] = "sliding";
    const Result<Plan> pair = plan_from_json(old);
    REQUIRE(pair);
    CHECK(*pair == sample());
    old["fusion"] = "stored";
    CHECK(error_of(old) == R"(plan.fusion is "stored"; "recompute", "sliding", "single" are accepted.)");
}
