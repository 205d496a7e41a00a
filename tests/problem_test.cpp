#include <random>
#include <string>
#include <unordered_map>

#include "support/doctest.hpp"

#include "core/plan/problem.hpp"
#include "support/random_chain.hpp"

using namespace tandem;

namespace {

Problem problem_of(const char* text) {
    const auto problem = make_problem(*ConvPair::parse(text));
    REQUIRE(problem.ok());
    return *problem;
}

}  // namespace

TEST_CASE("problem: sizes follow from the descriptor") {
    const Problem problem = problem_of("2x8x9x7:dw3m2s2+bias:conv1o5+sum(3)");
    CHECK(problem.input_shape() == TensorShape{2, 8, 9, 7});
    CHECK(problem.output_shape(0) == TensorShape{2, 16, 5, 4});
    CHECK(problem.output_shape(1) == TensorShape{2, 5, 5, 4});
    CHECK(problem.residual_shape(0) == TensorShape{0, 0, 0, 0});
    CHECK(problem.residual_shape(1) == TensorShape{2, 3, 5, 4});
    CHECK(problem.stage(0).padding == Padding{1, 1, 1, 1});
    CHECK(problem.stage(0).weight_count() == 16 * 9);
    CHECK(problem.stage(1).weight_count() == 5 * 16);
    CHECK(problem.stage(0).flops() == 2.0 * 16 * 9 * 20);
    CHECK(problem.flops() == 2 * (2.0 * 16 * 9 * 20 + 2.0 * 5 * 16 * 20));
    CHECK_FALSE(problem.stage(0).pointwise());
    CHECK(problem.stage(1).pointwise());
    CHECK(problem.name() == "2x8x9x7:dw3m2s2+bias:conv1o5+sum(3)/nhwc/f32/fast");
}

TEST_CASE("problem: two spellings of one problem are equal and hash alike") {
    const Problem plain = problem_of("1x8x9x9:dw3:conv1o5+sum+leaky(0)");
    const Problem spelt = problem_of("1x8x9x9:dw3p1:conv1o5p0+sum(5)+leaky(-0)");
    CHECK(plain == spelt);
    CHECK(hash_value(plain) == hash_value(spelt));
    CHECK(spelt.text() == "1x8x9x9:dw3:conv1o5+sum+leaky(0)");

    ConvPair noisy = *ConvPair::parse("1x8x9x9:dw3:conv1o5+sum+leaky(0)");
    noisy.first().post_ops[2] = {PostOpKind::clip, 1, 2, 3};  // not in use
    noisy.second().post_ops[0].alpha = 7;                     // not used by sum
    CHECK(*make_problem(noisy) == plain);
}

TEST_CASE("problem: different problems differ") {
    const Problem plain = problem_of("1x8x9x9:dw3:conv1o5+leaky(0.5)");
    for (const char* other : {"2x8x9x9:dw3:conv1o5+leaky(0.5)", "1x9x8x9:dw3:conv1o5+leaky(0.5)",
                              "1x8x9x9:dw3p0:conv1o5+leaky(0.5)", "1x8x9x9:dw3s2:conv1o5+leaky(0.5)",
                              "1x8x9x9:dw3:conv1o5+leaky(0.25)", "1x8x9x9:dw3:conv1o5+elu(0.5)",
                              "1x8x9x9:dw3d2:conv1o5+leaky(0.5)", "1x8x9x9:dw3:conv1o5"}) {
        CAPTURE(other);
        CHECK(problem_of(other) != plain);
        CHECK(hash_value(problem_of(other)) != hash_value(plain));
    }
}

TEST_CASE("problem: a stage alone is the problem of that convolution") {
    const ConvPair pair = *ConvPair::parse("2x8x9x7:dw3m2s2+bias:conv1o5+sum(3)");
    const Problem problem = *make_problem(pair);
    CHECK(stage_alone(problem, 0) == *make_problem(stage_of(pair, 0)));
    CHECK(stage_alone(problem, 1) == *make_problem(stage_of(pair, 1)));
    CHECK(stage_alone(problem, 1).text() == "2x16x5x4:conv1o5+sum(3)");
    for (const char* text :
         {"1x8x9x9:dw3:conv1o8/nchw16c/in=nchw8c/out=nchw8c", "1x8x9x9:dw3:conv1o8/in=nchw8c",
          "1x8x9x9:conv1o8:dw3:conv1o8+sum(in)/in=nchw8c,r96/out=p24"})
        CHECK(make_problem(stage_of(*ConvChain::parse(text), 1)).ok());
    std::mt19937_64 engine(5);
    for (int k = 0; k < 500; ++k) {
        const ConvChain chain =
            test::random_chain(engine, {.min_stages = 2, .max_stages = 3, .views = 1, .input_sums = 3});
        const Problem whole = *make_problem(chain);
        for (int i = 0; i < whole.stage_count; ++i) {
            const auto alone = make_problem(stage_of(chain, i));
            REQUIRE_MESSAGE(alone.ok(), whole.name());
            if (!whole.stage(i).sums_input())
                CHECK_MESSAGE(alone->name() == stage_alone(whole, i).name(), whole.name());
        }
    }
}

TEST_CASE("problem: random problems keep their identity through their text and rarely share a hash") {
    std::mt19937_64 engine(3);
    std::unordered_map<std::size_t, std::string> names;
    for (int i = 0; i < 2000; ++i) {
        ConvPair pair = test::random_pair(engine, {.layout = Layout::nhwc});
        const Problem problem = *make_problem(pair);
        CHECK(*make_problem(*ConvPair::parse(problem.text())) == problem);
        const auto [entry, inserted] = names.emplace(hash_value(problem), problem.name());
        CHECK(entry->second == problem.name());
    }
}
