// Depthwise blocks of one to four rows: every count gives the bits of one row at a time.
#include "core/plan/tiling.hpp"

#include "support/doctest.hpp"

#include <fmt/format.h>

#include "core/plan/arithmetic.hpp"
#include "core/plan/register_budget.hpp"
#include "core/run/verification.hpp"
#include "support/forked_jobs.hpp"
#include "support/guarded_call.hpp"
#include "tandem/context.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

constexpr int most_rows = depthwise_registers::most_rows;

/// The rules' plan with depthwise blocks of so many rows and as many pixels as the registers take, the whole
/// image in a tile.
Plan plan_with(const Problem& problem, Isa isa, Dot dot, int rows, bool channels_inner) {
    Plan plan = rules_plan(problem, *host_machine(isa), 1);
    plan.tile_h = static_cast<int>(problem.last().out_h);
    StagePlan& stage = plan.stages[0];
    stage.dot = dot;
    stage.block_rows = rows;
    stage.block_vectors = depthwise_vectors(problem, plan, 0);
    stage.block_pixels = max_depthwise_pixels(problem.stage(0), isa, dot, rows, stage.block_vectors);
    stage.channels_inner = channels_inner;
    return plan;
}

Result<std::vector<float>> output_of(const ConvChain& chain, const Plan& plan) {
    Context context;
    const auto kernel = context.dispatch(chain, {.plan = std::make_shared<const Plan>(plan)});
    if (!kernel) return kernel.error();
    GuardedCall call(*make_problem(chain), *kernel);
    call.clear();
    if (const Status status = call.run(); !status) return status.error();
    return call.output();
}

/// What goes wrong with a chain that begins with a depthwise stage; empty if nothing.
std::string compare_rows(const ConvChain& chain) {
    const Problem problem = *make_problem(chain);
    for (const Isa isa : host_isas(chain.dtype, chain.math)) {
        const auto one = output_of(chain, plan_with(problem, isa, Dot::f32, 1, false));
        if (!one) return fmt::format("{}: {}", to_string(isa), one.error().message);
        for (const Dot dot : dots(problem, isa, 0)) {
            for (int rows = 1; rows <= most_rows; ++rows) {
                const bool inner = rows % 2 == 1 && chain.layout == Layout::nhwc;
                const Plan plan = plan_with(problem, isa, dot, rows, inner);
                const auto output = output_of(chain, plan);
                if (!output) return fmt::format("{}: {}", to_string(plan), output.error().message);
                if (const std::string difference = bitwise_difference(*one, *output); !difference.empty())
                    return fmt::format("{}: {}", to_string(plan), difference);
            }
        }
    }
    return {};
}

}  // namespace

TEST_CASE("depthwise rows: one to four rows at once are the same bits, for all kernels, strides and types") {
    std::vector<ConvChain> chains;
    for (const char* stage : {"dw3+bias", "dw3s2+bias+relu", "dw5", "dw5s2+bias", "dw3d2", "dw7s2", "dw3x5s3",
                              "dw3+sum", "dw5s2m2+bias+relu6"}) {
        for (const char* image : {"1x20x9x31", "2x32x4x1", "1x7x14x9"}) {
            for (const char* dtype : {"f32", "bf16", "f16", "u8", "s8"}) {
                for (const char* layout : {"nhwc", "nchw16c"}) {
                    const auto chain =
                        ConvChain::parse(fmt::format("{}:{}/{}/{}", image, stage, layout, dtype));
                    REQUIRE_MESSAGE(chain.ok(), chain.error().message);
                    chains.push_back(*chain);
                }
            }
        }
    }
    const auto failures =
        run_forked(static_cast<std::int64_t>(chains.size()), sanitized ? 100 : 15,
                   [&](std::int64_t i) { return compare_rows(chains[static_cast<std::size_t>(i)]); });
    for (const JobFailure& failure : failures)
        FAIL_CHECK(to_string(chains[static_cast<std::size_t>(failure.index)]) << ": " << failure.message);
}
