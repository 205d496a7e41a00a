// Winograd's one-dimensional transforms: they compute a convolution, in as few operations as by hand.
#include "support/doctest.hpp"

#include <cmath>
#include <random>
#include <vector>

#include "core/plan/winograd_transform.hpp"

using namespace tandem;

namespace {

using Numbers = std::vector<double>;

// The rows of the matrix that the program computes, times `inputs`; NaN for others.
Numbers run(const LinearProgram& program, const Numbers& inputs, std::size_t rows) {
    Numbers values = inputs, results(rows, NAN);
    for (const LinearProgram::Step& step : program.steps) {
        double sum = 0;
        for (const LinearProgram::Term& term : step.terms)
            sum += term.factor * values[static_cast<std::size_t>(term.value)];
        values.push_back(sum);
        if (step.output >= 0) results[static_cast<std::size_t>(step.output)] = sum;
    }
    return results;
}

Numbers random_numbers(std::mt19937_64& engine, std::int64_t count) {
    std::normal_distribution<double> normal;
    Numbers numbers;
    for (std::int64_t i = 0; i < count; ++i)
        numbers.push_back(normal(engine));
    return numbers;
}

template <class Use>
void each_transform(const Use& use) {
    int seen = 0;
    for (std::int64_t outputs = 1; outputs <= 8; ++outputs) {
        for (std::int64_t taps = 1; taps <= 8; ++taps) {
            if (!has_winograd_transform(outputs, taps)) continue;
            CAPTURE(outputs);
            CAPTURE(taps);
            use(winograd_transform(outputs, taps));
            ++seen;
        }
    }
    CHECK(seen == 8);
}

}  // namespace

TEST_CASE("winograd transforms: products of transformed taps and inputs give the convolution") {
    std::mt19937_64 engine(1);
    each_transform([&](const WinogradTransform& transform) {
        const auto alpha = static_cast<std::size_t>(transform.alpha());
        const Numbers taps = random_numbers(engine, transform.taps),
                      inputs = random_numbers(engine, transform.alpha());
        Numbers products = run(transform.input, inputs, alpha);
        for (std::size_t i = 0; i < alpha; ++i)
            products[i] *= transform.weight(static_cast<std::int64_t>(i), taps);
        const Numbers outputs = run(transform.output, products, static_cast<std::size_t>(transform.outputs));
        for (std::size_t o = 0; o < outputs.size(); ++o) {
            double expected = 0;
            for (std::size_t k = 0; k < taps.size(); ++k)
                expected += taps[k] * inputs[o + k];
            CHECK(outputs[o] == doctest::Approx(expected).epsilon(1e-12));
        }
    });
}

TEST_CASE("winograd transforms: some rows of a program are those of all of it") {
    std::mt19937_64 engine(2);
    each_transform([&](const WinogradTransform& transform) {
        const Numbers inputs = random_numbers(engine, transform.alpha());
        const auto rows = static_cast<std::size_t>(transform.outputs);
        const Numbers all = run(transform.output, inputs, rows);
        for (std::int64_t end = 1; end <= transform.outputs; ++end) {
            const LinearProgram some = transform.output.rows(end - 1, end);
            const auto row = static_cast<std::size_t>(end - 1);
            CHECK(run(some, inputs, rows)[row] == all[row]);
            CHECK(some.operations() <= transform.output.operations());
        }
    });
}

TEST_CASE("winograd transforms: pairs of points halve the operations") {
    CHECK(winograd_transform(2, 3).input.operations() == 4);
    CHECK(winograd_transform(2, 3).output.operations() == 4);
    CHECK(winograd_transform(4, 3).input.operations() == 12);
    CHECK(winograd_transform(4, 3).output.operations() == 12);
    CHECK(winograd_transform(4, 7).input.operations() == 40);
    CHECK(winograd_transform(4, 2).input.operations() == 11);
    CHECK(winograd_transform(1, 1).error_growth == 1);
    CHECK(winograd_transform(4, 3).error_growth < winograd_transform(4, 7).error_growth);
}
