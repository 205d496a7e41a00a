// Plans that a caller brings: impossible ones are errors, possible ones give the same bits as the
// planner's.
#include "core/plan/plan.hpp"

#include "support/doctest.hpp"

#include <algorithm>
#include <random>

#include "core/plan/arithmetic.hpp"
#include "core/plan/k_blocks.hpp"
#include "core/plan/panel.hpp"
#include "core/plan/pixel_pairs.hpp"
#include "core/plan/register_budget.hpp"
#include "core/plan/tile_geometry.hpp"
#include "core/plan/tiling.hpp"
#include "core/plan/winograd.hpp"
#include "core/run/kernel_code.hpp"
#include "core/run/verification.hpp"
#include "support/forked_jobs.hpp"
#include "support/guarded_call.hpp"
#include "support/random_chain.hpp"
#include "tandem/context.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

struct PlanError {
    const char* field;
    void (*spoil)(Plan&);
    const char* accepted;
};

int pick(std::mt19937_64& engine, std::int64_t low, std::int64_t high) {
    return static_cast<int>(
        low + static_cast<std::int64_t>(
                  engine() % static_cast<std::uint64_t>(std::max<std::int64_t>(high - low, 0) + 1)));
}

// Any blocks for the stage's dot and algorithm.
void randomise_blocks(const Stage& stage, Isa isa, StagePlan& plan, std::mt19937_64& engine) {
    const bool depthwise = stage.depthwise(), amx = uses_amx(plan.dot);
    plan.block_rows = depthwise ? pick(engine, 1, max_depthwise_rows(stage)) : 1;
    plan.block_vectors = !depthwise                              ? pick(engine, 1, amx ? 2 : 6)
                         : plan.dot == Dot::int8 && engine() % 2 ? quad_vectors
                                                                 : 1;
    const bool chooses = !depthwise && can_embed_broadcast(isa, plan.dot);
    plan.broadcast = chooses && engine() % 2 ? Broadcast::registers : Broadcast::embedded;
    plan.block_pixels =
        pick(engine, 1,
             depthwise ? max_depthwise_pixels(stage, isa, plan.dot, plan.block_rows, plan.block_vectors)
                       : max_dense_pixels(isa, plan, plan.block_vectors));
    plan.channels_inner = engine() % 2;
    const bool winograd = plan.algorithm != Algorithm::direct;
    plan.weights_ahead = winograd && engine() % 2 ? pick(engine, 0, 100000) : point_ahead;
    const std::int64_t k_step = block_channels_step(plan.dot);
    const int k_steps =
        has_zero_point_sums(plan.dot) ? 0 : static_cast<int>(max_block_channels(stage, plan.dot) / k_step);
    plan.block_channels = engine() % 2 ? 0
                                       : static_cast<int>(k_step) *
                                             pick(engine, 0, engine() % 2 ? std::min(k_steps, 3) : k_steps);
}

// Where they apply.
void randomise_pixel_pairs(const Problem& problem, Plan& plan, int i, std::mt19937_64& engine) {
    const std::vector<StagePlan> blocks = pixel_pair_blocks(problem, plan, i);
    if (blocks.empty()) return;
    StagePlan& stage = plan.stage(i) = blocks[engine() % blocks.size()];
    stage.block_pixels = 2 * pick(engine, 1, stage.block_pixels / 2);
}

/// Any plan that check_plan() accepts and that promises the bits of `own`, the planner's plan: its
/// algorithms and dots, or any dots where sums are of integers; all other decisions at random.
Plan random_plan(const Problem& problem, const Plan& own, std::mt19937_64& engine) {
    Plan plan = own;
    do {
        for (int i = 0; i + 1 < problem.stage_count; ++i) {
            plan.edge(i) = engine() % 4 == 0 ? Edge::stored : engine() % 2 ? Edge::recompute : Edge::sliding;
            const Stage& stage = problem.stage(i);
            Tiling& stored = plan.stored[static_cast<std::size_t>(i)];
            stored = {.tile_h = pick(engine, 1, std::min<std::int64_t>(stage.out_h, 8)),
                      .tile_w = engine() % 2 ? static_cast<int>(stage.out_w) : pick(engine, 1, stage.out_w)};
        }
        plan.tile_h = pick(engine, 1, std::min<std::int64_t>(problem.last().out_h, engine() % 2 ? 4 : 60));
        plan.tile_w =
            engine() % 2 ? static_cast<int>(problem.last().out_w) : pick(engine, 1, problem.last().out_w);
        plan.prefetch_next = engine() % 2;
        for (int i = 0; i < problem.stage_count; ++i) {
            StagePlan& stage = plan.stage(i);
            if (const std::vector<Dot> usable = dots(problem, plan.isa, i); problem.quantized())
                stage.dot = usable[engine() % usable.size()];
            stage.pixel_pairs = false;
            randomise_blocks(problem.stage(i), plan.isa, stage, engine);
            if (engine() % 2) randomise_pixel_pairs(problem, plan, i, engine);
        }
        std::int64_t groups = 0;
        for (const GroupRun& run : panel_layout(problem, plan, problem.stage_count - 1).runs)
            groups += run.count;
        plan.channel_splits = engine() % 2 ? 1 : pick(engine, 1, std::min<std::int64_t>(groups, 5));
    } while (!check_plan(problem, plan));
    return plan;
}

Result<std::vector<float>> output_of(const Result<Kernel>& kernel, const Problem& problem, int parts) {
    if (!kernel) return kernel.error();
    GuardedCall call(problem, *kernel);
    if (residual_lies_on_output(problem)) call.sum_in_place();
    call.clear();
    for (int part = 0; part < parts; ++part)
        if (const Status status = call.run(part, parts); !status) return status.error();
    return call.output();
}

/// The planner's plan of a kernel, with Winograd or Strassen wherever it applies if `algorithm` says so.
Plan own_plan(const Problem& problem, const Kernel& planned, Algorithm algorithm) {
    Plan plan = planned.impl()->code->plan;
    if (algorithm == Algorithm::direct) return plan;
    plan.backend = Backend::tandem;
    plan.channel_splits = 1;
    for (int i = 0; i < problem.stage_count; ++i) {
        if (!algorithm_applies(problem, plan.isa, i, algorithm)) continue;
        plan.stage(i) = {.algorithm = algorithm, .dot = Dot::f32, .block_pixels = 2, .block_vectors = 2};
    }
    plan.tile_w = static_cast<int>(problem.last().out_w);
    if (plan.stage(problem.stage_count - 1).algorithm == Algorithm::strassen) plan.tile_h += plan.tile_h % 2;
    return plan;
}

struct PlanComparison {
    int count = 0;  // random plans
    DataType dtype = DataType::f32;
    std::optional<Math> math{};
    int stages = 2;
    Algorithm algorithm = Algorithm::direct;  // or Winograd or Strassen wherever it applies
    ChainKinds kinds = ChainKinds::any;
};

/// Compares random plans of a chain with the planner's own.
std::string compare_plans(std::mt19937_64& engine, const ConvChain& chain, const PlanComparison& what) {
    const Problem problem = *make_problem(chain);
    Context context;
    for (const Isa isa : host_isas(chain.dtype, chain.math)) {
        const auto planned = context.dispatch(chain, {.isa = isa});
        if (!planned) return fmt::format("{}: {}", problem.name(), planned.error().message);
        const Plan own = own_plan(problem, *planned, what.algorithm);
        const auto expected =
            output_of(context.dispatch(chain, {.plan = std::make_shared<const Plan>(own)}), problem, 1);
        if (!expected)
            return fmt::format("{} with {}: {}", problem.name(), to_string(own), expected.error().message);
        for (int i = 0; i < what.count; ++i) {
            const Plan plan = random_plan(problem, own, engine);
            const int parts = pick(engine, 1, 5);
            const auto output = output_of(
                context.dispatch(chain, {.plan = std::make_shared<const Plan>(plan)}), problem, parts);
            if (!output)
                return fmt::format("{} with {}: {}", problem.name(), to_string(plan), output.error().message);
            if (const std::string difference = bitwise_difference(*expected, *output); !difference.empty())
                return fmt::format("{} with {} in {} parts: {}", problem.name(), to_string(plan), parts,
                                   difference);
        }
    }
    return {};
}

/// Those of a random chain.
std::string compare_plans(std::int64_t seed, const PlanComparison& what) {
    std::mt19937_64 engine(static_cast<std::uint64_t>(seed));
    ConvChain chain = random_chain(engine, {.kinds = what.kinds,
                                            .max_flops = 3e6,
                                            .dtype = what.dtype,
                                            .factors = true,
                                            .min_stages = what.stages,
                                            .max_stages = what.stages,
                                            .views = 3,
                                            .input_sums = 4});
    if (what.math) chain.math = *what.math;
    if (engine() % 2 == 0) lay_residual_on_output(chain);
    return compare_plans(engine, chain, what);
}

/// The same of `chains` random chains; `what` by their seed.
template <class What>
void check_plans(int chains, const What& what) {
    const auto failures = run_forked(sanitized ? 10 : chains, 10, [&](std::int64_t i) {
        PlanComparison comparison = what(i);
        comparison.count = sanitized ? 2 : 8;
        return compare_plans(i, comparison);
    });
    for (const JobFailure& failure : failures)
        FAIL_CHECK("chain of seed " << failure.index << ": " << failure.message);
}

}  // namespace

TEST_CASE("plan: an impossible decision is an error that names it and what is accepted") {
    const Problem problem = *make_problem(*ConvPair::parse("1x20x10x12:dw3+bias:conv1o40"));
    Machine machine;
    machine.isa = Isa::avx512;
    const Plan good = rules_plan(problem, machine, 1);
    REQUIRE(check_plan(problem, good).ok());
    const PlanError errors[] = {
        {"plan.tile_h is 0", [](Plan& p) { p.tile_h = 0; }, "1 to 10"},
        {"plan.tile_h is 11", [](Plan& p) { p.tile_h = 11; }, "1 to 10"},
        {"plan.tile_w is 0", [](Plan& p) { p.tile_w = 0; }, "1 to 12"},
        {"plan.tile_w is 13", [](Plan& p) { p.tile_w = 13; }, "1 to 12"},
        {"plan.edges[0] is 7", [](Plan& p) { p.edges[0] = static_cast<Edge>(7); },
         "recompute, sliding or stored"},
        {"plan.stages[0].block_rows is 0", [](Plan& p) { p.stages[0].block_rows = 0; }, "1 to 4"},
        {"plan.stages[0].block_rows is 5", [](Plan& p) { p.stages[0].block_rows = 5; }, "1 to 4"},
        {"plan.stages[1].block_rows is 2", [](Plan& p) { p.stages[1].block_rows = 2; }, "1 to 1"},
        {"plan.stages[0].block_vectors is 2", [](Plan& p) { p.stages[0].block_vectors = 2; }, "1 is"},
        {"plan.stages[1].block_vectors is 0", [](Plan& p) { p.stages[1].block_vectors = 0; }, "1 to 6"},
        {"plan.stages[1].block_vectors is 7", [](Plan& p) { p.stages[1].block_vectors = 7; }, "1 to 6"},
        {"plan.stages[0].block_pixels is 0", [](Plan& p) { p.stages[0].block_pixels = 0; }, "1 to 11"},
        {"plan.stages[0].block_pixels is 12", [](Plan& p) { p.stages[0].block_pixels = 12; }, "1 to 11"},
        {"plan.stages[1].block_pixels is 15", [](Plan& p) { p.stages[1].block_pixels = 15; }, "1 to 14"},
        {"plan.stages[0].block_channels is 16", [](Plan& p) { p.stages[0].block_channels = 16; },
         "0 (the whole sum at once) is accepted"},
        {"plan.stages[1].block_channels is 8", [](Plan& p) { p.stages[1].block_channels = 8; },
         "multiples of 16 up to 16 are accepted"},
        {"plan.stages[1].block_channels is 32", [](Plan& p) { p.stages[1].block_channels = 32; },
         "multiples of 16 up to 16 are accepted"},
        {"plan.stages[1].block_channels is -16", [](Plan& p) { p.stages[1].block_channels = -16; },
         "multiples of 16 up to 16 are accepted"},
        {"plan.stages[0].broadcast is registers",
         [](Plan& p) { p.stages[0].broadcast = Broadcast::registers; }, "embedded is accepted"},
        {"plan.stages[1].broadcast is 2", [](Plan& p) { p.stages[1].broadcast = static_cast<Broadcast>(2); },
         "embedded or registers is accepted"},
        {"plan.stages[1].broadcast is registers",
         [](Plan& p) { p.stages[1].dot = Dot::int16, p.stages[1].broadcast = Broadcast::registers; },
         "embedded is accepted"},
        {"plan.stages[1].weights_ahead is 8192", [](Plan& p) { p.stages[1].weights_ahead = 8192; },
         "2147483647 is accepted"},
        {"plan.stages[1].weights_ahead is -1", [](Plan& p) { p.stages[1].weights_ahead = -1; },
         "0 (no prefetch) and more bytes are accepted"},
        {"plan.channel_splits is 0", [](Plan& p) { p.channel_splits = 0; }, "1 to 2"},
        {"plan.channel_splits is 3", [](Plan& p) { p.channel_splits = 3; }, "1 to 2"},
    };
    for (const PlanError& error : errors) {
        Plan plan = good;
        error.spoil(plan);
        const Status status = check_plan(problem, plan);
        CAPTURE(error.field);
        REQUIRE_FALSE(status.ok());
        CHECK(status.error().code == ErrorCode::invalid_argument);
        CHECK_MESSAGE(status.error().message.starts_with(error.field), status.error().message);
        CHECK_MESSAGE(status.error().message.find(error.accepted) != std::string::npos,
                      status.error().message);
    }
    // 40 channels are a group of five vectors: their weights and a broadcast leave 10 of 16 registers, two
    // pixels of five.
    Plan crowded = good;
    crowded.isa = Isa::avx2;
    crowded.stages[0].block_rows = crowded.stages[0].block_pixels = 1;
    crowded.stages[1].block_pixels = 3, crowded.stages[1].block_vectors = 6;
    CHECK(check_plan(problem, crowded).error().message.find("block_pixels is 3; 1 to 2") !=
          std::string::npos);
    // In blocks of 16 channels AVX2 works on both vectors of a block, so a block of one vector counts as
    // two.
    const Problem blocked = [] {
        ConvPair pair = *ConvPair::parse("1x20x10x12:dw3+bias:conv1o40");
        pair.layout = Layout::nchw16c;
        return *make_problem(pair);
    }();
    crowded.stages[1].block_pixels = 7, crowded.stages[1].block_vectors = 1;
    CHECK(check_plan(blocked, crowded).error().message.find("block_pixels is 7; 1 to 6") !=
          std::string::npos);
    Plan libxsmm = good;
    libxsmm.backend = Backend::libxsmm;
    libxsmm.stages[1].block_channels = 16;
    CHECK(check_plan(problem, libxsmm).error().message ==
          "plan.stages[1].block_channels is 16; 0 (the whole sum at once) is accepted.");
    Plan split = good;
    split.isa = Isa::amx;
    split.stages[1].dot = Dot::amx_x3;
    set_amx_shape(split.stages[1]);
    REQUIRE(check_plan(problem, split).ok());
    split.backend = Backend::libxsmm;
    CHECK(check_plan(problem, split).error().message ==
          "plan.stages[1].dot is amx_x3; f32 is accepted with plan.backend libxsmm.");
    CHECK(check_plan(problem, with_libxsmm(split)).ok());
}

TEST_CASE("plan: whatever a decision of a plan is, another one is another plan") {
    Plan plan;
    plan.tile_w = 7;
    plan.stages[0].block_pixels = plan.stages[1].block_pixels = 3;
    void (*const changes[])(Plan&) = {
        [](Plan& p) { p.isa = Isa::avx512; },
        [](Plan& p) { p.edges[0] = Edge::sliding; },
        [](Plan& p) { p.tile_h = 2; },
        [](Plan& p) { p.tile_w = 8; },
        [](Plan& p) { p.channel_splits = 2; },
        [](Plan& p) { p.prefetch_next = true; },
        [](Plan& p) { p.stages[0].block_pixels = 4; },
        [](Plan& p) { p.stages[0].block_vectors = 2; },
        [](Plan& p) { p.stages[0].block_rows = 2; },
        [](Plan& p) { p.stages[0].channels_inner = true; },
        [](Plan& p) { p.stages[0].block_channels = 16; },
        [](Plan& p) { p.stages[0].broadcast = Broadcast::registers; },
        [](Plan& p) { p.stages[0].weights_ahead = 8192; },
        [](Plan& p) { p.stages[0].pixel_pairs = true; },
    };
    for (auto change : changes) {
        Plan other = plan;
        change(other);
        CHECK_FALSE(other == plan);
        CHECK(hash_value(other) != hash_value(plan));
        CHECK(to_string(other) != to_string(plan));
    }
}

TEST_CASE("plan: recompute or sliding, any tiles, blocks, channel splits and parts: the same bits") {
    check_plans(120, [](std::int64_t i) {
        return PlanComparison{.kinds = i % 3 == 0 ? ChainKinds::depthwise_pointwise : ChainKinds::any};
    });
}

TEST_CASE("plan: the same bits of chains of three and four") {
    for (const DataType dtype : {DataType::f32, DataType::u8})
        check_plans(80, [&](std::int64_t i) {
            return PlanComparison{.dtype = dtype, .stages = 3 + static_cast<int>(i % 2)};
        });
}

TEST_CASE("plan: the same bits where stages are computed by Winograd") {
    for (const Algorithm algorithm : {Algorithm::winograd2, Algorithm::winograd4})
        check_plans(60, [&](std::int64_t i) {
            return PlanComparison{.math = Math::fast,
                                  .stages = 2 + static_cast<int>(i % 2),
                                  .algorithm = algorithm,
                                  .kinds = ChainKinds::winograd};
        });
}

TEST_CASE(
    "plan: the same bits of tall images, where Winograd's tiles begin with the fresh rows of a window") {
    for (const char* text : {"1x9x80x6:conv3o17+bias+relu:conv3o16", "1x16x140x5:conv3o8:dw5s2:conv3o24p2"}) {
        const ConvChain chain = *ConvChain::parse(text);
        REQUIRE(make_problem(chain)->stage(0).winograd_row != 0);
        for (const Algorithm algorithm : {Algorithm::winograd2, Algorithm::winograd4}) {
            std::mt19937_64 engine(1);
            const PlanComparison what{.count = sanitized ? 2 : 30, .algorithm = algorithm};
            CHECK(compare_plans(engine, chain, what) == std::string());
        }
    }
}

TEST_CASE("plan: the same bits where the last stage is computed by Strassen") {
    check_plans(60, [&](std::int64_t i) {
        return PlanComparison{.math = Math::fast,
                              .stages = 1 + static_cast<int>(i % 3),
                              .algorithm = Algorithm::strassen,
                              .kinds = ChainKinds::strassen};
    });
}

TEST_CASE("plan: the same bits where sums are f16, too") {
    check_plans(60, [](std::int64_t) { return PlanComparison{.dtype = DataType::f16, .math = Math::f16}; });
}

TEST_CASE("plan: the same bits of quantised pairs, by any dot instruction") {
    check_plans(60, [](std::int64_t) { return PlanComparison{.dtype = DataType::u8}; });
}

TEST_CASE("plan: sums in f16 are for f16 tensors, math f16 and an ISA that has them") {
    ConvPair pair = *ConvPair::parse("1x20x10x12:dw3+bias:conv1o40");
    pair.dtype = DataType::f16;
    pair.math = Math::f16;
    Machine machine;
    machine.isa = Isa::avx512_fp16;
    const Problem problem = *make_problem(pair);
    Plan plan = rules_plan(problem, machine, 1);
    CHECK(plan.stages[0].dot == Dot::f32);
    CHECK(plan.stages[1].dot == Dot::f16);
    CHECK(check_plan(problem, plan).ok());
    Plan without = plan;
    without.isa = Isa::avx512_bf16;
    CHECK(check_plan(problem, without).error().message ==
          "plan.stages[1].dot is f16; f32 is accepted for f16 on avx512_bf16.");
    for (const Math math : {Math::fast, Math::strict}) {
        pair.math = math;
        const Problem summed = *make_problem(pair);
        CHECK(check_plan(summed, plan).error().message ==
              "plan.stages[1].dot is f16; f32 is accepted for f16 on avx512_fp16.");
        CHECK(rules_plan(summed, machine, 1).stages[1].dot == Dot::f32);
    }
}
