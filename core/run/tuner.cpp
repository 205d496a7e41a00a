#include "core/run/tuner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <mutex>

#include "core/plan/candidates.hpp"
#include "core/plan/choice.hpp"
#include "core/plan/cost_model.hpp"
#include "core/plan/fork_hook.hpp"

namespace tandem {
namespace {

// How the time is divided. Chosen so that a suite layer's samples of a round outnumber its quartiles'
// noise; not sensitive.
struct Patience {
    double seconds;  // in all
    std::size_t finalists;
    int first_rounds;  // of the first elimination; later ones get as many as fit
    int final_rounds;  // at least
    bool everything;   // time all candidates, whatever it takes
};
constexpr Patience measure_patience{1.5, 4, 3, 9, false}, exhaustive_patience{20, 8, 7, 25, true};

constexpr double trial_share = 0.4;  // of the seconds: generating the candidates and the first elimination
constexpr double elimination_share = 0.3;  // the other eliminations together
constexpr double final_share = 0.3;
constexpr double clearly_worse = 1.15;  // times the best median, if the quartiles do not overlap either
constexpr double least_gain = 1.01;     // below, another plan is not worth its own risk of being a fluke
constexpr double sample_seconds = 0.4e-3,
                 generation_seconds = 0.8e-3;  // of one candidate: see measure.hpp; emission and packing

struct Timed {
    Plan plan{};
    Series series{};
};

class Tuning {
public:
    Tuning(const TuneOptions& options, TimePlans time_plans, TuneReport& report)
        : options_(options), time_plans_(std::move(time_plans)), report_(report),
          patience_(options.effort == Effort::exhaustive ? exhaustive_patience : measure_patience) {
        if (options.seconds > 0) patience_.seconds = options.seconds;
    }

    Status run(std::vector<Plan> candidates) {
        if (Status status = shorten(candidates); !status) return status;
        std::vector<Timed> field = eliminate(std::move(candidates));
        return decide(field);
    }

private:
    void tell(double fraction, std::size_t plans) const {
        if (options_.progress) options_.progress({fraction, plans});
    }

    // Series of those plans that could be timed; the others are noted and dropped.
    std::vector<Timed> time(const std::vector<Plan>& plans, const TimingRequest& request) {
        std::vector<Result<Series>> series = time_plans_(plans, request);
        std::vector<Timed> timed;
        for (std::size_t i = 0; i < plans.size() && i < series.size(); ++i) {
            if (series[i] && series[i]->median > 0)
                timed.push_back({plans[i], std::move(*series[i])});
            else
                report_.notes.push_back(
                    fmt::format("{}: {}", to_string(plans[i]),
                                series[i] ? "no time was measured" : series[i].error().message));
        }
        return timed;
    }

    // Times the planner's plan, and keeps as many candidates as can be tried in the time for it.
    Status shorten(std::vector<Plan>& candidates) {
        tell(0, candidates.size());
        const std::vector<Timed> rules =
            time({report_.planner_plan}, {.seconds = 0, .min_rounds = patience_.first_rounds});
        if (rules.empty())
            return Error{ErrorCode::unsupported,
                         "The planner's plan cannot be timed: " + report_.notes.back()};
        report_.planner_microseconds = report_.microseconds = rules.front().series.median * 1e6;
        if (patience_.everything) return {};
        const double call = rules.front().series.median, sample = std::max(sample_seconds, call);
        const double each = generation_seconds + 2 * call + (patience_.first_rounds + 1) * sample;
        const auto affordable =
            static_cast<std::size_t>(std::clamp(trial_share * patience_.seconds / each, 1.0, 1e6));
        if (candidates.size() > std::max(affordable, patience_.finalists))
            candidates.resize(std::max(affordable, patience_.finalists));
        return {};
    }

    // How many are left of n after one elimination.
    std::size_t kept_of(std::size_t n) const { return std::max(patience_.finalists, (n + 2) / 3); }

    std::vector<Timed> eliminate(std::vector<Plan> plans) {
        int stages = 0;
        for (std::size_t n = plans.size(); n > patience_.finalists; n = kept_of(n))
            ++stages;
        const double prepare_seconds = patience_.everything ? 1e9 : trial_share * patience_.seconds;
        TimingRequest request{
            .seconds = 0, .min_rounds = patience_.first_rounds, .prepare_seconds = prepare_seconds};
        std::vector<Timed> field;
        for (int stage = 0; stage < std::max(stages, 1); ++stage) {
            field = time(plans, request);
            if (stage == 0) report_.timed = field.size();
            drop_slower(field);
            plans.clear();
            for (const Timed& timed : field)
                plans.push_back(timed.plan);
            tell(trial_share + elimination_share * stage / std::max(stages - 1, 1), plans.size());
            request.seconds = elimination_share * patience_.seconds / std::max(stages - 1, 1);
            if (plans.size() <= patience_.finalists) break;
        }
        return field;
    }

    void drop_slower(std::vector<Timed>& field) const {
        std::stable_sort(field.begin(), field.end(),
                         [](const Timed& a, const Timed& b) { return a.series.median < b.series.median; });
        if (field.empty()) return;
        const Series best = field.front().series;
        std::erase_if(field, [&](const Timed& timed) {
            return timed.series.median > clearly_worse * best.median &&
                   timed.series.lower_quartile > best.upper_quartile;
        });
        if (field.size() > kept_of(field.size())) field.resize(kept_of(field.size()));
    }

    // Fresh samples: those that let a plan win so far flatter it.
    Status decide(const std::vector<Timed>& field) {
        std::vector<Plan> plans{report_.planner_plan};
        for (const Timed& timed : field)
            if (timed.plan != report_.planner_plan) plans.push_back(timed.plan);
        const std::vector<Timed> finals =
            time(plans, {.seconds = final_share * patience_.seconds, .min_rounds = patience_.final_rounds});
        tell(1, plans.size());
        if (finals.empty() || finals.front().plan != report_.planner_plan)
            return Error{ErrorCode::unsupported,
                         "The planner's plan cannot be timed: " + report_.notes.back()};
        const Timed& rules = finals.front();
        const Timed& best = *std::min_element(
            finals.begin(), finals.end(),
            [](const Timed& a, const Timed& b) { return a.series.median < b.series.median; });
        report_.planner_microseconds = report_.microseconds = rules.series.median * 1e6;
        const Ratio gain = ratio(rules.series, best.series);
        // Faster in three rounds of four, too: a plan that is merely luckier is so in half of them.
        if (best.plan == rules.plan || gain.of_medians < least_gain || gain.lower_quartile <= 1) return {};
        report_.plan = best.plan;
        report_.planner_kept = false;
        report_.microseconds = best.series.median * 1e6;
        report_.ratio = gain.of_medians;
        return {};
    }

    const TuneOptions& options_;
    TimePlans time_plans_;
    TuneReport& report_;
    Patience patience_;
};

TurnMutex turns;  // tunings that ran at once would time each other

// The planner's plan, then the others, those first that the cost model thinks fastest. Its default rates
// will do: only the order counts, and it is the same whatever the machine is busy with.
std::vector<Plan> promising_first(const Problem& problem, const Machine& machine, int threads,
                                  const Plan& rules) {
    std::vector<Plan> plans{rules};
    for (const RankedPlan& ranked :
         rank_plans(problem, candidate_plans(problem, machine, threads), rates_of(machine), threads))
        if (ranked.plan != rules) plans.push_back(ranked.plan);
    return plans;
}

}  // namespace

Result<TuneReport> tune(const Problem& problem, const Machine& machine, const TuneOptions& options) {
    if (options.threads < 1)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("options.threads is {}; 1 or more is accepted.", options.threads)};
    if (!(options.seconds >= 0) || !std::isfinite(options.seconds))
        return Error{ErrorCode::invalid_argument,
                     fmt::format("options.seconds is {}; 0 and more is accepted.", options.seconds)};
    Problem one = problem;
    one.input.n = 1;
    TuneReport report;
    report.plan = report.planner_plan = choose_plan(one, machine, options.threads);
    report.effort = options.effort;
    if (options.effort == Effort::estimate) return report;

    const std::lock_guard lock(turns);
    std::vector<Plan> candidates = promising_first(one, machine, options.threads, report.planner_plan);
    report.candidates = candidates.size();
    std::optional<PlanTimer> timer;
    TimePlans time_plans = options.time_plans;
    if (!time_plans) {
        Result<PlanTimer> created = PlanTimer::create(one, options.threads);
        if (!created) return created.error();
        timer = std::move(*created);
        time_plans = [&timer](std::span<const Plan> plans, const TimingRequest& request) {
            return timer->time(plans, request);
        };
    }
    Tuning tuning(options, std::move(time_plans), report);
    if (const Status status = tuning.run(std::move(candidates)); !status) return status.error();
    return report;
}

WisdomEntry to_wisdom(const TuneReport& report, const Problem& problem, const Machine& machine, int threads) {
    return {.key = wisdom_key(problem, machine, threads),
            .plan = report.plan,
            .microseconds = report.microseconds,
            .ratio = report.ratio,
            .effort = report.effort,
            .date = utc_date()};
}

}  // namespace tandem
