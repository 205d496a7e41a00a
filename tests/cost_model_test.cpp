#include "core/plan/cost_model.hpp"

#include "support/doctest.hpp"

#include <algorithm>
#include <cmath>
#include <random>

#include "core/plan/candidates.hpp"
#include "core/plan/segments.hpp"
#include "core/plan/tiling.hpp"
#include "support/random_chain.hpp"

using namespace tandem;

namespace {

Problem problem_of(const char* text) { return *make_problem(*ConvPair::parse(text)); }

Machine machine_of(Isa isa) { return Machine{.isa = isa, .caches = {}, .cpu_name = {}}; }

Plan plan_of(const Problem& problem, Edge edge, int tile_h, int splits = 1) {
    Plan plan = rules_plan(problem, machine_of(Isa::avx512), 1);
    plan.edges[0] = edge;
    plan.tile_h = tile_h;
    plan.channel_splits = splits;
    for (StagePlan& stage : plan.stages)
        stage.algorithm = Algorithm::direct;
    REQUIRE(check_plan(problem, plan).ok());
    return plan;
}

const MachineRates rates = default_rates(machine_of(Isa::avx512));

}  // namespace

TEST_CASE("cost model: FLOPs of a pointwise second stage are never recomputed by rows") {
    // Kernel rows inside the image, summed over 8 output rows with padding 1: 2 + 6 * 3 + 2 = 22; columns
    // alike.
    const Problem problem = problem_of("1x16x8x8:dw3:conv1o64");
    const double depthwise = 2.0 * 16 * 22 * 22, pointwise = 2.0 * 16 * 64 * 64;
    for (const int tile_h : {1, 2, 3, 8}) {
        const CostEstimate cost = estimate_cost(problem, plan_of(problem, Edge::recompute, tile_h), rates, 1);
        CHECK(cost.flops == depthwise + pointwise);
        CHECK(cost.useful_flops == cost.flops);
        CHECK(cost.recomputation() == 0);
    }
}

TEST_CASE("cost model: channel splits recompute the first stage in other threads only") {
    const Problem problem = problem_of("1x16x8x8:dw3:conv1o64");
    const double depthwise = 2.0 * 16 * 22 * 22, pointwise = 2.0 * 16 * 64 * 64;
    const Plan plan = plan_of(problem, Edge::recompute, 8, 2);
    CHECK(estimate_cost(problem, plan, rates, 1).flops == depthwise + pointwise);
    CHECK(estimate_cost(problem, plan, rates, 2).flops == 2 * depthwise + pointwise);
}

TEST_CASE("cost model: halo rows count as often as they are computed") {
    // Taps: 2 + 3 + 3 + 2 = 10 along each axis. A tile of 2 output rows reads 3 intermediate rows, whose
    // kernel rows are 2 + 3 + 3.
    const Problem problem = problem_of("1x4x4x4:conv3o4:conv3o4");
    const double stage = 2.0 * 4 * 4 * 10 * 10, halo_stage = 2.0 * 4 * 4 * (8 + 8) * 10;
    const CostEstimate recompute = estimate_cost(problem, plan_of(problem, Edge::recompute, 2), rates, 1);
    CHECK(recompute.flops == halo_stage + stage);
    CHECK(recompute.recomputation() == doctest::Approx((halo_stage - stage) / (2 * stage)));
    CHECK(estimate_cost(problem, plan_of(problem, Edge::recompute, 4), rates, 1).flops == 2 * stage);
    const Plan ring = plan_of(problem, Edge::sliding, 2);
    CHECK(estimate_cost(problem, ring, rates, 1).flops == 2 * stage);
    CHECK(estimate_cost(problem, ring, rates, 2).flops ==
          halo_stage + stage);  // each part starts its own ring
}

TEST_CASE("cost model: strides, batches and tails") {
    // 9 rows, stride 2, padding 1 both sides: 5 outputs with 2 + 3 + 3 + 3 + 2 = 13 kernel rows. 5 channels
    // are 5, not 16.
    const Problem problem = problem_of("3x5x9x9:dw3s2:conv1o7");
    const double image = 2.0 * 5 * 13 * 13 + 2.0 * 5 * 7 * 25;
    CHECK(estimate_cost(problem, rules_plan(problem, machine_of(Isa::avx512), 1), rates, 1).flops ==
          3 * image);
}

TEST_CASE("cost model: every tensor is moved at least once") {
    for (const char* text : {"1x32x112x112:dw3+bias+relu6:conv1o64+bias+relu6",
                             "1x64x56x56:conv3o64+bias+relu:conv3o64+bias+relu"}) {
        const Problem problem = problem_of(text);
        const double input = 4.0 * static_cast<double>(problem.input.c * problem.input.h * problem.input.w);
        const double mid = 4.0 * static_cast<double>(problem.stage(0).out_channels * problem.stage(0).out_h *
                                                     problem.stage(0).out_w);
        const double output = 4.0 * static_cast<double>(problem.last().out_channels * problem.last().out_h *
                                                        problem.last().out_w);
        for (const Plan& plan : candidate_plans(problem, machine_of(Isa::avx512), 1)) {
            CAPTURE(to_string(plan));
            const CostEstimate cost = estimate_cost(problem, plan, rates, 1);
            Traffic beyond;
            for (const Level level : {Level::l2, Level::l3, Level::dram}) {
                beyond.input += cost.at(level).input;
                beyond.intermediate += cost.at(level).intermediate;
                beyond.output += cost.at(level).output;
            }
            CHECK(cost.at(Level::l1).input >= input * 0.999);
            CHECK(cost.at(Level::l1).intermediate >= 2 * mid * 0.999);
            CHECK(cost.at(Level::l1).output >= output * 0.999);
            CHECK(beyond.input >= input * 0.999);
            CHECK(beyond.output >= output * 0.999);
            if (is_unfused(problem, plan, 1)) CHECK(beyond.intermediate >= 2 * mid * 0.999);
        }
    }
}

TEST_CASE("cost model: times are finite, positive, above the FMA time, and parts share the work") {
    std::mt19937_64 engine(7);
    for (int i = 0; i < 40; ++i) {
        const Problem problem = *make_problem(test::random_pair(engine));
        CAPTURE(problem.name());
        const std::vector<Plan> plans = candidate_plans(problem, machine_of(Isa::avx2), 2);
        const MachineRates avx2 = default_rates(machine_of(Isa::avx2));
        for (std::size_t p = 0; p < plans.size(); p += 7) {
            const CostEstimate one = estimate_cost(problem, plans[p], avx2, 1),
                               two = estimate_cost(problem, plans[p], avx2, 2);
            CHECK(std::isfinite(one.seconds));
            CHECK(one.seconds > 0);
            CHECK(one.seconds >= one.fma_seconds);
            // A second stage with stride may leave intermediate rows unread, which tiles then do not
            // compute.
            if (problem.last().conv.stride == Size2{1, 1}) CHECK(one.flops >= one.useful_flops * 0.999999);
            CHECK(one.recomputation() >= 0);
            CHECK(two.flops >= one.flops * 0.999999);
            std::int64_t held = 0;
            for (const Segment& segment : segments_of(problem, plans[p]))
                held = std::max(held, mid_bytes(segment.problem, segment.plan));
            CHECK(one.scratch_bytes == held);
        }
    }
}

TEST_CASE("cost model: ranking is sorted and deterministic") {
    const Problem problem = problem_of("1x64x56x56:conv3o64+bias+relu:conv3o64+bias+relu");
    const std::vector<Plan> plans = candidate_plans(problem, machine_of(Isa::avx512), 1);
    const std::vector<RankedPlan> ranked = rank_plans(problem, plans, rates, 1),
                                  again = rank_plans(problem, plans, rates, 1);
    REQUIRE(ranked.size() == plans.size());
    for (std::size_t i = 0; i < ranked.size(); ++i) {
        CHECK(ranked[i].plan == again[i].plan);
        CHECK(ranked[i].cost.seconds == again[i].cost.seconds);
        if (i > 0) CHECK(ranked[i - 1].cost.seconds <= ranked[i].cost.seconds);
    }
}

TEST_CASE("cost model: recomputing a 3x3 halo in tiles of one row is predicted worse than a ring") {
    const Problem problem = problem_of("1x64x56x56:conv3o64+bias+relu:conv3o64+bias+relu");
    CHECK(estimate_cost(problem, plan_of(problem, Edge::recompute, 1), rates, 1).seconds >
          1.5 * estimate_cost(problem, plan_of(problem, Edge::sliding, 1), rates, 1).seconds);
}

TEST_CASE("roofline: intensity, level and bound follow from the sizes") {
    const Problem problem = problem_of("1x16x8x8:dw3:conv1o64");
    const Plan plan = rules_plan(problem, machine_of(Isa::avx512), 1);
    const Roofline roof = roofline(problem, plan, rates, 1, false),
                   with = roofline(problem, plan, rates, 1, true);
    CHECK(roof.bytes == 4.0 * (16 * 64 + 64 * 64 + 16 * 9 + 16 * 64));
    CHECK(with.bytes == roof.bytes + 2 * 4.0 * 16 * 64);
    CHECK(intensity(problem, false) > intensity(problem, true));
    CHECK(roof.seconds >= roof.flops / (rates.gflops() * 1e9));
    CHECK(estimate_cost(problem, rules_plan(problem, machine_of(Isa::avx512), 1), rates, 1).seconds >=
          roof.flops / (rates.gflops() * 1e9));
    Plan halved = plan;
    halved.stages[1].dot = Dot::bf16;  // its peak is assumed to be twice that of FMAs
    const double depthwise = roofline(stage_alone(problem, 0), plan, rates, 1, false).flops,
                 dense = roof.flops - depthwise;
    MachineRates slow = rates;
    slow.gb_per_s.fill(1e6);
    CHECK(roofline(problem, halved, slow, 1, false).seconds ==
          doctest::Approx((depthwise + dense / 2) / (rates.gflops() * 1e9)));
    slow.dot_gflops[static_cast<std::size_t>(Dot::bf16)] = rates.gflops() / 2;
    CHECK(roofline(problem, halved, slow, 1, false).seconds ==
          doctest::Approx((depthwise + dense * 2) / (rates.gflops() * 1e9)));
    CHECK(level_of(1000, rates.caches) == Level::l1);
    CHECK(level_of(1e12, rates.caches) == Level::dram);
    CHECK(machine_balance(rates, Dot::f32, Level::dram) > machine_balance(rates, Dot::f32, Level::l1));
}
