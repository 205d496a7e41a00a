// The planner's rules: budgets by hand, and every plan it makes is one that it accepts.
#include "core/plan/tiling.hpp"

#include "support/doctest.hpp"

#include <random>

#include "core/plan/tile_geometry.hpp"
#include "support/random_chain.hpp"
#include "tools/suites.hpp"

using namespace tandem;

namespace {

Stage stage_of(const char* text) { return make_problem(*ConvChain::parse(text))->stage(0); }

Machine machine_of(Isa isa) {
    Machine machine;
    machine.isa = isa;
    return machine;
}

}  // namespace

TEST_CASE("tiling: rows of a depthwise block, by their row pointers") {
    CHECK(distinct_input_rows(stage_of("1x8x20x20:dw3"), 2) == 4);
    CHECK(distinct_input_rows(stage_of("1x8x20x20:dw3s2"), 2) == 5);
    CHECK(distinct_input_rows(stage_of("1x8x20x20:dw3d2"), 2) == 6);
    CHECK(distinct_input_rows(stage_of("1x8x20x20:dw3s4"), 3) == 9);
    CHECK(max_depthwise_rows(stage_of("1x8x20x20:dw3")) == 4);
    CHECK(max_depthwise_rows(stage_of("1x8x20x20:dw7s2+sum")) == 4);
    CHECK(holds_row_pointers(stage_of("1x8x20x20:dw3"), 4));
    CHECK(holds_row_pointers(stage_of("1x8x20x20:dw3s2"), 3));
    CHECK_FALSE(holds_row_pointers(stage_of("1x8x20x20:dw3s2"), 4));
    CHECK(holds_row_pointers(stage_of("1x8x20x20:dw3+sum"), 2));
    CHECK_FALSE(holds_row_pointers(stage_of("1x8x20x20:dw3+sum"), 3));
    CHECK(holds_row_pointers(stage_of("1x8x20x20:dw7"), 2));
    CHECK_FALSE(holds_row_pointers(stage_of("1x8x20x20:dw7"), 3));
}

TEST_CASE("tiling: pixels of a depthwise block, by its vector registers") {
    const Stage dw3 = stage_of("1x8x20x20:dw3");
    CHECK(max_depthwise_pixels(dw3, Isa::avx512, Dot::f32, 1) == 26);
    CHECK(max_depthwise_pixels(dw3, Isa::avx512, Dot::f32, 2) == 11);
    CHECK(max_depthwise_pixels(dw3, Isa::avx2, Dot::f32, 1) == 10);
    CHECK(max_depthwise_pixels(dw3, Isa::avx2, Dot::f32, 2) == 3);
    CHECK(max_depthwise_pixels(stage_of("1x8x20x20:dw3m2"), Isa::avx512, Dot::f32, 1) == 25);
}

TEST_CASE(
    "tiling: every plan for a layer of the paper is accepted, stays in L2 and has work for the threads") {
    for (const auto& layer : tool::find_suite("paper")->layers)
        for (const Isa isa : {Isa::avx2, Isa::avx512})
            for (const Layout layout : {Layout::nhwc, Layout::nchw16c, Layout::nchw8c})
                for (const int threads : {1, 2, 8, 64}) {
                    ConvPair pair = *ConvPair::parse(layer.pair);
                    pair.layout = layout;
                    const Problem problem = *make_problem(pair);
                    const Machine machine = machine_of(isa);
                    const Plan plan = rules_plan(problem, machine, threads);
                    CAPTURE(layer.pair);
                    CAPTURE(to_string(plan));
                    const Status status = check_plan(problem, plan);
                    CHECK_MESSAGE(status.ok(), status.error().message);
                    CHECK(plan.isa == isa);
                    CHECK(mid_bytes(problem, plan) <= static_cast<std::int64_t>(machine.caches.l2));
                    CHECK(plan == rules_plan(problem, machine, threads));
                    if (threads == 1) CHECK(plan.channel_splits == 1);
                    if (threads == 2) CHECK(tile_grid(problem, plan).count() >= 2);
                }
}

TEST_CASE("tiling: every plan for a random problem is accepted") {
    std::mt19937_64 engine(11);
    for (int i = 0; i < 500; ++i) {
        const ConvPair pair = test::random_pair(engine);
        const Problem problem = *make_problem(pair);
        for (const Isa isa : {Isa::avx2, Isa::avx512})
            for (const int threads : {1, 3}) {
                const Plan plan = rules_plan(problem, machine_of(isa), threads);
                const Status status = check_plan(problem, plan);
                CHECK_MESSAGE(status.ok(), problem.name(), ": ", status.error().message);
            }
    }
}

TEST_CASE("tiling: weights beyond L2 are streamed in K blocks past the whole image, on one thread") {
    const auto plan_of = [](const char* text, int threads) {
        return rules_plan(*make_problem(*ConvPair::parse(text)), machine_of(Isa::avx512), threads);
    };
    const Plan streamed = plan_of("1x1024x7x7:dw3:conv1o1024", 1);
    CHECK(streamed.tile_h == 7);
    CHECK(streamed.stages[1].block_channels == 256);
    CHECK_FALSE(streamed.prefetch_next);
    CHECK(plan_of("1x1024x7x7:dw3:conv1o1024", 2).stages[1].block_channels == 0);  // not measured
    CHECK(plan_of("1x384x7x7:dw3:conv1o512", 1).stages[1].block_channels ==
          256);  // three quarters of L2, read by two tiles
    CHECK(plan_of("1x384x14x14:dw3:conv1o512", 1).stages[1].block_channels == 0);  // by seven
    CHECK(plan_of("1x272x7x7:dw3:conv1o320", 1).stages[1].block_channels == 0);    // a third
    CHECK(plan_of("1x1024x14x14:dw3:conv1o1024", 1).stages[1].block_channels ==
          0);  // the intermediate does not fit
}

TEST_CASE("tiling: arithmetic that this machine or shape makes slow is not chosen") {
    const auto dot_of = [](const char* text, DataType dtype, Math math, const Machine& machine) {
        ConvPair pair = *ConvPair::parse(text);
        pair.dtype = dtype;
        pair.math = math;
        pair.layout = Layout::nchw16c;
        return rules_plan(*make_problem(pair), machine, 1).stages[1].dot;
    };
    Machine bf16 = machine_of(Isa::avx512_bf16), slow = bf16, amx = machine_of(Isa::amx);
    slow.slow_bf16 = true;
    amx.slow_bf16 = true;
    CHECK(dot_of("1x64x8x8:dw3:conv1o64", DataType::bf16, Math::fast, bf16) == Dot::bf16);
    CHECK(dot_of("1x64x8x8:dw3:conv1o64", DataType::bf16, Math::fast, slow) == Dot::f32);
    CHECK(dot_of("1x64x8x8:dw3:conv1o64", DataType::bf16, Math::fast, amx) == Dot::amx_bf16);
    CHECK(dot_of("1x64x8x8:dw3:conv1o24", DataType::f32, Math::fast, amx) == Dot::amx_x3);
    CHECK(dot_of("1x64x8x8:dw3:conv1o16", DataType::f32, Math::fast, amx) == Dot::f32);
    CHECK(dot_of("1x32x8x8:dw3:conv1o64", DataType::f32, Math::fast, amx) == Dot::f32);  // sums of 32 terms
    CHECK(dot_of("1x64x8x8:dw3:conv1o64", DataType::f32, Math::strict, amx) == Dot::f32);
    CHECK(dot_of("1x64x8x8:dw3:conv3o64", DataType::f32, Math::strict, amx) == Dot::amx_x6);
    CHECK(dot_of("1x128x8x8:dw3:conv1o128", DataType::f32, Math::strict, amx) == Dot::amx_x6);
    CHECK(dot_of("1x64x8x8:dw3:conv3o64", DataType::f32, Math::strict, bf16) == Dot::f32);
}

TEST_CASE("tiling: on AMX the next band is prefetched where the tensors leave L2") {
    const auto prefetches = [](const char* text, Isa isa) {
        return rules_plan(*make_problem(*ConvPair::parse(text)), machine_of(isa), 1).prefetch_next;
    };
    CHECK(prefetches("1x64x112x112:dw3:conv1o64", Isa::amx));
    CHECK_FALSE(prefetches("1x64x28x28:dw3:conv1o64", Isa::amx));
    CHECK(prefetches("1x64x28x28:dw3:conv1o64", Isa::avx512));
}

TEST_CASE("tiling: errors of a chain's stages add up to less than math fast promises") {
    Machine machine;
    machine.isa = Isa::amx;
    const auto split_stages = [&](const char* text) {
        const Problem problem = *make_problem(*ConvChain::parse(text));
        const Plan plan = rules_plan(problem, machine, 1);
        int count = 0;
        for (int i = 0; i < problem.stage_count; ++i)
            count += plan.stage(i).dot == Dot::amx_x3;
        return count;
    };
    CHECK(split_stages("1x64x14x14:conv3o64:conv3o64") == 2);
    CHECK(split_stages("1x64x14x14:conv1o64:conv3o64:conv1o256") == 2);
    CHECK(split_stages("1x64x14x14:conv1o64:conv3o64:conv3o64:conv1o256") == 2);
}

TEST_CASE("tiling: AMX where its rows are at least half full") {
    const auto dot = [](const char* text, DataType dtype) {
        ConvChain chain = *ConvChain::parse(text);
        chain.dtype = dtype;
        return rules_plan(*make_problem(chain), machine_of(Isa::amx), 1).stage(0).dot;
    };
    CHECK(dot("1x32x28x28:conv3o64", DataType::u8) == Dot::amx_int8);
    CHECK(dot("1x31x28x28:conv3o64", DataType::u8) == Dot::int8);
    CHECK(dot("1x16x28x28:conv3o64", DataType::bf16) == Dot::amx_bf16);
    CHECK(dot("1x15x28x28:conv3o64", DataType::bf16) == Dot::bf16);
}
