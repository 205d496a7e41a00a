// The byte layout of packed weights, by hand.
#include "core/plan/panel.hpp"

#include "support/doctest.hpp"

using namespace tandem;

namespace {

Problem problem_of(const char* text, Layout layout = Layout::nhwc) {
    ConvChain single = *ConvChain::parse(text);
    single.layout = layout;
    return *make_problem(single);
}

PanelLayout panel_of(const Problem& problem, Isa isa, int block_vectors = 1) {
    Plan plan;
    plan.isa = isa;
    plan.stages[0].block_vectors = block_vectors;
    return panel_layout(problem, plan, 0);
}

}  // namespace

TEST_CASE("panel: dense groups, a short and partly filled one last") {
    const PanelLayout panel = panel_of(problem_of("1x20x4x4:conv1o40+bias"), Isa::avx512, 2);
    CHECK(panel.lanes == 16);
    CHECK(panel.taps == 20);
    CHECK(panel.param_count == 1);
    CHECK(panel.params_offset() == 64);
    CHECK(panel.weights_offset(2) == 64 + 2 * 64);
    CHECK(panel.group_bytes(panel.runs[0]) == 64 + 128 + 20 * 128);
    REQUIRE(panel.runs.size() == 2);
    CHECK(panel.runs[0].vectors == 2);
    CHECK(panel.runs[0].tail_lanes == 0);
    CHECK(panel.runs[1].vectors == 1);
    CHECK(panel.runs[1].first_vector == 2);
    CHECK(panel.runs[1].tail_lanes == 8);
    CHECK(panel.runs[1].offset == 2752);
    CHECK(panel.bytes == 2752 + 64 + 64 + 20 * 64);
}

TEST_CASE("panel: equal groups are one run") {
    const PanelLayout panel = panel_of(problem_of("1x20x4x4:conv1o64"), Isa::avx2, 2);
    REQUIRE(panel.runs.size() == 1);
    CHECK(panel.runs[0].count == 4);
    CHECK(panel.bytes == 4 * panel.group_bytes(panel.runs[0]));
}

TEST_CASE("panel: depthwise has a vector a group, with the input's tail too") {
    const PanelLayout panel = panel_of(problem_of("1x20x4x4:dw3"), Isa::avx2);
    CHECK(panel.taps == 9);
    CHECK_FALSE(panel.permute);
    REQUIRE(panel.runs.size() == 2);
    CHECK(panel.runs[0].count == 2);
    CHECK(panel.runs[0].input_tail_lanes == 0);
    CHECK(panel.runs[1].tail_lanes == 4);
    CHECK(panel.runs[1].input_tail_lanes == 4);
}

TEST_CASE("panel: a channel multiplier brings a permutation") {
    const PanelLayout panel = panel_of(problem_of("1x5x4x4:dw3m2+bias+prelu"), Isa::avx2);
    CHECK(panel.permute);
    CHECK(panel.permute_offset(1) == 32 + 2 * 32);
    CHECK(panel.weights_offset(1) == 32 + 2 * 32 + 32);
    REQUIRE(panel.runs.size() == 2);
    CHECK(panel.runs[0].tail_lanes == 0);
    CHECK(panel.runs[0].input_tail_lanes == 5);
    CHECK(panel.runs[1].tail_lanes == 2);
    CHECK(panel.runs[1].input_tail_lanes == 5);
}

TEST_CASE("panel: 64 channels at a time are groups of four vectors, the others single ones") {
    ConvChain chain = *ConvChain::parse("1x149x4x4:dw3+bias");
    chain.dtype = DataType::u8;
    const Problem problem = *make_problem(chain);
    Plan plan;
    plan.isa = Isa::avx512_vnni;
    plan.stages[0] = {.dot = Dot::int8, .block_vectors = quad_vectors};
    const PanelLayout panel = panel_layout(problem, plan, 0);
    CHECK(panel.quads);
    REQUIRE(panel.runs.size() == 3);
    CHECK(panel.runs[0].vectors == 4);
    CHECK(panel.runs[0].count == 2);
    CHECK(panel.runs[0].tail_lanes == 0);
    CHECK(panel.runs[1].first_vector == 8);
    CHECK(panel.runs[1].vectors == 1);
    CHECK(panel.runs[2].tail_lanes == 5);
    std::vector<bool> taken(64);
    for (std::int64_t c = 0; c < 64; ++c)
        taken[static_cast<std::size_t>(quad_place(c))] = true;
    CHECK(taken == std::vector<bool>(64, true));
    CHECK(quad_place(4) == 16);
    CHECK(quad_place(16) == 4);
}

TEST_CASE("panel: a residual with fewer channels") {
    const PanelLayout panel = panel_of(problem_of("1x20x4x4:conv1o48+sum(20)"), Isa::avx512);
    REQUIRE(panel.runs.size() == 3);
    CHECK(panel.runs[0].residual_vectors == 1);
    CHECK(panel.runs[0].residual_tail_lanes == 0);
    CHECK(panel.runs[1].residual_tail_lanes == 4);
    CHECK(panel.runs[2].residual_vectors == 0);
}

TEST_CASE("panel: 8-lane vectors in blocks of 16 start at a block and clear its other half") {
    const PanelLayout dense = panel_of(problem_of("1x20x4x4:conv1o56", Layout::nchw16c), Isa::avx2, 3);
    REQUIRE(dense.runs.size() == 2);
    CHECK(dense.runs[0].vectors == 2);
    CHECK(dense.runs[0].count == 3);
    CHECK(dense.runs[1].vectors == 1);
    CHECK(dense.runs[1].pads_block);
    const PanelLayout depthwise = panel_of(problem_of("1x20x4x4:dw3", Layout::nchw16c), Isa::avx2);
    CHECK(depthwise.runs.back().pads_block);
    CHECK_FALSE(panel_of(problem_of("1x32x4x4:dw3", Layout::nchw16c), Isa::avx2).runs.back().pads_block);
    CHECK_FALSE(panel_of(problem_of("1x20x4x4:dw3", Layout::nchw16c), Isa::avx512).runs.back().pads_block);
}

TEST_CASE("panel: splits take whole groups and cover them once") {
    const PanelLayout panel = panel_of(problem_of("1x20x4x4:conv1o40"), Isa::avx2);
    const auto first = split_runs(panel, 0, 2), second = split_runs(panel, 1, 2);
    REQUIRE(first.size() == 1);
    REQUIRE(second.size() == 1);
    CHECK(first[0].count == 2);
    CHECK(second[0].count == 3);
    CHECK(second[0].first_vector == 2);
    CHECK(second[0].offset == 2 * panel.group_bytes(first[0]));
    std::int64_t groups = 0;
    for (int split = 0; split < 4; ++split)
        for (const GroupRun& run : split_runs(panel, split, 4))
            groups += run.count;
    CHECK(groups == 5);
}

TEST_CASE("panel: per-channel post-ops are numbered in their order") {
    const Problem problem = problem_of("1x20x4x4:conv1o40+scale+relu+bias+prelu");
    const Conv& conv = problem.stage(0).conv;
    CHECK(param_index(conv, 0) == 0);
    CHECK(param_index(conv, 2) == 1);
    CHECK(param_index(conv, 3) == 2);
}
