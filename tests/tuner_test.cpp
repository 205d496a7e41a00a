// The tuner's decisions with invented measurements, and one real run.
#include "core/run/tuner.hpp"

#include "support/doctest.hpp"

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include "core/plan/candidates.hpp"
#include "core/plan/choice.hpp"
#include "core/plan/tiling.hpp"

using namespace tandem;

namespace {

Problem problem_of(const char* text) {
    const Result<ConvPair> pair = ConvPair::parse(text);
    REQUIRE(pair);
    const Result<Problem> problem = make_problem(*pair);
    REQUIRE(problem);
    return *problem;
}

const char* const layer = "1x64x56x56:dw3+bias+relu6:conv1o128+bias+relu6";

Machine machine_for_tests() {
    Machine machine;
    machine.isa = Isa::avx512;
    return machine;
}

/// Every plan takes the time that `seconds` says, give or take `noise`, and the noise comes in samples.
class InventedClock {
public:
    explicit InventedClock(std::function<double(const Plan&)> seconds, double noise = 0,
                           std::uint64_t seed = 1)
        : seconds_(std::move(seconds)), noise_(noise), engine_(seed) {}

    std::vector<Result<Series>> operator()(std::span<const Plan> plans, const TimingRequest& request) {
        calls.push_back(plans.size());
        std::vector<Result<Series>> all;
        for (const Plan& plan : plans) {
            const double seconds = seconds_(plan);
            if (seconds < 0) {
                all.emplace_back(Error{ErrorCode::unsupported, "it computes something else"});
                continue;
            }
            Series series;
            for (int i = 0; i < std::max(request.min_rounds, 20); ++i) {
                series.seconds.push_back(seconds * (1 + noise_ * std::normal_distribution<>()(engine_)));
                series.kept.push_back(true);
            }
            series.samples = static_cast<int>(series.seconds.size());
            series.median = quantile(series.seconds, 0.5);
            series.lower_quartile = quantile(series.seconds, 0.25);
            series.upper_quartile = quantile(series.seconds, 0.75);
            all.emplace_back(std::move(series));
        }
        return all;
    }

    std::vector<std::size_t> calls;  // plans asked for

private:
    std::function<double(const Plan&)> seconds_;
    double noise_;
    std::mt19937_64 engine_;
};

Result<TuneReport> tune_with(InventedClock& clock, Effort effort = Effort::measure, double seconds = 0) {
    return tune(problem_of(layer), machine_for_tests(),
                {.effort = effort,
                 .seconds = seconds,
                 .time_plans = [&](std::span<const Plan> plans, const TimingRequest& request) {
                     return clock(plans, request);
                 }});
}

constexpr double enough = 5;  // seconds to time every candidate

std::vector<Plan> all_candidates() { return candidate_plans(problem_of(layer), machine_for_tests(), 1); }

}  // namespace

TEST_CASE("tuner: finds the one plan that is faster") {
    const Plan best = all_candidates().back();
    InventedClock clock([&](const Plan& plan) { return plan == best ? 80e-6 : 100e-6; }, 0.02);
    const Result<TuneReport> report = tune_with(clock, Effort::measure, enough);
    REQUIRE(report);
    CHECK(report->plan == best);
    CHECK(!report->planner_kept);
    CHECK(report->ratio == doctest::Approx(1.25).epsilon(0.03));
    CHECK(report->microseconds == doctest::Approx(80).epsilon(0.03));
    CHECK(report->planner_microseconds == doctest::Approx(100).epsilon(0.03));
    CHECK(report->timed == report->candidates);
}

TEST_CASE("tuner: differences within the noise leave the planner's plan, but for a fluke in ten") {
    int flukes = 0;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        InventedClock clock([](const Plan&) { return 100e-6; }, 0.05, seed);
        const Result<TuneReport> report = tune_with(clock);
        REQUIRE(report);
        CHECK(report->planner_kept == (report->plan == report->planner_plan));
        CHECK(report->planner_kept == (report->ratio == 1));
        flukes += !report->planner_kept;
    }
    CHECK(flukes <= 2);
}

TEST_CASE("tuner: a clearly worse field is left after one elimination") {
    const Plan rules = choose_plan(problem_of(layer), machine_for_tests(), 1);
    InventedClock clock([&](const Plan& plan) { return plan == rules ? 100e-6 : 200e-6; }, 0.02);
    const Result<TuneReport> report = tune_with(clock, Effort::measure, enough);
    REQUIRE(report);
    CHECK(report->planner_kept);
    CHECK(clock.calls == std::vector<std::size_t>{1, report->candidates,
                                                  1});  // the planner's plan, the elimination, the final
}

TEST_CASE("tuner: where all are close, each elimination keeps a third") {
    InventedClock clock([](const Plan& plan) { return 100e-6 * (1 + 1e-3 * plan.tile_h); });
    const Result<TuneReport> report = tune_with(clock);
    REQUIRE(report);
    REQUIRE(clock.calls.size() >= 4);
    for (std::size_t i = 2; i + 1 < clock.calls.size(); ++i)
        CHECK(clock.calls[i] <= std::max<std::size_t>(4, (clock.calls[i - 1] + 2) / 3));
    CHECK(clock.calls.back() <= 5);
}

TEST_CASE("tuner: the same measurements give the same report") {
    const auto run = [] {
        InventedClock clock(
            [](const Plan& plan) { return 100e-6 + 1e-6 * static_cast<double>(hash_value(plan) % 40); }, 0.05,
            9);
        return *tune_with(clock);
    };
    const TuneReport a = run(), b = run();
    CHECK(a.plan == b.plan);
    CHECK(a.ratio == b.ratio);
    CHECK(a.microseconds == b.microseconds);
}

TEST_CASE("tuner: measure lands within 3 % of exhaustive") {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        const auto seconds = [&](const Plan& plan) {
            return 100e-6 + 1e-6 * static_cast<double>((hash_value(plan) * (2 * seed + 1) >> 20) % 60);
        };
        InventedClock quick(seconds, 0.01, seed), thorough(seconds, 0.01, seed + 100);
        const Result<TuneReport> a = tune_with(quick), b = tune_with(thorough, Effort::exhaustive);
        REQUIRE(a);
        REQUIRE(b);
        CHECK(seconds(a->plan) <= 1.03 * seconds(b->plan));
    }
}

TEST_CASE("tuner: slow layers get as few candidates as the time allows; exhaustive takes all") {
    const std::size_t all = all_candidates().size();
    InventedClock clock([](const Plan&) { return 50e-3; });
    const Result<TuneReport> report = tune_with(clock);
    REQUIRE(report);
    CHECK(report->candidates == all);
    CHECK(report->timed == 4);
    InventedClock patient([](const Plan&) { return 50e-3; });
    CHECK(tune_with(patient, Effort::exhaustive)->timed == all);
    InventedClock longer([](const Plan&) { return 50e-3; });
    CHECK(tune_with(longer, Effort::measure, 10)->timed > 4);
}

TEST_CASE("tuner: candidates that cannot be timed are noted, whatever their time would be") {
    const Plan wrong = all_candidates().back();
    InventedClock clock([&](const Plan& plan) { return plan == wrong ? -1 : 100e-6; });
    const Result<TuneReport> report = tune_with(clock, Effort::measure, enough);
    REQUIRE(report);
    REQUIRE(report->notes.size() == 1);
    CHECK(report->notes.front() == to_string(wrong) + ": it computes something else");
    InventedClock none([](const Plan&) { return -1; });
    CHECK(!tune_with(none));
}

TEST_CASE("tuner: estimate measures nothing; bad options are errors") {
    InventedClock clock([](const Plan&) { return 1e-3; });
    const Result<TuneReport> report = tune_with(clock, Effort::estimate);
    REQUIRE(report);
    CHECK(report->planner_kept);
    CHECK(clock.calls.empty());
    CHECK(!tune(problem_of(layer), machine_for_tests(), {.threads = 0}));
    CHECK(!tune(problem_of(layer), machine_for_tests(), {.seconds = -1}));
}

TEST_CASE(
    "tuner: a real run, on one thread and two, gives a plan that can run and leaves the caller's tensors "
    "alone") {
    const Problem problem = problem_of("2x16x12x12:dw3+bias+relu6:conv1o32+bias+sum");
    const Result<Machine> machine = host_machine();
    REQUIRE(machine);
    for (const int threads : {1, 2}) {
        double last = 0;
        const auto progress = [&](const TuneProgress& now) {
            CHECK(now.fraction >= last);
            last = now.fraction;
        };
        const Result<TuneReport> report =
            tune(problem, *machine, {.threads = threads, .seconds = 0.1, .progress = progress});
        REQUIRE_MESSAGE(report.ok(), (report ? "" : report.error().message));
        CHECK(check_plan(problem, report->plan).ok());
        CHECK(report->microseconds > 0);
        CHECK(report->timed > 1);
        CHECK(last == 1);
        for (const std::string& note : report->notes)
            CHECK_MESSAGE(note.find("under the planner's plan") == std::string::npos, note);
    }
}

TEST_CASE("plan timer: plans that this problem cannot have are errors, the others are timed") {
    const Problem problem = problem_of("1x16x12x12:dw3:conv1o32");
    const Result<Machine> machine = host_machine();
    REQUIRE(machine);
    Result<PlanTimer> timer = PlanTimer::create(problem, 1);
    REQUIRE(timer);
    const Plan good = choose_plan(problem, *machine, 1);
    Plan bad = good;
    bad.tile_h = 99;
    const std::vector<Plan> plans{good, bad};
    const auto series = timer->time(plans, {.seconds = 0.01});
    REQUIRE(series.size() == 2);
    REQUIRE(series[0]);
    CHECK(series[0]->median > 0);
    REQUIRE(!series[1]);
    CHECK(series[1].error().message.find("plan.tile_h is 99") != std::string::npos);
    Plan other = good;
    other.tile_h = good.tile_h + 1;
    const std::vector<Plan> late{other};
    CHECK(!timer->time(late, {.seconds = 0, .prepare_seconds = -1}).front());
}
