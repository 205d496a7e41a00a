// Profiles: what they hold, where they are found, and what they may change.
#include "tandem/machine_profile.hpp"

#include "support/doctest.hpp"

#include <filesystem>
#include <fstream>
#include <random>

#include "core/plan/arithmetic.hpp"
#include "core/plan/choice.hpp"
#include "core/plan/register_budget.hpp"
#include "core/run/host_profile.hpp"
#include "core/run/known_machines.hpp"
#include "core/run/machine_json.hpp"
#include "core/run/profile_measurement.hpp"
#include "core/run/verification.hpp"
#include "support/guarded_call.hpp"
#include "support/random_chain.hpp"
#include "support/temporary_file.hpp"
#include "tandem/tandem.hpp"

using namespace tandem;

namespace {

// Numbers with at most four digits, which is what files keep.
MachineRates sample_rates(Isa isa) {
    MachineRates rates = default_rates(Machine{.isa = isa});
    rates.port = {.fma = 0.25,
                  .narrow_fma = 0.125,
                  .fma_latency = 1,
                  .load = 0.25,
                  .broadcast = 0.125,
                  .embedded = 0.125,
                  .store = 0.5,
                  .instruction = 0.05};
    rates.dot_gflops.fill(128);
    rates.near = {.rows = 0.5, .pixels = 0, .weights = 0.25, .output = 1};
    rates.transform = 0.5;
    rates.tile_seconds = 100e-9;
    rates.dense = {{2, 14, true, 7.5, 11.5}, {2, 14, false, 7.25, 12.5}, {1, 28, true, 7.25, 0}};
    rates.depthwise = {{3, 1, 2, 2.5, 2.25}, {3, 2, 2, 3.5, 2.25}};
    rates.caches = {};
    rates.measured = true;
    return rates;
}

Machine sample_machine(Isa isa = Isa::avx512) {
    Machine machine{.isa = isa};
    machine.features = isa;
    machine.cpu_name = "Abacus 2000";
    machine.identity = {.vendor = "Counters", .family = 7, .model = 3, .stepping = 1};
    MeasuredRates measured;
    measured.source = "measured by a test";
    measured.ymm = sample_rates(Isa::avx2);
    measured.zmm = sample_rates(Isa::avx512);
    machine.measured = std::make_shared<const MeasuredRates>(measured);
    return machine;
}

std::string error_of(Json json) {
    const Result<Machine> machine = machine_from_text(json.dump(), "p.json");
    return machine ? "" : machine.error().message;
}

}  // namespace

TEST_CASE("profile: rates survive the way to JSON and back") {
    const Machine machine = sample_machine();
    const Result<Machine> again = machine_from_text(machine_to_text(machine), "p.json");
    REQUIRE_MESSAGE(again.ok(), again.error().message);
    REQUIRE(again->measured);
    MeasuredRates expected = *machine.measured, found = *again->measured;
    for (MeasuredRates* const rates : {&expected, &found})
        for (auto* const width : {&rates->ymm, &rates->zmm})
            (*width)->caches = {};
    CHECK(found.ymm->tile_seconds == doctest::Approx(100e-9));
    found.ymm->tile_seconds = found.zmm->tile_seconds = 100e-9;
    CHECK(found == expected);
}

TEST_CASE("profile: errors name the member, its value and what is accepted") {
    const Json json = machine_to_json(sample_machine());
    const auto changed = [&](const char* pointer, const Json& value) {
        Json other = json;
        other[Json::json_pointer(pointer)] = value;
        return error_of(other);
    };
    CHECK(changed("/rates/zmm/port/fma", 0) ==
          "p.json: machine.rates.zmm.port.fma is 0; 1e-06 to 1000000000000 is accepted.");
    CHECK(changed("/rates/zmm/tile", -1) ==
          "p.json: machine.rates.zmm.tile is -1; 0 or 1e-06 to 1000000000000 is accepted.");
    CHECK(changed("/rates/zmm/exposed/near/rows", 2) ==
          "p.json: machine.rates.zmm.exposed.near.rows is 2.0; 0 to 1 is accepted.");
    CHECK(changed("/rates/zmm/gb_per_s/L2", 1e300) != "");
    CHECK(changed("/rates/ymm/dense/0/embedded", 3) ==
          "p.json: machine.rates.ymm.dense[0].embedded is 3; true or false is accepted.");
    CHECK(changed("/rates/ymm/dense/1/step", 0) ==
          "p.json: machine.rates.ymm.dense[1] has vectors 2, pixels 14 and "
          "step 0; positive ones are accepted.");
    CHECK(changed("/rates/zmm/depthwise/0/ports", 0) ==
          "p.json: machine.rates.zmm.depthwise[0] has kernel 3, stride 1, rows 2, output 2.5 and ports 0; "
          "positive "
          "ones are accepted.");
    CHECK(changed("/rates/ymm/dense", 3) == "p.json: machine.rates.ymm.dense is 3; a list is accepted.");
    CHECK(changed("/rates/source", 3) == "p.json: machine.rates.source is 3; a text is accepted.");
    CHECK(changed("/report", 3) == "");  // tandem cpu's own
    // What measuring may find to cost nothing is read again.
    CHECK(changed("/rates/zmm/transform", 0) == "");
    CHECK(changed("/rates/zmm/tile", 0) == "");
    CHECK(changed("/rates/zmm/exposed/far/rows", 0) == "");
    CHECK(changed("/rates/zmm/dense/0/fixed", 0) == "");
}

TEST_CASE("profile: a file from before a dot existed gives it what is usual") {
    for (const Machine& machine : known_machines())
        for (const auto& width : {machine.measured->ymm, machine.measured->zmm})
            for (const Dot dot : all_dots)
                if (width) CHECK(width->peak(dot) > 0);
}

TEST_CASE("profile: bodies are interpolated, and stand for what is beyond them") {
    MachineRates rates = sample_rates(Isa::avx512);
    rates.dense = {{2, 10, true, 5.5, 4}, {2, 14, true, 7.7, 8}};
    const auto step = [&](double pixels) {
        return dense_step(rates, pixels, 2, true, 1);
    };
    CHECK(step(10) == doctest::Approx(5.5));
    CHECK(step(14) == doctest::Approx(7.7));
    CHECK(step(12) == doctest::Approx(6.6));
    CHECK(step(5) == doctest::Approx(2.75));
    CHECK(dense_fixed(rates, 12, 2, true) == doctest::Approx(6));
    CHECK(dense_fixed(rates, 28, 2, true) == doctest::Approx(8));
    // By the ports where nothing of the form was measured: FMAs, or an accumulator's latency.
    CHECK(dense_step(rates, 14, 2, false, 1) == doctest::Approx(28 * 0.25));
    CHECK(dense_step(rates, 1, 1, false, 1) == doctest::Approx(1));
    CHECK(dense_step(rates, 14, 2, false, 2) == doctest::Approx(28 * 0.5));
}

TEST_CASE("profile: the named file comes first, then the saved one, then what is built in") {
    const test::TemporaryFile named("profile_named.json"), saved("profile_saved.json");
    Machine machine = sample_machine();
    const auto with_source = [&](const char* source, Machine other) {
        MeasuredRates rates = *other.measured;
        rates.source = source;
        other.measured = std::make_shared<const MeasuredRates>(rates);
        return other;
    };
    REQUIRE(save_machine(named.path(), with_source("named", machine)).ok());
    REQUIRE(save_machine(saved.path(), with_source("saved", machine)).ok());
    const auto source = [&](const ProfileSearch& search) -> std::string {
        const auto rates = find_rates(search, machine);
        REQUIRE(rates.ok());
        return *rates ? (*rates)->source : "nothing";
    };
    CHECK(source({.named = named.path(), .saved = saved.path()}) == "named");
    CHECK(source({.named = std::nullopt, .saved = saved.path()}) == "saved");
    CHECK(source({}) == "nothing");
    machine.identity.stepping = 2;  // no longer what was saved
    CHECK(source({.named = std::nullopt, .saved = saved.path()}) == "nothing");
    CHECK(source({.named = named.path(), .saved = ""}) == "named");
    machine.identity = known_machines().front().identity;
    CHECK(source({}) == known_machines().front().measured->source);
    const auto missing = find_rates({.named = "/nowhere/p.json", .saved = ""}, machine);
    REQUIRE_FALSE(missing.ok());
    CHECK(missing.error().message.starts_with("TANDEM_MACHINE: /nowhere/p.json cannot be read: "));
    CHECK(find_rates({.named = "/", .saved = ""}, machine)
              .error()
              .message.starts_with("TANDEM_MACHINE: / cannot be read"));
}

TEST_CASE("profile: widths that a file lacks are those of the kind; a file without any is refused") {
    Machine machine = known_machines().front();
    const MeasuredRates whole = *machine.measured;
    REQUIRE((whole.ymm && whole.zmm));
    MeasuredRates narrow{.ymm = sample_rates(Isa::avx2), .zmm = std::nullopt, .source = "narrow"};
    machine.measured = std::make_shared<const MeasuredRates>(narrow);
    const test::TemporaryFile file("profile_narrow.json");
    for (const bool named : {true, false}) {
        REQUIRE(save_machine(file.path(), machine).ok());
        const auto rates = find_rates(named ? ProfileSearch{.named = file.path(), .saved = ""}
                                            : ProfileSearch{.named = std::nullopt, .saved = file.path()},
                                      machine);
        REQUIRE(rates.ok());
        CHECK((*rates)->source == "narrow");
        CHECK((*rates)->ymm->port == narrow.ymm->port);
        CHECK((*rates)->zmm->port == whole.zmm->port);
    }
    machine.measured = nullptr;
    REQUIRE(save_machine(file.path(), machine).ok());
    CHECK(find_rates({.named = file.path(), .saved = ""}, machine).error().message.find("has no \"rates\"") !=
          std::string::npos);
}

TEST_CASE("profile: every file of docs/machines is built in") {
    std::size_t files = 0;
    for (const auto& file : std::filesystem::directory_iterator(TANDEM_SOURCE_DIR "/docs/machines"))
        files += file.path().extension() == ".json";
    CHECK(files >= 3);
    REQUIRE(known_machines().size() == files);
    for (const Machine& machine : known_machines()) {
        CAPTURE(machine.cpu_name);
        CHECK_FALSE(machine.identity.vendor.empty());
        CHECK((machine.measured && (machine.measured->ymm || machine.measured->zmm)));
        Machine next = machine;
        next.identity.stepping += 1;
        CHECK(known_rates(next) == machine.measured);
    }
    CHECK(known_rates(sample_machine()) == nullptr);
}

namespace {

/// Every measured block is found again by what plans of this ISA say of their form.
void check_bodies(const MachineRates& rates, Isa isa) {
    CHECK(rates.dense.size() >= 10);
    for (const DenseBodyRate& body : rates.dense) {
        StagePlan stage{.block_pixels = body.pixels, .block_vectors = body.vectors};
        stage.broadcast =
            body.embedded || !can_embed_broadcast(isa, Dot::f32) ? Broadcast::embedded : Broadcast::registers;
        const bool embedded = embeds_broadcast(isa, stage);
        CHECK(embedded == body.embedded);
        CHECK(dense_step(rates, body.pixels, body.vectors, embedded, 1) == doctest::Approx(body.step));
        CHECK(dense_fixed(rates, body.pixels, body.vectors, embedded) == doctest::Approx(body.fixed));
    }
}

}  // namespace

TEST_CASE("profile: measuring fills in every rate, of both widths") {
    const Result<Machine> host = host_machine();
    if (!host) return;
    const MeasuredRates all = measure_machine(*host, 1, Widths::all);
    REQUIRE(all.ymm);
    check_bodies(*all.ymm, Isa::avx2);
    CHECK(all.zmm.has_value() == is_avx512(host->isa));
    if (all.zmm) check_bodies(*all.zmm, Isa::avx512);
    for (const auto& width : {all.ymm, all.zmm}) {
        if (!width) continue;
        const MachineRates& rates = *width;
        CHECK(rates.measured);
        CHECK(rates.port.fma > 0);
        CHECK(rates.transform >= 0);
        CHECK(rates.depthwise.size() >= 8);
        for (const DepthwiseBodyRate& body : rates.depthwise)
            CHECK((body.output >= body.ports && body.ports > 0));
        for (const ExposedShares& shares : {rates.near, rates.far})
            for (const double share : {shares.rows, shares.pixels, shares.weights, shares.output})
                CHECK((share >= 0 && share <= 1));
    }
    for (const Machine& machine : known_machines()) {
        if (machine.measured->ymm) check_bodies(*machine.measured->ymm, Isa::avx2);
        if (machine.measured->zmm) check_bodies(*machine.measured->zmm, Isa::avx512);
    }
}

TEST_CASE("profile: it changes plans, but no arithmetic and no bit") {
    const Result<MachineProfile> own = MachineProfile::of_this_machine();
    if (!own) return;
    std::mt19937_64 engine(11);
    int different = 0;
    for (const Machine& known : known_machines()) {
        const test::TemporaryFile file("profile_known.json");
        REQUIRE(save_machine(file.path(), known).ok());
        Context context({.profile = *MachineProfile::load(file.path())}), plain;
        for (int i = 0; i < 12; ++i) {
            const ConvChain chain = test::random_pair(engine);
            const Isa isa = least_isa(chain.dtype, chain.math, host_isas().back());
            const auto a = context.dispatch(chain, {.isa = isa}), b = plain.dispatch(chain, {.isa = isa});
            REQUIRE(a.ok());
            REQUIRE(b.ok());
            CAPTURE(a->name());
            different += !(a->plan() == b->plan());
            for (int stage = 0; stage < max_stages; ++stage) {
                CHECK(a->plan().stage(stage).algorithm == b->plan().stage(stage).algorithm);
                CHECK(a->plan().stage(stage).dot == b->plan().stage(stage).dot);
            }
            test::GuardedCall one(*make_problem(chain), *a), other(*make_problem(chain), *b);
            one.clear();
            other.clear();
            REQUIRE((*a)(one.args()).ok());
            REQUIRE((*b)(other.args()).ok());
            CHECK(test::bitwise_difference(one.output(), other.output()) == "");
        }
    }
    // Of ymm registers only one of the known machines has rates.
    if (is_avx512(host_isas().back())) CHECK(different > 0);
}

TEST_CASE("profile: explain() says whose rates it plans with") {
    const Result<Machine> host = host_machine();
    if (!host) return;
    const test::TemporaryFile file("profile_source.json");
    Machine machine = *host;
    machine.measured = sample_machine().measured;
    REQUIRE(save_machine(file.path(), machine).ok());
    const Result<MachineProfile> profile = MachineProfile::load(file.path());
    REQUIRE(profile.ok());
    CHECK(profile->source() == "measured by a test");
    Context context({.profile = *profile});
    const auto kernel = context.dispatch(*ConvChain::parse("1x16x14x14:dw3+bias:conv1o32"));
    REQUIRE(kernel.ok());
    CHECK(kernel->explain().find("Fuse or not: with rates measured by a test ") != std::string::npos);
    const auto single = context.dispatch(*ConvChain::parse("1x16x14x14:conv3o32"));
    REQUIRE(single.ok());
    CHECK(single->explain().find("Predicted with rates measured by a test: ") != std::string::npos);
}
