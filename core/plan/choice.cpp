#include "core/plan/choice.hpp"

#include <algorithm>
#include <iterator>
#include <limits>
#include <span>
#include <vector>

#include <fmt/format.h>

#include "core/plan/candidates.hpp"
#include "core/plan/cost_model.hpp"
#include "core/plan/pixel_pairs.hpp"
#include "core/plan/register_budget.hpp"
#include "core/plan/segments.hpp"
#include "core/plan/strassen.hpp"
#include "core/plan/tiling.hpp"

namespace tandem {
namespace {

// How many times faster the model has to think other register blocks before they are taken: its own error
// (docs/cost-model.md). Where blocks matter, they matter by more. Other tile heights are not tried: the model
// sees gains there that nobody measured.
constexpr double least_gain = 1.03;
// The same of a pair that is not fused and ends in Strassen's products: measured 3 % slower where the model
// thought it 5 % faster.
constexpr double least_strassen_gain = 1.15;

struct Shape {
    int pixels, vectors;
    Broadcast broadcast = Broadcast::registers;
};
// Blocks that are the best somewhere: wide ones where the sums are long, small ones where starting and
// storing them takes as long, with either form of broadcast, as CPUs differ in what an embedded one costs.
constexpr Shape zmm_shapes[] = {{14, 2, Broadcast::embedded},
                                {14, 2},
                                {12, 2},
                                {10, 2},
                                {7, 2},
                                {10, 2, Broadcast::embedded},
                                {9, 3},
                                {6, 4},
                                {5, 5},
                                {4, 6},
                                {28, 1, Broadcast::embedded},
                                {21, 1, Broadcast::embedded}};
constexpr Shape ymm_shapes[] = {{6, 2}, {12, 1}, {4, 3}, {3, 4}};

class Decider {
public:
    Decider(const Problem& problem, const Machine& machine, int threads)
        : problem_(problem), machine_(machine), rates_(rates_of(machine)), threads_(std::max(threads, 1)) {
        decision_.plan = rules_plan(problem, machine, threads_);
        decision_.seconds = decision_.rules_seconds = predict(decision_.plan);
        decision_.fused = is_fused(decision_.plan);
    }

    PlanDecision decide() {
        const Plan rules = decision_.plan;
        take_if_faster(best_blocks({rules, decision_.seconds}), least_gain);
        if (problem_.stage_count == 1)
            take_if_faster(spread_segments({decision_.plan, decision_.seconds}), least_gain);
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

    // Stage by stage the register blocks that the model thinks fastest.
    Predicted best_blocks(Predicted best) const {
        for (int i = 0; i < problem_.stage_count; ++i) {
            const Plan start = best.plan;
            if (uses_amx(start.stage(i).dot))
                try_vectors(best, start, i);
            else if (problem_.stage(i).depthwise())
                try_rows(best, start, i);
            else if (start.stage(i).algorithm == Algorithm::strassen)
                try_broadcasts(best, start, i);
            else
                try_shapes(best, start, i);
            try_pixel_pairs(best, start, i);
        }
        return best;
    }

    // With AMX: two tiles of pixels by two vectors, or four by one.
    void try_vectors(Predicted& best, Plan plan, int i) const {
        for (const int vectors : {1, 2}) {
            plan.stage(i).block_vectors = vectors;
            set_amx_shape(plan.stage(i));
            keep_faster(best, plan);
        }
    }

    // Only where they were measured: ports alone do not tell blocks of few and of many rows apart. Of those
    // but the two fastest.
    void try_rows(Predicted& best, Plan plan, int i) const {
        constexpr std::size_t most = 2;
        const Conv& conv = problem_.stage(i).conv;
        const auto kernel = static_cast<int>(conv.kernel.h), stride = static_cast<int>(conv.stride.h);
        std::vector<int> measured;
        for (int rows = 1; rows <= max_depthwise_rows(problem_.stage(i)); ++rows)
            if (has_depthwise_body(rates_, kernel, stride, rows)) measured.push_back(rows);
        std::ranges::sort(measured, {},
                          [&](int rows) { return depthwise_slowdown(rates_, kernel, stride, rows); });
        StagePlan& block = plan.stage(i);
        for (std::size_t at = 0; at < std::min(most, measured.size()); ++at) {
            block.block_rows = measured[at];
            block.block_pixels = max_depthwise_pixels(problem_.stage(i), plan.isa, block.dot,
                                                      block.block_rows, block.block_vectors);
            keep_faster(best, plan);
        }
    }

    // Of Strassen's blocks the rules' fill a row of pixels.
    void try_broadcasts(Predicted& best, Plan plan, int i) const {
        for (const Broadcast broadcast : {Broadcast::embedded, Broadcast::registers}) {
            plan.stage(i).broadcast = broadcast;
            keep_faster(best, plan);
        }
    }

    // Predicting a whole plan takes as long as emitting one tile function, so only those blocks are tried
    // that do best by themselves.
    void try_shapes(Predicted& best, const Plan& start, int i) const {
        constexpr std::size_t most = 4;
        std::vector<Candidate> candidates = shapes_for(start, i);
        std::ranges::sort(candidates, {}, &Candidate::cost);
        for (std::size_t at = 0; at < std::min(most, candidates.size()); ++at) {
            Plan plan = start;
            plan.stage(i) = candidates[at].block;
            keep_faster(best, plan);
        }
    }

    void try_pixel_pairs(Predicted& best, Plan plan, int i) const {
        for (const StagePlan& block : pixel_pair_blocks(problem_, plan, i)) {
            plan.stage(i) = block;
            keep_faster(best, plan);
        }
    }

    struct Candidate {
        StagePlan block{};
        double cost = 0;  // ns a product, operands in L1
    };

    std::vector<Candidate> shapes_for(const Plan& start, int i) const {
        const bool wide = is_avx512(start.isa);
        const Stage& stage = problem_.stage(i);
        const std::int64_t lanes = vector_lanes(start.isa, problem_.layout);
        const bool embeds = can_embed_broadcast(start.isa, start.stage(i).dot);
        const double steps =
            static_cast<double>(stage.in_channels * stage.conv.kernel.h * stage.conv.kernel.w) /
            dot_speed(start.stage(i).dot);
        std::vector<Candidate> found;
        for (const Shape& shape : wide ? std::span<const Shape>(zmm_shapes) : ymm_shapes) {
            const bool embedded = shape.broadcast == Broadcast::embedded;
            // With a single vector each product would need an instruction to broadcast its pixel.
            if (shape.vectors == 1 && wide && !embeds) continue;
            if (embedded && !embeds && shape.vectors > 1) continue;
            if (stage.out_channels <= lanes * (shape.vectors - 1)) continue;
            Candidate candidate{.block = start.stage(i)};
            candidate.block.pixel_pairs = false;
            candidate.block.block_pixels = shape.pixels;
            candidate.block.block_vectors = shape.vectors;
            candidate.block.broadcast = embeds ? shape.broadcast : Broadcast::embedded;
            const double products = shape.pixels * shape.vectors;
            candidate.cost = (dense_step(rates_, shape.pixels, shape.vectors, embedded, 1) +
                              dense_fixed(rates_, shape.pixels, shape.vectors, embedded) / steps) /
                             products;
            found.push_back(candidate);
        }
        return found;
    }

    // A pair's stages one after the other: each part its band of both, which computes the halo twice; or,
    // where there are several parts to be joined, the first stage whole before the second.
    void decide_fusion(const Plan& rules) {
        if (decision_.fused) decision_.fused_seconds = decision_.seconds;
        std::vector<Plan> plans{unfused_plan(rules)};
        if (threads_ > 1)
            std::ranges::copy(cut_plans(problem_, machine_, threads_), std::back_inserter(plans));
        const bool strassen = rules.stage(1).algorithm == Algorithm::strassen;
        take_best(plans, strassen ? least_strassen_gain : least_unfused_gain);
    }

    // A chain of three and more is cut where that is predicted to be faster.
    void decide_cuts() {
        decision_.fused_seconds = decision_.seconds;
        take_best(cut_plans(problem_, machine_, threads_), least_unfused_gain);
    }

    // Segment by segment channels instead of rows spread over the threads. The model thinks too well of it,
    // by 1.1 to 1.3 on an Emerald Rapids (docs/cost-model.md), so it has to be predicted clearly faster.
    Predicted spread_segments(const Predicted& rows) const {
        constexpr double least_spread_gain = 1.2;
        Predicted best = rows;
        for (int i = 0; i < problem_.stage_count && threads_ > 1; ++i) {
            const bool last = i + 1 == problem_.stage_count;
            if (!last && rows.plan.edge(i) != Edge::stored) continue;
            const Plan before = best.plan;
            const Tiling& tiling = last ? before : before.stored[static_cast<std::size_t>(i)];
            for (const int height : {tiling.tile_h, static_cast<int>(problem_.stage(i).out_h)}) {
                const Plan plan = spread_channels(problem_, before, i, height, threads_);
                if (works_near_l2(plan, i)) keep_faster(best, plan);
            }
        }
        return best.seconds * least_spread_gain < rows.seconds ? best : rows;
    }

    // Of the segment that ends with stage i. Workspaces of several times L2 cost more than the model thinks.
    bool works_near_l2(const Plan& plan, int i) const {
        for (const Segment& segment : segments_of(problem_, plan))
            if (segment.first + segment.problem.stage_count == i + 1)
                return working_bytes(segment.problem, segment.plan) <=
                       2 * static_cast<std::int64_t>(rates_.caches.l2);
        return false;
    }

    void take_best(const std::vector<Plan>& unfused, double gain) {
        Predicted best{{}, std::numeric_limits<double>::infinity()};
        for (const Plan& plan : unfused) {
            if (!check_plan(problem_, plan)) continue;
            const Predicted spread = spread_segments({plan, predict(plan)});
            if (spread.seconds < best.seconds) best = spread;
        }
        if (best.seconds == std::numeric_limits<double>::infinity()) return;
        best = best_blocks(best);
        decision_.unfused_seconds = best.seconds;
        take_if_faster(best, gain);
    }

    bool is_fused(const Plan& plan) const {
        return problem_.stage_count > 1 && !has_stored_edge(problem_, plan) &&
               !is_unfused(problem_, plan, threads_);
    }

    // The band of a part, in whole Winograd tiles and pairs of rows.
    int band_rows(const Plan& plan) const {
        const std::int64_t out_h = problem_.last().out_h, band = (out_h + threads_ - 1) / threads_;
        const std::int64_t m =
            std::max(largest_winograd_tile(problem_, plan).h, rows_together(problem_, plan));
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
