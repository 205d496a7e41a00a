// Winograd stages: every algorithm, stride, edge and layout against the reference, and bitwise independence
// of threads.
#include "support/doctest.hpp"

#include <cmath>
#include <memory>

#include <fmt/format.h>

#include "core/plan/tiling.hpp"
#include "core/plan/winograd.hpp"
#include "core/run/verification.hpp"
#include "support/guarded_call.hpp"

using namespace tandem;

namespace {

ConvPair pair_of(const char* text, Layout layout) {
    auto pair = ConvPair::parse(text);
    REQUIRE(pair);
    pair->layout = layout;
    return *pair;
}

// The rules' plan with `algorithm` wherever it applies, and f32 FMAs, whose errors are small beside its own;
// null where it applies to no stage.
std::shared_ptr<const Plan> plan_with(const ConvPair& pair, Isa isa, Algorithm algorithm, int threads) {
    const auto machine = host_machine(isa);
    const auto problem = make_problem(pair);
    REQUIRE(machine);
    REQUIRE(problem);
    Plan plan = rules_plan(*problem, *machine, threads);
    bool used = false;
    plan.channel_splits = 1;
    for (int i = 0; i < problem->stage_count; ++i) {
        const bool applies = algorithm_applies(*problem, isa, i, algorithm);
        plan.stage(i).algorithm = applies ? algorithm : Algorithm::direct;
        plan.stage(i).dot = Dot::f32;
        used = used || applies;
    }
    return used ? std::make_shared<const Plan>(plan) : nullptr;
}

constexpr const char* pairs[] = {
    "1x32x12x12:conv3o32+bias+relu:conv3o32+bias+relu",
    "1x16x7x9:conv3o24p0x1x2x1+bias+relu:conv3o20p1x0x0x2+prelu+sum",
    "2x17x13x5:conv3o33+bias+sum+relu:conv1o40+bias",
    "1x20x9x23:dw3+bias+relu6:conv3o37+scale+tanh",
    "1x16x1x1:conv3o16:conv3o16",
    "1x48x23x31:conv3o40s2p0x1x1x0+bias+relu:conv3o48+bias",
    "1x32x21x40:conv3o32s2p2x0x2x1:conv3o64s2+bias+relu",
    "1x16x10x140:conv3o32:conv3o16+sum",
    "1x32x17x17:conv1x7o32+bias+relu:conv7x1o48+bias",
    "2x24x5x21:conv1x3o20p0x2x0x0+bias:conv3x1o33p1x0x2x0+prelu+sum",
    "1x32x9x14:conv5o40+bias+relu6:conv5x1o24+sum",
    "1x16x12x11:conv1x5o16p0x3x0x4:conv3x5o17p2x4x0x1+tanh",
    "1x17x3x2:conv7x1o16+relu:conv1x7o8",
};

// The error that a chain may have by its stages' bounds, which are independent.
double error_bound(const Problem& problem, const Plan& plan) {
    constexpr double direct = 2e-6;
    double squares = 0;
    for (int i = 0; i < problem.stage_count; ++i) {
        const Algorithm algorithm = plan.stage(i).algorithm;
        const double error = is_winograd(algorithm) ? winograd_error(problem.stage(i), algorithm) : direct;
        squares += error * error;
    }
    return std::sqrt(squares);
}

}  // namespace

TEST_CASE("winograd: every algorithm, kernel, stride and edge is within its bound of the largest output") {
    Context context;
    int verified = 0;
    for (const char* text : pairs) {
        for (const Isa isa : host_isas(DataType::f32)) {
            for (const Layout layout :
                 {Layout::nhwc, isa == Isa::avx512 ? Layout::nchw16c : Layout::nchw8c}) {
                for (const Algorithm algorithm : {Algorithm::winograd2, Algorithm::winograd4}) {
                    for (const int threads :
                         {1, 3}) {  // verify() compares the parts' output with one part's, bit by bit
                        const ConvPair pair = pair_of(text, layout);
                        const auto plan = plan_with(pair, isa, algorithm, threads);
                        if (!plan) continue;
                        CAPTURE(text);
                        CAPTURE(to_string(*plan));
                        VerifyOptions options;
                        options.dispatch.plan = plan;
                        options.threads = threads;
                        options.data = DataKind::random;
                        const auto report = verify(context, pair, options);
                        REQUIRE_MESSAGE(report.ok(), (report.ok() ? std::string() : report.error().message));
                        CHECK_MESSAGE(report->passed, report->message);
                        CHECK(report->max_error < error_bound(*make_problem(pair), *plan));
                        ++verified;
                    }
                }
            }
        }
    }
    CHECK(verified > 0);
}

TEST_CASE("winograd: channel splits of a stage's outputs change no bit, whatever its groups and parts") {
    Context context;
    for (const char* text :
         {"1x16x9x10:conv3o72+bias+relu", "1x24x13x9:conv3o56+bias:conv3o40+prelu+sum",
          "2x32x12x12:conv3o48+bias:conv1o32", "1x32x9x9:conv3o64/nhwc/f32/fast/out=nchw"}) {
        for (const Isa isa : host_isas(DataType::f32)) {
            const ConvChain chain = *ConvChain::parse(text);
            const Problem problem = *make_problem(chain);
            Plan plan = rules_plan(problem, *host_machine(isa), 1);
            for (int i = 0; i < problem.stage_count; ++i)
                if (algorithm_applies(problem, isa, i, Algorithm::winograd4))
                    plan.stage(i) = {.algorithm = Algorithm::winograd4,
                                     .dot = Dot::f32,
                                     .block_pixels = 3,
                                     .block_vectors = 2};
            const auto output = [&](int parts) {
                const auto kernel = context.dispatch(chain, {.plan = std::make_shared<const Plan>(plan)});
                REQUIRE_MESSAGE(kernel.ok(), kernel.error().message);
                test::GuardedCall call(problem, *kernel);
                call.clear();
                for (int part = 0; part < parts; ++part)
                    REQUIRE(call.run(part, parts).ok());
                return call.output();
            };
            const std::vector<float> expected = output(1);
            for (const bool stored : {false, true}) {
                for (const int splits : {2, 3}) {
                    CAPTURE(problem.name());
                    CAPTURE(to_string(plan));
                    plan.channel_splits = splits;
                    if (problem.stage_count == 2 && stored) {
                        plan.edge(0) = Edge::stored;
                        plan.stored[0] = {.tile_h = 5,
                                          .tile_w = static_cast<int>(problem.stage(0).out_w),
                                          .channel_splits = splits};
                    }
                    if (!check_plan(problem, plan)) continue;
                    for (const int parts : {1, 2, 7})
                        CHECK(test::bitwise_difference(output(parts), expected) == "");
                }
            }
        }
    }
}

TEST_CASE("winograd: the bound of a form holds for any number of channels") {
    Context context;
    const Isa isa = host_isas(DataType::f32).back();
    for (const char* kernel : {"3", "5", "1x3", "3x1", "1x5", "1x7", "7x1"}) {
        for (const int channels : {1, 32, 100, 384}) {
            const ConvPair pair =
                pair_of(fmt::format("1x{}x16x16:conv{}o32:conv1o1", channels, kernel).c_str(), Layout::nhwc);
            for (const Algorithm algorithm : {Algorithm::winograd2, Algorithm::winograd4}) {
                const auto plan = plan_with(pair, isa, algorithm, 1);
                if (!plan) continue;
                CAPTURE(to_string(*plan));
                CAPTURE(kernel);
                CAPTURE(channels);
                const auto report =
                    verify(context, pair, {.dispatch = {.isa = isa, .plan = plan}, .data = DataKind::random});
                REQUIRE(report.ok());
                CHECK(report->passed);
                CHECK(report->max_error < error_bound(*make_problem(pair), *plan));
            }
        }
    }
}

TEST_CASE("winograd: strict math, other kernels and other dilations do not take it") {
    ConvPair pair = pair_of("1x32x12x12:conv3o32:conv3o32", Layout::nhwc);
    const auto applies = [](const ConvPair& p, Algorithm algorithm) {
        return algorithm_applies(*make_problem(p), Isa::avx2, 0, algorithm);
    };
    CHECK(applies(pair, Algorithm::winograd4));
    pair.math = Math::strict;
    CHECK_FALSE(applies(pair, Algorithm::winograd4));
    CHECK(applies(pair, Algorithm::direct));
    CHECK_FALSE(applies(pair_of("1x32x12x12:conv1o32:conv3o32", Layout::nhwc), Algorithm::winograd2));
    CHECK_FALSE(applies(pair_of("1x32x12x12:conv2o32:conv3o32", Layout::nhwc), Algorithm::winograd2));
    CHECK_FALSE(applies(pair_of("1x32x12x12:conv5o32s2:conv3o32", Layout::nhwc), Algorithm::winograd4));
    CHECK(applies(pair_of("1x192x12x12:conv1x7o32:conv3o32", Layout::nhwc), Algorithm::winograd4));
    CHECK(applies(pair_of("1x64x12x12:conv5o32:conv3o32", Layout::nhwc), Algorithm::winograd4));
    CHECK_FALSE(applies(pair_of("1x32x12x12:conv3o32d2:conv3o32", Layout::nhwc), Algorithm::winograd4));
    CHECK_FALSE(applies(pair_of("1x32x12x12:conv3o32s2:conv3o32", Layout::nhwc), Algorithm::winograd2));
    CHECK(applies(pair_of("1x32x12x12:conv3o32s2:conv3o32", Layout::nhwc), Algorithm::winograd4));
    CHECK_FALSE(applies(pair_of("1x33x12x12:conv3o32s2:conv3o32", Layout::nhwc), Algorithm::winograd4));
    CHECK_FALSE(applies(pair_of("1x32x12x12:conv3o32:conv3o32", Layout::nchw16c), Algorithm::winograd4));
}

TEST_CASE("winograd: a form whose error would exceed what math fast promises does not apply") {
    const auto applies = [](int channels, const char* kernel, Algorithm algorithm) {
        const std::string text = fmt::format("1x{}x20x20:conv{}o32:conv1o32", channels, kernel);
        return algorithm_applies(*make_problem(pair_of(text.c_str(), Layout::nhwc)), Isa::avx2, 0, algorithm);
    };
    CHECK(applies(256, "1x7", Algorithm::winograd4));
    CHECK_FALSE(applies(512, "1x7", Algorithm::winograd4));
    CHECK(applies(512, "1x7", Algorithm::winograd2));
    CHECK(applies(512, "5", Algorithm::winograd2));
    CHECK_FALSE(applies(128, "5", Algorithm::winograd4));
    CHECK_FALSE(applies(16, "7", Algorithm::winograd4));
}

TEST_CASE("winograd: chains keep what math fast promises by computing stages directly") {
    Machine machine;
    machine.isa = Isa::avx512;
    const Problem problem =
        *make_problem(*ConvChain::parse("1x256x17x17:conv1x7o256:conv7x1o256:conv1x7o256:conv7x1o256"));
    const Plan plan = rules_plan(problem, machine, 1);
    int direct = 0;
    for (int i = 0; i < problem.stage_count; ++i)
        direct += plan.stage(i).algorithm == Algorithm::direct;
    CHECK(direct > 0);
    CHECK(direct < problem.stage_count);
}

TEST_CASE("winograd: a plan that the math mode forbids is an error that names the stage") {
    ConvPair pair = pair_of("1x32x12x12:conv3o32:conv3o32", Layout::nhwc);
    const Isa isa = host_isas(DataType::f32).back();
    const auto plan = plan_with(pair, isa, Algorithm::winograd4, 1);
    REQUIRE(plan);
    pair.math = Math::strict;
    const Status status = check_plan(*make_problem(pair), *plan);
    REQUIRE_FALSE(status.ok());
    CHECK(status.error().message.find("plan.stages[0].algorithm is winograd4; direct is accepted") !=
          std::string::npos);
}

TEST_CASE("winograd: the rules take it for the paper's stride-1 3x3 stages and leave the rest direct") {
    Machine machine;
    machine.isa = Isa::avx512;
    const auto algorithms = [&](const char* text) {
        return rules_plan(*make_problem(pair_of(text, Layout::nhwc)), machine, 1).stages;
    };
    CHECK(algorithms("1x64x56x56:conv3o64:conv3o64")[0].algorithm == Algorithm::winograd4);
    CHECK(algorithms("1x64x56x56:conv3o64:conv3o64")[1].algorithm == Algorithm::winograd4);
    CHECK(algorithms("1x64x56x56:conv3o64s2:conv1o64")[0].algorithm == Algorithm::direct);
    CHECK(algorithms("1x64x56x56:conv3o64s2:conv1o64")[1].algorithm == Algorithm::direct);
    CHECK(algorithms("1x8x56x56:conv3o64:conv3o8")[0].algorithm == Algorithm::direct);
    CHECK(algorithms("1x192x17x17:conv1x7o192:conv7x1o192")[0].algorithm == Algorithm::winograd4);
    CHECK(algorithms("1x192x17x17:conv1x7o192:conv7x1o192")[1].algorithm == Algorithm::winograd4);
    CHECK(algorithms("1x384x8x8:conv1x3o384:conv3x1o384")[0].algorithm == Algorithm::winograd4);
    CHECK(algorithms("1x128x12x12:conv5o128:conv1o64")[0].algorithm == Algorithm::winograd2);  // by error
    machine.isa = Isa::amx;  // saves more by its tiles
    CHECK(algorithms("1x64x56x56:conv3o64:conv3o64")[0].algorithm == Algorithm::direct);
}
