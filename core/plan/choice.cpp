#include "core/plan/choice.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>
#include <vector>

#include <fmt/format.h>

#include "core/plan/candidates.hpp"
#include "core/plan/cost_model.hpp"
#include "core/plan/register_budget.hpp"
#include "core/plan/segments.hpp"
#include "core/plan/tiling.hpp"

namespace tandem {
namespace {

// How many times faster the model has to think other register blocks before they are taken. Over the 33
// layers this made none slower by more than the noise (docs/cost-model.md). Other tile heights are not
// tried: the model sees gains there that nobody measured.
constexpr double least_gain = 1.01;

struct Shape {
    int pixels, vectors;
};
// Blocks that measured fastest somewhere; the rules take 14 x 2.
constexpr std::array<Shape, 3> shapes{Shape{10, 2}, Shape{9, 3}, Shape{21, 1}};

class Decider {
public:
    Decider(const Problem& problem, const Machine& machine, int threads)
        : problem_(problem), machine_(machine), rates_(default_rates(machine)),
          threads_(std::max(threads, 1)) {
        decision_.plan = rules_plan(problem, machine, threads_);
        decision_.seconds = decision_.rules_seconds = predict(decision_.plan);
        decision_.fused = is_fused(decision_.plan);
    }

    PlanDecision decide() {
        const Plan rules = decision_.plan;
        take_if_faster(best_shape({rules, decision_.seconds}), least_gain);
        if (problem_.stage_count == 2) decide_fusion(rules);
        if (problem_.stage_count > 2) decide_cuts();
        decision_.rules_kept = decision_.plan == rules;
        return decision_;
    }

private:
    struct Predicted {
        Plan plan{};
        double seconds = 0;
    };

    double predict(const Plan& plan) const { return estimate_cost(problem_, plan, rates_, threads_).seconds; }

    void keep_faster(Predicted& best, const Plan& plan) const {
        if (!check_plan(problem_, plan)) return;
        const double seconds = predict(plan);
        if (seconds < best.seconds) best = {plan, seconds};
    }

    void take_if_faster(const Predicted& other, double gain) {
        if (other.seconds * gain >= decision_.seconds) return;
        decision_.plan = other.plan;
        decision_.seconds = other.seconds;
        decision_.fused = is_fused(other.plan);
    }

    Predicted best_shape(Predicted best) const {
        if (!is_avx512(best.plan.isa) || uses_amx(problem_, best.plan))
            return best;  // AVX2's registers leave no choice, nor do AMX's tiles
        const Plan start = best.plan;
        const int lanes = vector_lanes(start.isa, problem_.layout);
        for (const Shape& shape : shapes) {
            Plan plan = start;
            for (int i = 0; i < problem_.stage_count; ++i) {
                // With a single vector each product would need an instruction to broadcast its pixel.
                if (shape.vectors == 1 && needs_broadcast(start.stage(i).dot)) continue;
                if (problem_.stage(i).depthwise() ||
                    problem_.stage(i).out_channels <= std::int64_t{lanes} * (shape.vectors - 1))
                    continue;
                StagePlan& block = plan.stage(i);
                block.block_pixels = shape.pixels;
                block.block_vectors = shape.vectors;
                block.broadcast = default_broadcast(plan, block);
            }
            keep_faster(best, plan);
        }
        return best;
    }

    // A pair's stages one after the other: each part its band of both, which computes the halo twice; or,
    // where there are several parts to be joined, the first stage whole before the second.
    void decide_fusion(const Plan& rules) {
        if (decision_.fused) decision_.fused_seconds = decision_.seconds;
        std::vector<Plan> plans{unfused_plan(rules)};
        if (threads_ > 1)
            std::ranges::copy(cut_plans(problem_, machine_, threads_), std::back_inserter(plans));
        take_best(plans);
    }

    // A chain of three and more is cut where that is predicted to be faster.
    void decide_cuts() {
        decision_.fused_seconds = decision_.seconds;
        take_best(cut_plans(problem_, machine_, threads_));
    }

    void take_best(const std::vector<Plan>& unfused) {
        Predicted best{{}, std::numeric_limits<double>::infinity()};
        for (const Plan& plan : unfused)
            keep_faster(best, plan);
        if (best.seconds == std::numeric_limits<double>::infinity()) return;
        best = best_shape(best);
        decision_.unfused_seconds = best.seconds;
        take_if_faster(best, least_unfused_gain);
    }

    bool is_fused(const Plan& plan) const {
        return problem_.stage_count > 1 && !has_stored_edge(problem_, plan) &&
               !is_unfused(problem_, plan, threads_);
    }

    // The band of a part, in whole Winograd tiles.
    int band_rows(const Plan& plan) const {
        const std::int64_t out_h = problem_.last().out_h, band = (out_h + threads_ - 1) / threads_;
        const std::int64_t m = largest_winograd_tile(plan);
        return static_cast<int>(std::min((band + m - 1) / m * m, out_h));
    }

    Plan unfused_plan(Plan plan) const {
        plan.edges.fill(Edge::recompute);
        plan.tile_h = band_rows(plan);
        plan.tile_w = static_cast<int>(problem_.last().out_w);
        plan.channel_splits = 1;
        plan.prefetch_next = false;
        return plan;
    }

    const Problem& problem_;
    const Machine& machine_;
    MachineRates rates_;
    int threads_;
    PlanDecision decision_;
};

std::string time_text(double seconds) { return fmt::format("{:.1f} us", seconds * 1e6); }

}  // namespace

PlanDecision decide_plan(const Problem& problem, const Machine& machine, int threads) {
    return Decider(problem, machine, threads).decide();
}

Plan choose_plan(const Problem& problem, const Machine& machine, int threads) {
    return decide_plan(problem, machine, threads).plan;
}

std::string to_string(const PlanDecision& decision) {
    std::string text = decision.rules_kept ? "chosen by the planner's rules" : "chosen by the cost model";
    text += "; predicted: " + time_text(decision.seconds);
    if (!decision.rules_kept) text += fmt::format(", the rules' plan {}", time_text(decision.rules_seconds));
    if (decision.fused)
        text += fmt::format(", not fused {}", time_text(decision.unfused_seconds));
    else if (decision.fused_seconds > 0 && decision.fused_seconds != decision.seconds)
        text += fmt::format(", fused {}", time_text(decision.fused_seconds));
    return text;
}

}  // namespace tandem
