// Tuner: the fastest plan of a problem on this machine, by measuring.
//
// Schedule: candidate plans (core/plan/candidates.hpp) -> as many, the most promising first, as the time
// allows -> elimination: a few interleaved rounds, the slower two thirds and whatever is clearly worse drop
// out, and again with more rounds for those left -> final: the finalists and the planner's plan on fresh
// samples. The planner's plan stays unless the winner was better by more than the noise. Successive halving
// after Jamieson and Talwalkar, "Non-stochastic Best Arm Identification" (AISTATS 2016).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/run/plan_timer.hpp"
#include "core/run/wisdom.hpp"

namespace tandem {

struct TuneProgress {
    double fraction = 0;    // of the work, 0 to 1
    std::size_t plans = 0;  // still in the running
};

struct TuneOptions {
    int threads = 1;
    Effort effort = Effort::measure;
    double seconds =
        0;  // to aim for; 0: 1.5 for measure, 20 for exhaustive. Layers of many milliseconds take longer
    std::function<void(const TuneProgress&)> progress{};  // called now and then, on the calling thread
    TimePlans time_plans{};                               // default: PlanTimer; tests bring their own
};

struct TuneReport {
    Plan plan{};               // the winner
    Plan planner_plan{};       // what choose_plan() says
    bool planner_kept = true;  // they are the same
    double microseconds = 0;   // of the winner; 0: nothing was measured
    double planner_microseconds = 0;
    double ratio = 1;  // planner's time over the winner's; 1 where the planner's plan is kept
    Effort effort = Effort::estimate;
    std::size_t candidates = 0;      // all there were
    std::size_t timed = 0;           // of them, those that were timed
    std::vector<std::string> notes;  // candidates that could not be timed or computed something else, and why
};

/// Tunes for one image, whatever the problem's batch size. All tensors, weights and threads are its own; it
/// takes turns with other calls in the process, as they would disturb each other. The same measurements
/// give the same report.
Result<TuneReport> tune(const Problem& problem, const Machine& machine, const TuneOptions& options = {});

/// A report as an entry, dated now.
WisdomEntry to_wisdom(const TuneReport& report, const Problem& problem, const Machine& machine, int threads);

}  // namespace tandem
