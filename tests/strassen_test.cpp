// Strassen stages: every layout and ISA against the reference, on small integers equal to direct sums, and
// what takes them.
#include "support/doctest.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "core/plan/strassen.hpp"
#include "core/plan/tiling.hpp"
#include "core/run/verification.hpp"
#include "support/guarded_call.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

constexpr const char* chains[] = {
    "1x160x6x9:dw3+bias+relu6:conv1o128+bias+relu",
    "2x128x4x30:dw5+swish:conv1o192+bias+prelu+sum",
    "1x24x8x15:conv1o128+bias+relu:conv1o160+scale",
    "1x24x12x7:conv1o128:dw3s2+bias+relu6:conv1o128+bias",
    "1x256x2x14:dw3+bias:conv1o256+bias+relu6",
    "1x192x2x1:conv1o128+hswish+bias",
    "1x128x4x5*:dw3:conv1o128",
};

ConvChain chain_of(const char* text, std::optional<Layout> layout = {}) {
    auto chain = ConvChain::parse(text);
    REQUIRE(chain);
    if (layout) chain->layout = *layout;
    return *chain;
}

// The rules' plan with f32 FMAs and the last stage by `algorithm`; null where that does not apply.
std::shared_ptr<const Plan> plan_with(const ConvChain& chain, Isa isa, Algorithm algorithm) {
    const auto problem = make_problem(chain);
    REQUIRE(problem);
    const int last = problem->stage_count - 1;
    Plan plan = rules_plan(*problem, *host_machine(isa), 1);
    for (StagePlan& stage : plan.stages)
        stage.dot = Dot::f32;
    plan.stage(last).algorithm = algorithm;
    plan.stage(last).block_channels = 0;
    plan.stage(last).weights_ahead = point_ahead;
    plan.tile_h += plan.tile_h % 2;
    return check_plan(*problem, plan) ? std::make_shared<const Plan>(plan) : nullptr;
}

template <class Check>
void for_each_form(const Check& check) {
    int checked = 0;
    for (const char* text : chains) {
        for (const Isa isa : host_isas(DataType::f32)) {
            for (const Layout layout : {Layout::nhwc, Layout::nchw8c, Layout::nchw16c}) {
                const ConvChain chain = chain_of(text, layout);
                const auto plan = plan_with(chain, isa, Algorithm::strassen);
                if (!plan) continue;
                CAPTURE(text);
                CAPTURE(to_string(layout));
                CAPTURE(to_string(*plan));
                check(chain, isa, plan);
                ++checked;
            }
        }
    }
    CHECK(checked > 0);
}

Algorithm rules_take(const char* text, Isa isa, Math math = Math::fast) {
    ConvChain chain = chain_of(text);
    chain.math = math;
    Machine machine;
    machine.isa = isa;
    const Problem problem = *make_problem(chain);
    return rules_plan(problem, machine, 1).stage(problem.stage_count - 1).algorithm;
}

}  // namespace

TEST_CASE("strassen: every chain, layout and ISA is within 5e-6 of the largest output") {
    Context context;
    for_each_form([&](const ConvChain& chain, Isa, const std::shared_ptr<const Plan>& plan) {
        for (const int threads : {1, 3}) {  // verify() compares the parts' output with one part's, bit by bit
            VerifyOptions options;
            options.dispatch.plan = plan;
            options.threads = threads;
            options.data = DataKind::random;
            const auto report = verify(context, chain, options);
            REQUIRE_MESSAGE(report.ok(), (report.ok() ? std::string() : report.error().message));
            CHECK_MESSAGE(report->passed, report->message);
            CHECK(report->max_error < 5e-6);
        }
    });
}

TEST_CASE("strassen: on small integers its sums equal direct ones") {
    Context context;
    for_each_form([&](const ConvChain& chain, Isa isa, const std::shared_ptr<const Plan>& plan) {
        const Problem problem = *make_problem(chain);
        if (!make_verification_data(problem, DataKind::integers, 1).exact) return;
        const auto output_by = [&](const std::shared_ptr<const Plan>& by) {
            GuardedCall call(problem, *context.dispatch(chain, {.plan = by}), DataKind::integers);
            call.clear();
            REQUIRE(call.run().ok());
            return call.output();
        };
        CHECK(bitwise_difference(output_by(plan_with(chain, isa, Algorithm::direct)), output_by(plan)) ==
              std::string());
    });
}

TEST_CASE("strassen: takes the last 1x1 of f32 chains with even rows and whole halves") {
    const auto applies = [](const char* text, int stage = 1, Isa isa = Isa::avx2) {
        return strassen_applies(*make_problem(chain_of(text)), isa, stage);
    };
    CHECK(applies("1x128x4x7:dw3:conv1o128"));
    CHECK_FALSE(applies("1x128x4x7:conv1o128:conv1o128", 0));
    CHECK_FALSE(applies("1x128x5x7:dw3:conv1o128"));
    CHECK_FALSE(applies("1x96x4x7:dw3:conv1o128"));
    CHECK_FALSE(applies("1x128x4x7:dw3:conv1o144"));
    CHECK_FALSE(applies("1x128x8x7:dw3:conv1o128s2"));
    CHECK_FALSE(applies("1x128x4x7:dw3:conv3o128"));
    CHECK_FALSE(applies("1x128x4x7:dw3:conv1o128/f32/strict"));
    CHECK_FALSE(applies("1x128x4x7:dw3:conv1o128/bf16"));
    CHECK_FALSE(applies("1x128x4x7:dw3:conv1o128/out=nchw"));
    CHECK_FALSE(applies("1x128x4x7:dw3:conv1o128/nchw16c"));
    CHECK(applies("1x128x4x7:dw3:conv1o128/nchw16c", 1, Isa::avx512));
    CHECK_FALSE(applies("1x128x4x7:dw3:conv1o256+sum(128)"));
    CHECK(applies("1x128x4x7:dw3:conv1o128+sum(in)"));
}

TEST_CASE("strassen: a tile of an odd number of rows is an error that names it") {
    const ConvChain chain = chain_of(chains[0]);
    Plan plan = *plan_with(chain, host_isas(DataType::f32).back(), Algorithm::strassen);
    plan.tile_h = 3;
    const Status status = check_plan(*make_problem(chain), plan);
    REQUIRE_FALSE(status.ok());
    CHECK(status.error().message ==
          "plan.tile_h is 3; even numbers are accepted where the last stage pairs rows for Strassen.");
}

TEST_CASE("strassen: the rules take it on AVX-512 where channels are many and rows fill register blocks") {
    constexpr const char* wide = "1x256x28x28:dw3+bias+relu6:conv1o256+bias+relu6";
    CHECK(rules_take(wide, Isa::avx512) == Algorithm::strassen);
    CHECK(rules_take("1x512x14x14:dw3+bias:conv1o512+bias", Isa::avx512) == Algorithm::strassen);
    CHECK(rules_take(wide, Isa::avx512, Math::strict) == Algorithm::direct);
    CHECK(rules_take(wide, Isa::avx2) == Algorithm::direct);
    CHECK(rules_take(wide, Isa::amx) == Algorithm::direct);
    CHECK(rules_take("1x128x28x28:dw3:conv1o256", Isa::avx512) == Algorithm::direct);
    CHECK(rules_take("1x256x20x20:dw3:conv1o256", Isa::avx512) == Algorithm::direct);
    CHECK(rules_take("1x1024x7x7:dw3:conv1o1024", Isa::avx512) == Algorithm::direct);
    CHECK(rules_take("1x256x28x28:conv1o256", Isa::avx512) == Algorithm::direct);
}
