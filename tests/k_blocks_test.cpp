// K blocks: they cover every sum in its order, and stages that park their accumulators equal the reference
// to the bit.
#include "core/plan/ceil_div.hpp"
#include "core/plan/k_blocks.hpp"

#include "support/doctest.hpp"

#include <algorithm>
#include <memory>

#include "core/plan/choice.hpp"
#include "core/plan/tiling.hpp"
#include "support/forked_jobs.hpp"
#include "support/verify_job.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

Stage stage_of(const char* text) { return make_problem(*ConvChain::parse(text))->stage(0); }

/// Every K block of the runs, one by one.
std::vector<KBlock> blocks_of(const Stage& stage, int block_channels) {
    StagePlan plan;
    plan.block_channels = block_channels;
    std::vector<KBlock> blocks;
    for (const KBlockRun& run : k_block_runs(stage, plan)) {
        KBlock block = run.first;
        const std::int64_t channels = block.channels.size();
        for (std::int64_t i = 0; i < run.count; ++i) {
            blocks.push_back(block);
            block.channels = {block.channels.begin + channels, block.channels.end + channels};
        }
    }
    return blocks;
}

struct Case {
    const char* pair;
    std::array<int, 2> block_channels;  // of each stage
    int tile_h, tile_w;                 // 0: as the rules say
    int splits = 1;
};

// Channels of 17 and 257, blocks that divide them or not, one block to the last channel, tails of output
// channels, strides, dilation, padding beyond the kernel's rows, residuals, flat and narrow tiles, both
// stages at once.
constexpr Case cases[] = {
    {"1x257x9x7:dw3+bias+relu6:conv1o40+bias+relu", {0, 64}, 2, 0},
    {"1x257x9x7:dw3+bias+relu6:conv1o40+bias+relu", {0, 256}, 9, 0, 2},
    {"2x257x6x6:dw3s2:conv1o57+sum+relu", {0, 96}, 0, 2},
    {"1x64x7x7:dw3+bias:conv1o131+scale+prelu", {0, 16}, 7, 0, 3},
    {"1x17x5x8:conv3o33+bias+relu:conv3o20+bias", {16, 32}, 0, 0},
    {"1x17x5x8:conv3o33+bias+relu:conv3o20+bias", {16, 16}, 2, 5},
    {"1x100x8x8:conv3o24s2+bias:conv1o17+bias+relu", {48, 16}, 3, 3},
    {"1x40x9x9:conv5o18d2p6x0x4x2+bias+sum+relu:dw3", {32, 0}, 0, 0},
    {"1x33x11x3:conv1x3o35+relu:conv3x1o19+bias", {16, 16}, 4, 0},
    {"1x80x13x30:conv1o65+bias+relu:conv1o33+bias", {32, 48}, 4, 0},
    {"1x1x6x6:conv3o257+bias:conv1o24", {0, 128}, 3, 0},
    {"1x48x1x6:conv3o32d2p4x2x4x2+bias:conv1o16", {16, 16}, 0, 0},  // rows without taps
};

/// The rules' plan with the case's decisions; null where the widths of the ISA's groups do not allow the
/// splits.
std::shared_ptr<const Plan> plan_of(const Case& c, const Problem& problem, Isa isa, Edge edge) {
    Plan plan = choose_plan(problem, *host_machine(isa), 1);
    if (c.tile_h > 0) plan.tile_h = c.tile_h;
    if (c.tile_w > 0) plan.tile_w = c.tile_w;
    plan.edges[0] = edge;
    plan.channel_splits = c.splits;
    for (std::size_t i = 0; i < 2; ++i) {
        plan.stages[i].algorithm = Algorithm::direct;
        plan.stages[i].block_channels = c.block_channels[i];
    }
    return check_plan(problem, plan) ? std::make_shared<const Plan>(plan) : nullptr;
}

std::string verify_case(const Case& c) {
    ConvPair pair = *ConvPair::parse(c.pair);
    int plans = 0;
    for (const Isa isa : host_isas(DataType::f32)) {
        for (const Layout layout : {Layout::nhwc, Layout::nchw16c, Layout::nchw8c}) {
            for (const Edge edge : {Edge::recompute, Edge::sliding}) {
                for (const DataKind data : {DataKind::integers, DataKind::random}) {
                    pair.layout = layout;
                    const auto plan = plan_of(c, *make_problem(pair), isa, edge);
                    if (!plan) continue;
                    ++plans;
                    const std::string failure =
                        verify_job(pair, {.dispatch = {.plan = plan}, .threads = 3, .data = data});
                    if (!failure.empty())
                        return fmt::format("{} {}: {}", to_string(layout), to_string(*plan), failure);
                }
            }
        }
    }
    return plans > 0 ? "" : "no plan of this case is accepted";
}

}  // namespace

TEST_CASE("k blocks: calls of AMX cover a row, each pixel finished once") {
    for (const int vectors : {1, 2}) {
        for (std::int64_t width = 1; width <= 300; ++width) {
            CAPTURE(vectors);
            CAPTURE(width);
            const std::int64_t pixels = amx_tile_pixels(width);
            std::int64_t at = 0, finished = 0, parked = 0;
            for (const AmxCall& call : amx_calls(width, vectors)) {
                for (std::int64_t i = 0; i < call.count; ++i) {
                    REQUIRE(call.tiles * vectors <= amx_sums);
                    REQUIRE(call.first[0] == 0);
                    for (std::size_t t = 1; t < static_cast<std::size_t>(call.tiles); ++t)
                        REQUIRE(call.first[t] - call.first[t - 1] <= pixels);
                    REQUIRE(call.pixels == call.first[static_cast<std::size_t>(call.tiles - 1)] + pixels);
                    REQUIRE(at + call.finished == finished);
                    REQUIRE(at + call.pixels <= width);
                    finished = at + call.pixels;
                    parked += call.pixels;
                    at += call.step;
                }
            }
            CHECK(finished == width);
            CHECK(at == width);
            CHECK(parked == amx_parked_pixels(width, vectors));
            CHECK(parked <= width + ceil_div(width, amx_rows));  // what parked_bytes() reserves
        }
    }
}

TEST_CASE("k blocks: without block_channels all of the sum is one") {
    const auto blocks = blocks_of(stage_of("1x257x9x9:conv3o16"), 0);
    REQUIRE(blocks.size() == 1);
    CHECK(blocks[0] == KBlock{{0, 3}, {0, 257}});
}

TEST_CASE("k blocks: every channel of every kernel row once, in the order of the sum") {
    for (const char* text :
         {"1x17x9x9:conv1o16", "1x257x9x9:conv3o16", "1x256x9x9:conv1x3o16", "1x64x9x9:conv5x1o16"}) {
        const Stage stage = stage_of(text);
        for (int channels = 16; channels <= max_block_channels(stage, Dot::f32); channels += 16) {
            CAPTURE(text);
            CAPTURE(channels);
            Span expected{0, 0};
            for (const KBlock& block : blocks_of(stage, channels)) {
                REQUIRE(block.kernel_rows == Span{expected.begin, expected.begin + 1});
                REQUIRE(block.channels.begin == expected.end);
                REQUIRE(block.channels.size() > 0);
                REQUIRE(block.channels.size() <= channels);
                expected.end = block.channels.end;
                if (expected.end == stage.in_channels) expected = {expected.begin + 1, 0};
            }
            CHECK(expected == Span{stage.conv.kernel.h, 0});
        }
    }
}

TEST_CASE("k blocks: what is parked holds the largest tile's pixels for the widest group") {
    const Problem problem = *make_problem(*ConvPair::parse("1x64x14x14:dw3:conv1o96"));
    Machine machine;
    machine.isa = Isa::avx512;
    Plan plan = choose_plan(problem, machine, 1);
    plan.tile_h = 4;
    plan.stages[1].block_vectors = 2;
    CHECK(parked_bytes(problem, plan, 1) == 0);
    plan.stages[1].block_channels = 32;
    CHECK(parked_bytes(problem, plan, 1) == 4 * 14 * 2 * 64);
    CHECK(parked_bytes(problem, plan, 0) == 0);
}

TEST_CASE("k blocks: any stage equals the reference, in any layout and tile, on every ISA") {
    constexpr std::int64_t count = std::size(cases);
    const auto failures =
        run_forked(sanitized ? 6 : count, 3, [](std::int64_t i) { return verify_case(cases[i]); });
    for (const JobFailure& failure : failures)
        FAIL_CHECK(std::string(cases[failure.index].pair) << ": " << failure.message);
}
