// Choice: the plan of a dispatch for which nothing was measured. The rules (tiling.hpp) propose a plan; the
// cost model, with the typical rates of this kind of CPU, compares it with other register blocks and with
// running the stages one after the other. Pure: the same problem, machine and threads give the same plan,
// whatever else the machine is doing.
//
// Vocabulary. Fused: tile by tile through all stages. Not fused: a chain cut at some edge, or a tile that is
// a part's whole band (is_unfused()), so that a stage is complete before the next begins: what several
// kernels would do, in one call.
#pragma once

#include <string>

#include "core/plan/plan.hpp"

namespace tandem {

/// How many times faster the model has to think a plan that is not fused before it is taken: more than for
/// other plans, since it gives up the small scratch that leaves the caches to others.
inline constexpr double least_unfused_gain = 1.05;

struct PlanDecision {
    Plan plan{};
    double seconds = 0;        // predicted for `plan`
    double rules_seconds = 0;  // for the rules' plan
    /// For the best plan that is fused, of a longer chain in one piece; 0: the rules' plan of a pair is none.
    double fused_seconds = 0;
    /// For the best that is not, or cut; 0: a single convolution.
    double unfused_seconds = 0;
    bool rules_kept = true;
    bool fused = false;
};

/// Decides for `threads` parts that run at once.
PlanDecision decide_plan(const Problem& problem, const Machine& machine, int threads);

/// decide_plan()'s plan: what an untuned dispatch takes.
Plan choose_plan(const Problem& problem, const Machine& machine, int threads);

/// Who chose the plan and by how much, without a full stop: "chosen by the planner's rules; ...".
std::string to_string(const PlanDecision& decision);

}  // namespace tandem
