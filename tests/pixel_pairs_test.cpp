// Pixel pairs: where channels lie in their vectors, which plans may have them, and that they change no bit.
#include "core/plan/pixel_pairs.hpp"

#include "support/doctest.hpp"

#include <algorithm>
#include <memory>
#include <set>

#include <fmt/format.h>

#include "core/plan/candidates.hpp"
#include "core/plan/choice.hpp"
#include "core/plan/panel.hpp"
#include "core/plan/tiling.hpp"
#include "support/forked_jobs.hpp"
#include "support/guarded_call.hpp"
#include "support/verify_job.hpp"
#include "tandem/context.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

Problem problem_of(const char* text) { return *make_problem(*ConvChain::parse(text)); }

Plan rules(const Problem& problem, Isa isa = Isa::avx512) {
    return rules_plan(problem, Machine{.isa = isa, .caches = {}, .cpu_name = {}}, 1);
}

/// Stage i in pairs.
Plan paired(const Problem& problem, Plan plan, int i) {
    const std::vector<StagePlan> blocks = pixel_pair_blocks(problem, plan, i);
    REQUIRE_FALSE(blocks.empty());
    plan.stage(i) = blocks.back();
    return plan;
}

std::vector<float> output_of(const ConvChain& chain, const Plan& plan) {
    Context context;
    const auto kernel = context.dispatch(chain, {.plan = std::make_shared<const Plan>(plan)});
    REQUIRE_MESSAGE(kernel.ok(), kernel.error().message);
    GuardedCall call(*make_problem(chain), *kernel);
    call.clear();
    for (int part = 0; part < 2; ++part)
        REQUIRE(call.run(part, 2).ok());
    return call.output();
}

// Channel counts of one, of several and of half vectors, odd and even widths, one pixel, flat tiles and
// narrow ones, strides, multipliers, residuals of fewer channels, every sort of post-op, inverted residuals,
// NCHW outputs, two pairs of a chain; every data type, with channels that leave dot groups half filled.
constexpr const char* chains[] = {
    "1x144x10x56:dw3+bias+relu6:conv1o24+bias",
    "1x32x7x7:dw3+bias:conv1o24+bias+relu",
    "2x20x9x13:dw3s2+bias+relu6:conv1o40+sum(20)+relu",
    "1x16x5x1:dw3:conv1o1",
    "1x17x6x9:dw5+swish:conv1o8+bias+prelu+scale",
    "1x24x12x30:dw3m2+bias:conv1o23+scale+bias+sum",
    "1x40x8x11:dw3+bias+relu:conv1o56+bias+hswish",
    "1x64x14x14:dw3+bias:conv1o104+bias+clip(-1,2)",
    "1x24x9x14:conv1o96+bias+relu6:dw3+bias+relu6:conv1o24+bias+sum(in)",
    "1x48x6x10:dw3+relu:conv1o24+relu6:dw3+bias+relu:conv1o20+bias",
    "1x32x9x15:dw3+bias:conv1o24+bias/nhwc/out=nchw",
    "1x40x9x13:dw3+bias+relu6:conv1o24+bias/nhwc/bf16/fast",
    "1x41x7x11:dw3s2+bias:conv1o40+bias+sum/nhwc/bf16/fast",
    "1x35x9x14:dw3+bias+relu:conv1o24+bias/nhwc/f16/f16",
    "1x24x9x7:dw3+bias+relu:conv1o24+bias/nhwc/f16/fast",
    "1x38x9x13:dw3+bias+relu6:conv1o24+bias+relu/nhwc/u8/fast",
    "1x21x8x12:dw5+bias:conv1o40+bias/nhwc/s8/fast",
    "1x48x9x15:dw3s2+relu:conv1o8+bias/nhwc/u8-s8-f32/fast",
};

/// What differs between a plan and the same with its last stage in pairs, by rows and columns of tiles; or
/// between those and the reference.
std::string check_plan_in_pairs(const ConvChain& chain, const Plan& plan) {
    const Problem problem = *make_problem(chain);
    const int last = problem.stage_count - 1;
    const std::vector<float> expected = output_of(chain, plan);
    for (const std::int64_t tile_h : {std::int64_t{1}, std::int64_t{3}, problem.last().out_h}) {
        for (const std::int64_t tile_w : {std::int64_t{5}, problem.last().out_w}) {
            for (const StagePlan& block : pixel_pair_blocks(problem, plan, last)) {
                Plan other = plan;
                other.tile_h = static_cast<int>(std::min(tile_h, problem.last().out_h));
                other.tile_w = static_cast<int>(std::min(tile_w, problem.last().out_w));
                other.stage(last) = block;
                const std::string difference = bitwise_difference(expected, output_of(chain, other));
                if (!difference.empty()) return fmt::format("{}: {}", to_string(other), difference);
                const std::string failure =
                    verify_job(chain, {.dispatch = {.plan = std::make_shared<const Plan>(other)},
                                       .threads = 3,
                                       .data = DataKind::integers});
                if (!failure.empty()) return fmt::format("{}: {}", to_string(other), failure);
            }
        }
    }
    return {};
}

/// The rules' plan of a chain by every dot that pairs apply to, in its layout and in channel blocks.
std::string check_chain(const char* text) {
    ConvChain chain = *ConvChain::parse(text);
    int plans = 0;
    for (const Layout layout : {chain.layout, Layout::nchw16c}) {
        if (layout != chain.layout && chain.output_view) continue;
        chain.layout = layout;
        const Problem problem = *make_problem(chain);
        const int last = problem.stage_count - 1;
        for (const Isa isa : host_isas(chain.dtype, chain.math)) {
            for (const Dot dot : dots(problem, isa, last)) {
                Plan plan = rules(problem, isa);
                plan.stage(last).dot = dot;
                plan.stage(last).broadcast = Broadcast::embedded;
                if (has_amx(isa) || !pixel_pairs_apply(problem, plan, last)) continue;
                ++plans;
                if (const std::string failure = check_plan_in_pairs(chain, plan); !failure.empty())
                    return fmt::format("{}: {}", to_string(layout), failure);
            }
        }
    }
    return plans > 0 ? "" : "no plan in pairs";
}

}  // namespace

TEST_CASE("pixel pairs: every channel has two lanes of its own, in whole vectors") {
    for (const int channels : {1, 8, 16, 24, 29, 40}) {
        const int vectors = (channels + 15) / 16, tail = channels % 16;
        std::set<std::int64_t> lanes;
        for (std::int64_t c = 0; c < channels; ++c) {
            const bool half = c / 16 == vectors - 1 && is_half_full(tail, 16);
            const std::int64_t lane = pixel_pair_lane(c, 16, half);
            CHECK(lane % 2 == 0);
            CHECK(lanes.insert(lane).second);
            CHECK(lane < pixel_pair_vectors(vectors, tail, 16) * 16);
        }
    }
    CHECK(pixel_pair_vectors(2, 8, 16) == 3);
    CHECK(pixel_pair_vectors(2, 9, 16) == 4);
    CHECK(pixel_pair_vectors(2, 0, 16) == 4);
}

TEST_CASE("pixel pairs: weights of 24 channels are three vectors an input channel") {
    const Problem problem = problem_of("1x32x8x8:dw3:conv1o24");
    const PanelLayout panel = panel_layout(problem, paired(problem, rules(problem), 1), 1);
    REQUIRE(panel.runs.size() == 1);
    CHECK(panel.weight_vectors(panel.runs[0]) == 3);
    CHECK(panel.bytes == panel.weights_offset(2) + 32 * 3 * 64);
}

TEST_CASE("pixel pairs: where they do not apply, and what a block may be") {
    const auto apply = [](const char* text, Isa isa = Isa::avx512) {
        const Problem problem = problem_of(text);
        return pixel_pairs_apply(problem, rules(problem, isa), problem.stage_count - 1);
    };
    CHECK(apply("1x32x8x8:dw3:conv1o24"));
    CHECK(apply("1x32x8x8:dw3:conv1o40/nchw16c"));
    for (const char* text : {"1x32x8x8:dw3:conv1o32", "1x32x8x8:dw3:conv1o25", "1x15x8x8:dw3:conv1o24",
                             "1x32x8x8:dw3:conv3o24", "1x32x8x8:dw3:conv1o24s2", "1x32x8x8:conv1o32:conv1o24",
                             "1x32x8x8:conv1o24", "1x32x8x8:dw3:conv1o24/nchw8c"})
        CHECK_MESSAGE(!apply(text), text);
    CHECK_FALSE(apply("1x32x8x8:dw3:conv1o24", Isa::avx2));

    const Problem problem = problem_of("1x32x8x60:dw3:conv1o24");
    const auto error = [&](auto change) {
        Plan plan = paired(problem, rules(problem), 1);
        change(plan);
        const Status status = check_plan(problem, plan);
        return status ? std::string() : status.error().message;
    };
    CHECK(error([](Plan&) {}).empty());
    CHECK(error([](Plan& p) { p.stages[1].block_pixels = 20; }) ==
          "plan.stages[1].block_pixels is 20; 1 to 18 are accepted with broadcast registers.");
    CHECK(error([](Plan& p) { p.stages[1].block_pixels = 17; }) ==
          "plan.stages[1].block_pixels is 17; even numbers are accepted with pixel pairs.");
    CHECK(error([](Plan& p) { p.stages[1].broadcast = Broadcast::embedded; }) ==
          "plan.stages[1].broadcast is embedded; registers is accepted with pixel pairs.");
    for (void (*const change)(Plan&) : {+[](Plan& p) { p.stages[0].block_pixels = 1; },
                                        +[](Plan& p) { p.edges[0] = Edge::stored, p.stored[0] = p; },
                                        +[](Plan& p) { p.stages[1].block_channels = 16; },
                                        +[](Plan& p) {
                                            p.stages[0].pixel_pairs = true;
                                        }})
        CHECK(error(change).find("pixel_pairs is true; false is accepted but for") != std::string::npos);
}

TEST_CASE("pixel pairs: a row of scratch is whole pairs, and odd rows are not one long one") {
    for (const int width : {14, 15}) {
        const Problem problem = problem_of(fmt::format("1x32x8x{}:dw3:conv1o24", width).c_str());
        const Plan plan = rules(problem), pairs = paired(problem, plan, 1);
        CHECK(is_flat(problem, plan));
        CHECK(is_flat(problem, pairs) == (width % 2 == 0));
        CHECK(mid_buffer(problem, pairs, 0).width == (width + 1) / 2 * 2);
        CHECK(mid_buffer(problem, pairs, 0).strides.pairs);
        CHECK_FALSE(mid_buffer(problem, plan, 0).strides.pairs);
    }
}

TEST_CASE("pixel pairs: candidates have them, and the model takes them where a half vector costs a whole") {
    const Problem problem = problem_of("1x144x56x56:dw3+bias+relu6:conv1o24+bias");
    Machine machine{.isa = Isa::avx512, .caches = {}, .cpu_name = {}};
    CHECK(std::ranges::any_of(candidate_plans(problem, machine, 1),
                              [](const Plan& plan) { return plan.stages[1].pixel_pairs; }));
    CHECK(choose_plan(problem, machine, 1).stages[1].pixel_pairs);
    const Problem whole = problem_of("1x144x56x56:dw3+bias+relu6:conv1o32+bias");
    CHECK_FALSE(choose_plan(whole, machine, 1).stages[1].pixel_pairs);
}

TEST_CASE("pixel pairs: the same bits as without them, and exact, in any tile and layout") {
    if (!host_offers(Isa::avx512)) return;
    const auto failures = run_forked(std::ssize(chains), 1, [](std::int64_t i) {
        return check_chain(chains[static_cast<std::size_t>(i)]);
    });
    for (const JobFailure& failure : failures)
        FAIL_CHECK(std::string(chains[static_cast<std::size_t>(failure.index)]) << ": " << failure.message);
}
