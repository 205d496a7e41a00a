// Register blocks of dense stages: what fits the registers, and that neither their shapes nor the way pixels
// are broadcast changes a bit.
#include "core/plan/register_budget.hpp"

#include "support/doctest.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "core/plan/tiling.hpp"
#include "core/plan/winograd.hpp"
#include "core/run/kernel_code.hpp"
#include "core/run/verification.hpp"
#include "support/guarded_call.hpp"
#include "tandem/context.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

struct Most {
    int vectors, embedded, registers;  // pixels
    int pixels(Broadcast broadcast) const { return broadcast == Broadcast::embedded ? embedded : registers; }
};
constexpr std::array largest{Most{1, 28, 28}, Most{2, 14, 14}, Most{3, 9, 9},
                             Most{4, 7, 6},   Most{5, 5, 5},   Most{6, 4, 4}};
constexpr std::array forms{Broadcast::embedded, Broadcast::registers};

Plan rules(const Problem& problem, Isa isa) {
    return rules_plan(problem, Machine{.isa = isa, .caches = {}, .cpu_name = {}}, 1);
}

struct Output {
    std::vector<float> numbers;
    std::vector<std::byte> code;
};

Output output_of(const ConvChain& chain, const Plan& plan) {
    Context context;
    const auto kernel = context.dispatch(chain, {.plan = std::make_shared<const Plan>(plan)});
    REQUIRE_MESSAGE(kernel.ok(), kernel.error().message);
    GuardedCall call(*make_problem(chain), *kernel);
    call.clear();
    REQUIRE(call.run(0, 1).ok());
    const std::span<const std::byte> code = kernel->impl()->code->bytes();
    return {call.output(), {code.begin(), code.end()}};
}

// Every stage that can has this block.
Plan with_block(const Problem& problem, Plan plan, const Most& most, Broadcast broadcast) {
    for (int i = 0; i < problem.stage_count; ++i) {
        StagePlan& stage = plan.stage(i);
        if (problem.stage(i).depthwise()) continue;
        stage.broadcast = broadcast;
        stage.block_vectors = most.vectors;
        stage.block_pixels = most.pixels(broadcast);
    }
    return plan;
}

/// The same bits whatever the block, but not the same code by both forms.
void check_forms(const ConvChain& chain, Plan plan) {
    CAPTURE(to_string(chain));
    const Problem problem = *make_problem(chain);
    const Output expected = output_of(chain, plan);
    for (const Most& most : largest) {
        std::array<Output, forms.size()> outputs;
        for (std::size_t i = 0; i < forms.size(); ++i) {
            const Plan other = with_block(problem, plan, most, forms[i]);
            CAPTURE(to_string(other));
            outputs[i] = output_of(chain, other);
            CHECK(bitwise_difference(expected.numbers, outputs[i].numbers) == std::string());
        }
        CHECK(outputs[0].code != outputs[1].code);
    }
}

}  // namespace

TEST_CASE("register blocks: pixels fit beside weights and broadcasts, and no more are accepted") {
    const Problem problem = *make_problem(*ConvPair::parse("1x32x9x40:dw3:conv1o480"));
    for (const Most& most : largest) {
        for (const Broadcast broadcast : forms) {
            Plan plan = with_block(problem, rules(problem, Isa::avx512), most, broadcast);
            StagePlan& block = plan.stages[1];
            const int pixels = most.pixels(broadcast);
            for (block.block_pixels = 1; block.block_pixels <= pixels; ++block.block_pixels)
                CHECK(check_plan(problem, plan).ok());
            CHECK(check_plan(problem, plan).error().message ==
                  fmt::format("plan.stages[1].block_pixels is {}; 1 to {} are accepted{}.", pixels + 1,
                              pixels, broadcast == Broadcast::registers ? " with broadcast registers" : ""));
        }
    }
}

TEST_CASE(
    "register blocks: by default from three vectors on broadcasts have registers, where there are some") {
    Plan plan;
    plan.isa = Isa::avx512;
    const auto of_block = [&](int pixels, int vectors, Dot dot = Dot::f32) {
        return default_broadcast(plan, {.dot = dot, .block_pixels = pixels, .block_vectors = vectors});
    };
    CHECK(of_block(28, 1) == Broadcast::embedded);
    CHECK(of_block(10, 2) == Broadcast::embedded);
    CHECK(of_block(9, 3) == Broadcast::registers);
    CHECK(of_block(6, 4, Dot::bf16) == Broadcast::registers);
    CHECK(of_block(7, 4) == Broadcast::embedded);
    CHECK(of_block(9, 3, Dot::int16) == Broadcast::embedded);  // no choice
    plan.backend = Backend::libxsmm;
    CHECK(of_block(9, 3) == Broadcast::embedded);
    plan = {};
    plan.isa = Isa::avx2;
    CHECK(of_block(4, 3) == Broadcast::embedded);
}

TEST_CASE("register blocks: the same bits by embedded broadcasts and by broadcast registers") {
    struct Case {
        const char* text;
        Algorithm algorithm = Algorithm::direct;
        int block_channels = 0;
    };
    for (const Case& c :
         {Case{"1x20x9x30:dw3+bias:conv1o104+bias+relu"}, Case{"1x24x12x13:conv3o80:conv3o40s2+bias"},
          Case{"2x48x7x9:conv1o96+bias:conv3o96+bias", Algorithm::direct, 16},
          Case{"1x20x9x30:dw3+bias:conv1o104+bias+relu/nchw16c/bf16"},
          Case{"1x24x13x12:conv1o32:conv3o96+bias", Algorithm::winograd2},
          Case{"1x24x13x12:conv1o32:conv3o88+bias", Algorithm::winograd4}}) {
        const ConvChain chain = *ConvChain::parse(c.text);
        const Problem problem = *make_problem(chain);
        for (const Isa isa : host_isas(chain.dtype, chain.math)) {
            if (!is_avx512(isa) || has_amx(isa)) continue;
            Plan plan = rules(problem, isa);
            for (int i = 0; i < problem.stage_count; ++i) {
                StagePlan& stage = plan.stage(i);
                stage.algorithm =
                    algorithm_applies(problem, isa, i, c.algorithm) ? c.algorithm : Algorithm::direct;
                if (!problem.stage(i).depthwise()) stage.block_channels = c.block_channels;
            }
            plan.tile_w = static_cast<int>(problem.last().out_w);
            check_forms(chain, plan);
        }
    }
}
