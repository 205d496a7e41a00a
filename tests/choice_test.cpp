// The planner's own choice: the rules' plan, other register blocks that the cost model thinks faster, or
// stages one after the other.
#include "core/plan/choice.hpp"

#include "support/doctest.hpp"

#include <random>

#include "core/plan/candidates.hpp"
#include "core/plan/cost_model.hpp"
#include "core/plan/segments.hpp"
#include "core/plan/tiling.hpp"
#include "core/run/known_machines.hpp"
#include "support/random_chain.hpp"
#include "tandem/tandem.hpp"
#include "tools/suites.hpp"

using namespace tandem;

namespace {

Machine machine_of(Isa isa) { return {.isa = isa, .caches = {}, .cpu_name = {}}; }

Problem problem_of(std::string_view text) { return *make_problem(*ConvPair::parse(text)); }

void check_decision(const Problem& problem, const Machine& machine, int threads) {
    CAPTURE(problem.name());
    CAPTURE(threads);
    const PlanDecision decision = decide_plan(problem, machine, threads);
    CAPTURE(to_string(decision.plan));
    CHECK(check_plan(problem, decision.plan).ok());
    CHECK(decision.plan == choose_plan(problem, machine, threads));
    CHECK(decision.rules_kept == (decision.plan == rules_plan(problem, machine, threads)));
    CHECK(decision.fused == (problem.stage_count == 2 && !has_stored_edge(problem, decision.plan) &&
                             !is_unfused(problem, decision.plan, threads)));
    CHECK(decision.seconds == estimate_cost(problem, decision.plan, default_rates(machine), threads).seconds);
    CHECK(decision.seconds <= decision.rules_seconds);
    CHECK((decision.unfused_seconds > 0) == (problem.stage_count == 2));
    if (decision.fused_seconds == 0) return;
    CHECK(decision.fused == (decision.unfused_seconds * least_unfused_gain >= decision.fused_seconds));
}

}  // namespace

TEST_CASE("choice: valid, deterministic, never predicted slower than the rules' plan") {
    std::mt19937_64 engine(3);
    for (const Isa isa : {Isa::avx2, Isa::avx512}) {
        for (int i = 0; i < 60; ++i)
            check_decision(*make_problem(test::random_pair(engine)), machine_of(isa), 1 + i % 4);
        for (const tool::Layer& layer : tool::find_suite("paper")->layers)
            for (const int threads : {1, 2})
                check_decision(problem_of(layer.pair), machine_of(isa), threads);
        check_decision(*make_problem(*ConvChain::parse("1x16x9x9:conv3o16+bias")), machine_of(isa), 1);
    }
}

TEST_CASE("choice: two threads share the channels of a map of seven rows of Winograd's tiles") {
    const Problem problem = problem_of("1x128x28x28:conv3o128+bias+relu:conv3o128+bias+relu");
    Machine machine = known_machines().front();  // an Emerald Rapids
    machine.isa = Isa::avx512;
    const Plan two = choose_plan(problem, machine, 2);
    CAPTURE(to_string(two));
    CHECK(two.edge(0) == Edge::stored);
    CHECK(two.stored[0].channel_splits == 2);
    CHECK(two.channel_splits == 2);
    const Plan one = choose_plan(problem, machine, 1);
    CHECK(one.channel_splits == 1);
    CHECK(one.edge(0) != Edge::stored);
}

TEST_CASE("choice: large maps are fused, and the reason says what was weighed") {
    const PlanDecision decision =
        decide_plan(problem_of("1x96x112x112:dw3s2+bias+relu6:conv1o24+bias"), machine_of(Isa::avx512), 1);
    CHECK(decision.fused);
    CHECK(decision.unfused_seconds > decision.fused_seconds);
    CHECK(to_string(decision).find(", not fused ") != std::string::npos);
}

TEST_CASE(
    "choice: where transformed weights leave L2 the model prefers one stage after the other, and the kernel "
    "says so") {
    const ConvPair pair = *ConvPair::parse("1x256x28x28:conv3o256+bias+relu:conv3o256+bias+relu");
    const PlanDecision decision = decide_plan(*make_problem(pair), machine_of(Isa::avx512), 1);
    CHECK_FALSE(decision.fused);
    CHECK(decision.seconds * least_unfused_gain < decision.fused_seconds);
    CHECK(to_string(decision).find(", fused ") != std::string::npos);
    Context context;
    const Result<Kernel> kernel =
        context.dispatch(pair, {.plan = std::make_shared<const Plan>(decision.plan)});
    if (!kernel) return;  // no AVX-512 here
    CHECK_FALSE(kernel->fused());
    CHECK(kernel->explain().find("Not fused") != std::string::npos);
    CHECK(kernel->explain().find("Fuse or not") != std::string::npos);
}

TEST_CASE(
    "choice: cuts keep the arithmetic of the chain in one piece, whose errors add up to less than 1e-5") {
    const Problem problem = *make_problem(
        *ConvChain::parse("1x256x14x14:conv1o256+bias+relu:conv3o256+bias+relu:conv1o1024+bias/nchw16c"));
    const Machine machine = machine_of(Isa::amx);
    const Plan rules = rules_plan(problem, machine, 1);
    int split = 0;
    for (int i = 0; i < 3; ++i)
        split += rules.stage(i).dot == Dot::amx_x3;
    CHECK(split == 2);  // three would come to more
    const std::vector<Plan> cuts = cut_plans(problem, machine, 1);
    CHECK(cuts.size() == 3);
    for (const Plan& plan : cuts)
        for (int i = 0; i < 3; ++i) {
            CHECK(plan.stage(i).dot == rules.stage(i).dot);
            CHECK(plan.stage(i).algorithm == rules.stage(i).algorithm);
        }
}

TEST_CASE("choice: two threads join where a small image's halo would be computed twice") {
    const Problem problem =
        *make_problem(*ConvChain::parse("1x160x7x7:conv1o960+bias+relu:dw5+bias+relu/nchw16c"));
    const Machine machine = machine_of(Isa::avx512);
    CHECK(decide_plan(problem, machine, 2).plan.edge(0) == Edge::stored);
    CHECK(decide_plan(problem, machine, 1).plan.edge(0) != Edge::stored);
}
