#include "core/plan/candidates.hpp"

#include "support/doctest.hpp"

#include <algorithm>
#include <random>

#include "core/plan/tiling.hpp"
#include "support/random_chain.hpp"

using namespace tandem;

namespace {

Problem problem_of(const char* text, Layout layout = Layout::nhwc) {
    ConvPair pair = *ConvPair::parse(text);
    pair.layout = layout;
    return *make_problem(pair);
}

void check_candidates(const Problem& problem, const Machine& machine, int threads) {
    CAPTURE(problem.name());
    CAPTURE(threads);
    const std::vector<Plan> plans = candidate_plans(problem, machine, threads);
    REQUIRE(!plans.empty());
    CHECK(plans.size() <= max_candidates);
    CHECK(plans.front() == rules_plan(problem, machine, threads));
    for (std::size_t i = 0; i < plans.size(); ++i) {
        CAPTURE(to_string(plans[i]));
        CHECK(check_plan(problem, plans[i]).ok());
        CHECK(std::find(plans.begin(), plans.begin() + static_cast<std::ptrdiff_t>(i), plans[i]) ==
              plans.begin() + static_cast<std::ptrdiff_t>(i));
    }
    CHECK(candidate_plans(problem, machine, threads) == plans);
}

}  // namespace

TEST_CASE("candidates: valid, distinct, bounded, deterministic, the rules' plan first") {
    std::mt19937_64 engine(5);
    for (const Isa isa : {Isa::avx2, Isa::avx512}) {
        const Machine machine{.isa = isa, .caches = {}, .cpu_name = {}};
        for (int i = 0; i < 30; ++i)
            check_candidates(*make_problem(test::random_pair(engine)), machine, 1 + i % 4);
        for (const Layout layout : {Layout::nhwc, Layout::nchw16c}) {
            check_candidates(problem_of("1x32x112x112:dw3+bias+relu6:conv1o64+bias+relu6", layout), machine,
                             1);
            check_candidates(problem_of("1x1024x7x7:dw3+bias+relu6:conv1o1024+bias+relu6", layout), machine,
                             2);
            check_candidates(problem_of("1x64x56x56:conv3o64+bias+relu:conv3o64+bias+relu", layout), machine,
                             2);
        }
    }
    check_candidates(*make_problem(*ConvChain::parse("1x16x9x9:conv3o16+bias")), Machine{}, 1);
}

TEST_CASE(
    "candidates: both fused and not fused are offered, rings only where there is a halo, splits only for "
    "threads") {
    const Machine machine{.isa = Isa::avx512, .caches = {}, .cpu_name = {}};
    const auto count = [](const std::vector<Plan>& plans, const auto& is) {
        return std::count_if(plans.begin(), plans.end(), is);
    };
    const auto sliding = [](const Plan& plan) {
        return plan.edges[0] == Edge::sliding;
    };
    const auto split = [](const Plan& plan) {
        return plan.channel_splits > 1;
    };
    for (const int threads : {1, 2}) {
        const Problem halo = problem_of("1x64x56x56:conv3o64:conv3o64"),
                      flat = problem_of("1x512x14x14:dw3:conv1o512");
        const auto of_halo = candidate_plans(halo, machine, threads),
                   of_flat = candidate_plans(flat, machine, threads);
        for (const auto& [problem, plans] : {std::pair(&halo, &of_halo), std::pair(&flat, &of_flat)}) {
            const auto unfused = count(*plans, [&, problem = problem](const Plan& plan) {
                return is_unfused(*problem, plan, threads);
            });
            CHECK(unfused > 0);
            CHECK(unfused < static_cast<std::ptrdiff_t>(plans->size()));
        }
        CHECK(count(of_halo, sliding) > 0);
        CHECK(count(of_flat, sliding) == 0);
        CHECK((count(of_flat, split) > 0) == (threads > 1));
    }
}

TEST_CASE("candidates: K blocks are offered where a group's weights leave L1, and nowhere else") {
    const Machine machine{.isa = Isa::avx512, .caches = {}, .cpu_name = {}};
    const auto offered = [&](const char* text, std::size_t stage, int channels) {
        const auto plans = candidate_plans(problem_of(text), machine, 1);
        return std::ranges::any_of(
            plans, [=](const Plan& plan) { return plan.stages[stage].block_channels == channels; });
    };
    for (const int channels : {0, 64, 128, 256})
        CHECK(offered("1x512x14x14:dw3:conv1o512", 1, channels));
    CHECK(offered("1x128x14x14:conv3o64s2:conv1o64", 0, 64));
    CHECK_FALSE(offered("1x128x14x14:conv3o64s2:conv1o64", 0, 128));
    for (const int channels : {64, 128, 256})
        CHECK_FALSE(offered("1x240x14x14:dw3:conv1o512", 1, channels));
}

TEST_CASE("candidates: every block shape of AVX-512 at the rules' height, the main ones at every height") {
    const Machine machine{.isa = Isa::avx512, .caches = {}, .cpu_name = {}};
    const Problem problem = problem_of("1x32x112x112:dw3+bias+relu6:conv1o96+bias+relu6");
    const std::vector<Plan> plans = candidate_plans(problem, machine, 1);
    const auto offered = [&](int tile_h, int pixels, int vectors, Broadcast broadcast) {
        return std::ranges::any_of(plans, [&](const Plan& plan) {
            const StagePlan& block = plan.stages[1];
            return plan.tile_h == tile_h && block.block_pixels == pixels && block.block_vectors == vectors &&
                   block.broadcast == broadcast;
        });
    };
    struct Block {
        int pixels, vectors;
        Broadcast broadcast = Broadcast::embedded;
        bool main = true;
    };
    constexpr Broadcast registers = Broadcast::registers;
    for (const Block& block : {Block{28, 1}, Block{21, 1}, Block{14, 2}, Block{14, 2, registers},
                               Block{10, 2}, Block{10, 2, registers}, Block{9, 3, registers},
                               Block{6, 4, registers}, Block{7, 2, registers, false},
                               Block{6, 3, registers, false}, Block{7, 4, Broadcast::embedded, false},
                               Block{5, 5, registers, false}, Block{4, 6, registers, false}}) {
        CAPTURE(block.pixels);
        CAPTURE(block.vectors);
        CHECK(offered(plans.front().tile_h, block.pixels, block.vectors, block.broadcast));
        CHECK(offered(56, block.pixels, block.vectors, block.broadcast) == block.main);
        CHECK(offered(112, block.pixels, block.vectors, block.broadcast) == block.main);
    }
    CHECK_FALSE(offered(plans.front().tile_h, 28, 1, registers));
    CHECK_FALSE(offered(plans.front().tile_h, 9, 3, Broadcast::embedded));
    // A row of 14 pixels is two blocks of 7, whether at most 7, 10 or 12 are taken at once.
    const Problem tiny = problem_of("1x64x14x14:dw3:conv1o64");
    for (const Plan& plan : candidate_plans(tiny, machine, 1))
        if (plan.tile_h == 1 && plan.stages[1].block_vectors == 2) CHECK(plan.stages[1].block_pixels != 7);
}

TEST_CASE("candidates: depthwise blocks of up to four rows, where a tile has them") {
    const Machine machine{.isa = Isa::avx512, .caches = {}, .cpu_name = {}};
    for (const char* text : {"1x64x56x56:dw3:conv1o64", "1x64x56x56:dw5s2:conv1o64"}) {
        const std::vector<Plan> plans = candidate_plans(problem_of(text), machine, 1);
        for (const int tile_h : {1, 2, 4, 7})
            for (const int rows : {1, 2, 3, 4})
                CHECK(std::ranges::any_of(plans, [&](const Plan& plan) {
                          return plan.tile_h == tile_h && plan.stages[0].block_rows == rows;
                      }) == (rows <= tile_h || (tile_h == 1 && rows == 2)));
    }
}

TEST_CASE("candidates: several distances of prefetching Winograd's weights, as far as a point") {
    const Machine machine{.isa = Isa::avx512, .caches = {}, .cpu_name = {}};
    const auto offered = [&](const char* text, int bytes) {
        return std::ranges::any_of(candidate_plans(problem_of(text), machine, 1), [=](const Plan& plan) {
            return plan.stages[0].algorithm == Algorithm::winograd4 && plan.stages[0].weights_ahead == bytes;
        });
    };
    for (const int bytes : {0, 8 << 10, 64 << 10, point_ahead})
        CHECK(offered("1x256x28x28:conv3o256:conv1o64", bytes));
    CHECK(offered("1x48x28x28:conv3o48:conv1o64", 8 << 10));  // a point is 9 KB and headers
    CHECK_FALSE(offered("1x48x28x28:conv3o48:conv1o64", 16 << 10));
}

TEST_CASE("candidates: rows that become planes count as what a tile works on") {
    const Machine machine{.isa = Isa::avx512, .caches = {}, .cpu_name = {}};
    const auto narrow = [&](const char* text) {
        const Problem problem = *make_problem(*ConvChain::parse(text));
        const std::vector<Plan> plans = candidate_plans(problem, machine, 1);
        return std::ranges::any_of(plans, [](const Plan& plan) { return plan.tile_w < 112; });
    };
    CHECK(narrow("1x3x112x112:conv1o64/out=nchw"));
    CHECK_FALSE(narrow("1x3x112x112:conv1o64"));
    CHECK(narrow("1x3x112x112:conv1o8:conv1o64/out=nchw"));
    CHECK_FALSE(narrow("1x3x112x112:conv1o8:conv1o64"));
}
