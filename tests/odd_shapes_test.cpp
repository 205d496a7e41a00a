// Shapes that few networks have, against the reference, between guard pages, on every ISA: padding at and
// beyond the kernel's extent, so that rows, columns and whole tiles read nothing; dilations around the image;
// strides past the kernel; kernels that leave the registers; images one pixel high, wide, or both.
#include <array>
#include <random>

#include "support/doctest.hpp"

#include "core/plan/choice.hpp"
#include "core/plan/machine.hpp"
#include "core/plan/problem.hpp"
#include "core/plan/tile_geometry.hpp"
#include "core/plan/tiling.hpp"
#include "jit/chain_kernel.hpp"
#include "support/forked_jobs.hpp"
#include "support/verify_job.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

constexpr std::array odd_pairs{
    // Padding beyond the extent: at every side, at one, between the stages.
    "1x16x3x3:dw3p20+bias:conv1o16+bias+relu",
    "1x20x5x4:conv3o24p9+bias:conv3o20p7x0x0x11+bias",
    "2x24x3x3:conv1o40p5+bias+relu:conv1o24s3p4+bias",
    "1x18x6x5:dw5p0x17x0x0+bias+relu:dw3p9x0x8x1+bias",
    "1x9x4x4:conv3o33p5+bias:conv5o17s2p12x3x1x14+sum",
    "1x33x4x4:conv3o34p8x0x8x0+relu:dw3s2p0x8x0x8+bias+sum(20)",
    // Nothing of the image, or of the intermediate, is read.
    "1x17x2x2:conv3o20s8p7x7x0x0+bias:conv1o18+bias",
    "1x17x6x6:conv1o20+bias:conv3o18s8p3x3x0x0+bias",
    "1x17x6x6:conv1o20+bias:dw3s8p0x3x1x0+bias",
    // Windows around the image, gaps between rows that read.
    "1x8x3x3:dw3d100p300+bias:conv3o8d7p21+bias",
    "1x19x4x5:conv3o20d9p20+bias+relu:dw3d30p60x61x62x63+bias",
    "1x12x5x5:conv2x3o70d12p15+bias:conv1o21+bias",
    // Strides past the kernel.
    "1x20x33x29:dw3s5+bias:conv1o24s8+bias",
    "1x20x33x29:conv1o30s3x7+relu:conv3o24s8p4+bias",
    // Large kernels, and what is left of an image behind them.
    "1x3x47x47:conv11o20s4p2+bias+relu:conv5o18+bias",
    "1x20x17x18:dw15+bias+relu:conv1o17+bias",
    "1x18x16x19:conv1o34+bias:dw13x11s3x2+bias+sum",
    "1x17x20x20:dw9x12d2+bias:dw8x15m2+sum(9)",
    "1x33x31x12:dw15x3s2m3p3x1x20x0+bias:dw1x15p0x14x0x2+relu",
    "1x40x15x15:dw15p0+bias:conv1o33+bias",
    "1x20x15x15:conv15o18p0+bias:dw15p30+bias",
    // One pixel high, wide, or both.
    "1x17x1x1:conv15o33+bias:dw1x15s8m2p3x20x2x9+sum(3)",
    "1x20x1x9:conv1x9o32p0x20x0x3+bias:dw13x1p12x0x20x0+sum",
    "2x16x1x31:dw1x7+bias:conv1x3o20s1x2+bias",
    "2x21x31x1:dw11x1s2+bias+relu:conv9x1o20p8x0x0x1+bias",
    "1x40x1x1:dw3+bias:conv3o17p2+bias",
};

struct Case {
    ConvPair pair;
    Isa isa;
};

// Layouts by turns but for f32, which has all, in both math modes.
std::vector<Case> cases_of(std::span<const char* const> texts, DataType dtype) {
    constexpr std::array layouts{Layout::nhwc, Layout::nchw16c, Layout::nchw8c};
    std::vector<Case> cases;
    const auto add = [&](const char* text, Layout layout, Math math) {
        ConvPair pair = *ConvPair::parse(text);
        pair.dtype = dtype;
        pair.layout = layout;
        pair.math = math;
        for (const Isa isa : host_isas(dtype, math))
            cases.push_back({pair, isa});
    };
    for (std::size_t i = 0; i < texts.size(); ++i) {
        for (const Layout layout : layouts) {
            if (dtype == DataType::f32)
                for (const Math math : {Math::fast, Math::strict})
                    add(texts[i], layout, math);
            else if (layout != layouts[(i + static_cast<std::size_t>(dtype)) % layouts.size()])
                add(texts[i], layout, Math::fast);
        }
    }
    return cases;
}

void check_odd_pairs(DataType dtype) {
    const std::vector<Case> cases = cases_of(odd_pairs, dtype);
    const auto options = [&](std::int64_t i) {
        return VerifyOptions{.dispatch = {.isa = cases[static_cast<std::size_t>(i)].isa},
                             .threads = static_cast<int>(1 + i % 3),
                             .seed = static_cast<std::uint64_t>(i),
                             .data = i % 2 == 0 ? DataKind::random : DataKind::integers};
    };
    const auto failures = run_forked(static_cast<std::int64_t>(cases.size()), 40, [&](std::int64_t i) {
        return verify_job(cases[static_cast<std::size_t>(i)].pair, options(i));
    });
    for (const JobFailure& failure : failures)
        FAIL_CHECK(failure.message << "\n  rerun: "
                                   << rerun_command(cases[static_cast<std::size_t>(failure.index)].pair,
                                                    options(failure.index)));
}

Problem problem_of(const char* text, DataType dtype = DataType::f32) {
    ConvPair pair = *ConvPair::parse(text);
    pair.dtype = dtype;
    return *make_problem(pair);
}

std::size_t row_classes(const char* text, Edge edge) {
    const Problem problem = problem_of(text);
    Plan plan;
    plan.isa = Isa::avx512;
    plan.edges[0] = edge;
    plan.tile_h = 2;
    plan.tile_w = static_cast<int>(problem.last().out_w);
    return jit::TileTable(problem, plan).row_classes().size();
}

}  // namespace

TEST_CASE("odd shapes: f32") { check_odd_pairs(DataType::f32); }
TEST_CASE("odd shapes: bf16") { check_odd_pairs(DataType::bf16); }
TEST_CASE("odd shapes: f16") { check_odd_pairs(DataType::f16); }
TEST_CASE("odd shapes: u8") { check_odd_pairs(DataType::u8); }
TEST_CASE("odd shapes: s8") { check_odd_pairs(DataType::s8); }

TEST_CASE("odd shapes: tiles in the padding share their code, however many they are") {
    for (const Edge edge : {Edge::recompute, Edge::sliding}) {
        CHECK(row_classes("1x16x8x8:dw3p20:conv3o16p20", edge) ==
              row_classes("1x16x8x8:dw3p20:conv3o16p200", edge));
        CHECK(row_classes("1x16x8x8:dw3p20:conv1o16", edge) ==
              row_classes("1x16x8x8:dw3p400:conv1o16", edge));
    }
}

TEST_CASE("odd shapes: tiles that read nothing") {
    const Problem problem = problem_of("1x16x8x8:dw3:conv3o16p9");
    Plan plan;
    plan.isa = Isa::avx512;
    plan.tile_h = 2;
    plan.tile_w = 5;
    const TileShape corner = tile_shape(problem, plan, 0, 0, true);
    CHECK(tile_spans(problem, plan, 0, 0, true).stage(0).held.size() == 0);
    CHECK(corner.stages[0].rows.size() == 0);
    CHECK(corner.stages[0].in_rows == Span{});
    CHECK(corner.stages[1].taps == std::vector<Span>(2));
    CHECK(corner.stages[1].segment == SegmentShape{5, {}});
    CHECK(corner.stages[1].shift == 0);
    const TileShape inside = tile_shape(problem, plan, 4, 2, true);
    CHECK(tile_spans(problem, plan, 4, 2, true).stage(0).held == Span{0, 3});
    CHECK(inside.stages[1].taps == std::vector<Span>{{1, 3}, {0, 3}});
}

TEST_CASE("odd shapes: large depthwise kernels keep enough accumulators") {
    const auto stage_of = [](const char* text) {
        return make_problem(*ConvChain::parse(text))->stage(0);
    };
    const Stage dw7 = stage_of("1x8x20x20:dw7"), dw15 = stage_of("1x8x20x20:dw15"),
                wide = stage_of("1x8x20x20:dw3x15");
    CHECK_FALSE(loops_kernel_rows(dw7));
    CHECK(loops_kernel_rows(dw15));
    CHECK(max_depthwise_rows(dw15) == 1);
    CHECK(holds_kernel_row(dw7, Isa::avx2, 1));
    CHECK_FALSE(holds_kernel_row(dw7, Isa::avx2, 2));
    CHECK(holds_kernel_row(dw7, Isa::avx512, 2));
    CHECK_FALSE(holds_kernel_row(dw7, Isa::avx512, 4));
    CHECK_FALSE(holds_kernel_row(dw15, Isa::avx2, 1));
    CHECK(holds_kernel_row(dw15, Isa::avx512, 1));
    CHECK_FALSE(holds_kernel_row(wide, Isa::avx512, 2));
    CHECK(max_depthwise_pixels(dw15, Isa::avx2, Dot::f32, 1) == 10);
    CHECK(max_depthwise_pixels(dw15, Isa::avx512, Dot::f32, 1) == 14);
    CHECK(max_depthwise_pixels(wide, Isa::avx512, Dot::f32, 2) == 14);
    CHECK(max_depthwise_pixels(dw15, Isa::avx512, Dot::int8, 1) == 20);
}

TEST_CASE("odd shapes: a tile whose rows in scratch leave 32-bit displacements is refused") {
    const Problem problem = problem_of("1x16x8200x8200:dw3:conv1o16", DataType::u8);
    Machine machine;
    machine.isa = Isa::avx512_vnni;
    Plan plan = choose_plan(problem, machine, 1);
    CHECK(check_plan(problem, plan).ok());
    plan.tile_h = static_cast<int>(problem.last().out_h);
    CHECK(check_plan(problem, plan).ok());
    plan.stage(1).dot = Dot::int16;  // whose intermediate takes two bytes a channel
    const Status status = check_plan(problem, plan);
    REQUIRE_FALSE(status.ok());
    CHECK(status.error().message.find("plan.tile_h is 8200, plan.tile_w 8200; smaller tiles are accepted") !=
          std::string::npos);
}
