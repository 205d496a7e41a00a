// How far one NaN, infinity or huge number spreads, by algorithm, and how large numbers may be:
// docs/math-modes.md, "Ranges, and how far one bad number spreads".
#include "support/doctest.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "core/plan/arithmetic.hpp"
#include "core/plan/machine.hpp"
#include "core/plan/strassen.hpp"
#include "core/plan/tiling.hpp"
#include "core/plan/winograd.hpp"
#include "core/plan/winograd_transform.hpp"
#include "support/guarded_call.hpp"
#include "tandem/context.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

constexpr std::int64_t row = 6, column = 5, channel = 3;  // of the bad pixel

struct Region {
    std::int64_t top, bottom, left, right;  // output pixels, the ends excluded
    bool holds(std::int64_t y, std::int64_t x) const {
        return top <= y && y < bottom && left <= x && x < right;
    }
};

/// What a direct sum reads the pixel for.
Region receptive_field(const Problem& problem) {
    const std::int64_t reach = problem.stage(0).conv.kernel.h / 2;
    return {row - reach, row + reach + 1, column - reach, column + reach + 1};
}

/// Whole tiles of m x m outputs that read the pixel.
Region winograd_tiles(const Problem& problem, std::int64_t m) {
    const Region field = receptive_field(problem);
    const auto up = [m](std::int64_t end) {
        return (end + m - 1) / m * m;
    };
    return {field.top / m * m, up(field.bottom), field.left / m * m, up(field.right)};
}

Region spread(const Problem& problem, Algorithm algorithm) {
    switch (algorithm) {
        case Algorithm::winograd2: return winograd_tiles(problem, 2);
        case Algorithm::winograd4: return winograd_tiles(problem, 4);
        case Algorithm::strassen: return {row / 2 * 2, row / 2 * 2 + 2, column, column + 1};
        default: return receptive_field(problem);
    }
}

std::vector<float> output_of(const Problem& problem, const Kernel& kernel, const VerificationData& data) {
    GuardedCall call(problem, kernel, data);
    call.clear();
    return call.run() ? call.output() : std::vector<float>();
}

/// Where outputs beyond the region change, or those that read the pixel do not show it; empty if nowhere.
std::string check(const Problem& problem, const Kernel& kernel, Algorithm algorithm, VerificationData data,
                  const std::vector<float>& before, float bad) {
    data.input[static_cast<std::size_t>(
        element_index(problem.input_shape(), problem.input_view, 0, channel, row, column))] = bad;
    const std::vector<float> after = output_of(problem, kernel, data);
    const Region most = spread(problem, algorithm), least = receptive_field(problem);
    const TensorShape shape = problem.output_shape(0);
    for (std::int64_t c = 0; c < shape.c; ++c)
        for (std::int64_t y = 0; y < shape.h; ++y)
            for (std::int64_t x = 0; x < shape.w; ++x) {
                const auto at =
                    static_cast<std::size_t>(element_index(shape, problem.output_view, 0, c, y, x));
                const bool own = !problem.stage(0).depthwise() || c == channel,
                           reads = own && least.holds(y, x), may = own && most.holds(y, x);
                const bool changed = std::memcmp(&before[at], &after[at], sizeof(float)) != 0,
                           bad_too = std::isfinite(bad) || !std::isfinite(after[at]);
                if (reads ? changed && bad_too : may || !changed) continue;
                return fmt::format("{} at {}, {}, {}: {} was {}", bad, c, y, x, after[at], before[at]);
            }
    return {};
}

/// Every way to compute the only stage that its math mode allows.
std::vector<Plan> plans(const Problem& problem, Isa isa) {
    std::vector<Plan> plans;
    const auto add = [&](Algorithm algorithm, Dot dot) {
        Plan plan = rules_plan(problem, *host_machine(isa), 1);
        plan.stage(0).algorithm = algorithm;
        plan.stage(0).dot = dot;
        plan.stage(0).block_channels = 0;
        if (uses_amx(dot)) set_amx_shape(plan.stage(0));
        while (!check_plan(problem, plan) && plan.stage(0).block_pixels > 1)
            --plan.stage(0).block_pixels;
        if (check_plan(problem, plan)) plans.push_back(plan);
    };
    for (const Dot dot : dots(problem, isa, 0))
        add(Algorithm::direct, dot);
    for (const Algorithm algorithm : {Algorithm::winograd2, Algorithm::winograd4, Algorithm::strassen})
        if (algorithm_applies(problem, isa, 0, algorithm)) add(algorithm, Dot::f32);
    return plans;
}

/// The largest sum of factors' magnitudes in any sum that the program forms.
double largest_sum(const LinearProgram& program) {
    const auto inputs = static_cast<std::size_t>(program.inputs);
    std::vector<std::vector<double>> values(inputs, std::vector<double>(inputs));
    for (std::size_t i = 0; i < inputs; ++i)
        values[i][i] = 1;
    double largest = 0;
    for (const LinearProgram::Step& step : program.steps) {
        std::vector<double> sum(inputs);
        for (const LinearProgram::Term& term : step.terms) {
            double magnitude = 0;
            for (std::size_t i = 0; i < inputs; ++i)
                magnitude +=
                    std::abs(sum[i] += term.factor * values[static_cast<std::size_t>(term.value)][i]);
            largest = std::max(largest, magnitude);
        }
        values.push_back(sum);
    }
    return largest;
}

double largest_weight(const WinogradTransform& transform) {
    double largest = 0;
    for (std::int64_t point = 0; point < transform.alpha(); ++point) {
        double sum = 0;
        for (std::int64_t tap = 0; tap < transform.taps; ++tap) {
            std::vector<double> one(static_cast<std::size_t>(transform.taps));
            one[static_cast<std::size_t>(tap)] = 1;
            sum += std::abs(transform.weight(point, one));
        }
        largest = std::max(largest, sum);
    }
    return largest;
}

}  // namespace

TEST_CASE("spread: one NaN, infinity or huge pixel changes the documented outputs at most") {
    constexpr float nan = std::numeric_limits<float>::quiet_NaN(),
                    infinity = std::numeric_limits<float>::infinity();
    int kernels = 0, others = 0;
    for (const char* text :
         {"1x32x12x12:conv3o32", "1x32x12x12:dw3", "1x128x8x8:conv1o128", "1x32x12x12:conv5o32"}) {
        for (const Math math : {Math::strict, Math::fast}) {
            ConvChain chain = *ConvChain::parse(text);
            chain.math = math;
            const Problem problem = *make_problem(chain);
            const VerificationData data = make_verification_data(problem, DataKind::random, 1);
            for (const Isa isa : host_isas(DataType::f32, math)) {
                for (const Plan& plan : plans(problem, isa)) {
                    Context context;
                    const auto kernel = context.dispatch(chain, {.plan = std::make_shared<const Plan>(plan)});
                    REQUIRE(kernel.ok());
                    ++kernels;
                    const std::vector<float> before = output_of(problem, *kernel, data);
                    const Algorithm algorithm = plan.stage(0).algorithm;
                    others += algorithm != Algorithm::direct;
                    CHECK((math == Math::fast || algorithm == Algorithm::direct));
                    for (const float bad : {nan, infinity, 1e38f}) {
                        CAPTURE(to_string(plan));
                        CAPTURE(text);
                        CHECK(check(problem, *kernel, algorithm, data, before, bad) == "");
                    }
                }
            }
        }
    }
    CHECK(kernels > others);
    if (!host_isas().empty()) CHECK(others > 0);
}

TEST_CASE("spread: the factors of Winograd's forms are those that the documentation has") {
    struct Row {
        std::int64_t outputs, taps;
        double input, weights, output;
    };
    for (const Row& documented :
         {Row{2, 3, 2, 1.5, 3}, Row{4, 3, 5.42, 1.32, 8.35}, Row{2, 5, 5.42, 1.63, 5.34},
          Row{4, 5, 15, 1.38, 19.25}, Row{2, 7, 15, 1.56, 8}, Row{4, 7, 42.7, 1.27, 37.4}}) {
        const WinogradTransform& transform = winograd_transform(documented.outputs, documented.taps);
        CAPTURE(documented.outputs);
        CAPTURE(documented.taps);
        const auto is = [](double number, double rounded_up) {
            return number <= rounded_up + 1e-9 && number > 0.99 * rounded_up;
        };
        CHECK(is(largest_sum(transform.input), documented.input));
        CHECK(is(largest_weight(transform), documented.weights));
        CHECK(is(largest_sum(transform.output), documented.output));
    }
}

TEST_CASE("spread: pixels just within an algorithm's range give finite outputs") {
    for (const char* text : {"1x32x12x12:conv3o32", "1x32x12x12:conv5o32", "1x128x8x8:conv1o128"}) {
        const ConvChain chain = *ConvChain::parse(text);
        const Problem problem = *make_problem(chain);
        for (const Isa isa : host_isas(DataType::f32)) {
            for (const Plan& plan : plans(problem, isa)) {
                const Algorithm algorithm = plan.stage(0).algorithm;
                double factor = algorithm == Algorithm::strassen ? 4 : 1.01;
                if (algorithm == Algorithm::winograd2 || algorithm == Algorithm::winograd4)
                    factor =
                        std::pow(largest_sum(winograd_transform(algorithm == Algorithm::winograd2 ? 2 : 4,
                                                                problem.stage(0).conv.kernel.h)
                                                 .input),
                                 2);
                VerificationData data = make_verification_data(problem, DataKind::random, 1);
                for (float& x : data.input)
                    x = static_cast<float>(
                        std::copysign(0.999 * std::numeric_limits<float>::max() / factor, x));
                for (float& w : data.stages[0].weights)
                    w *= 1e-8f;
                Context context;
                const auto kernel = context.dispatch(chain, {.plan = std::make_shared<const Plan>(plan)});
                REQUIRE(kernel.ok());
                CAPTURE(to_string(plan));
                CHECK(std::ranges::all_of(output_of(problem, *kernel, data),
                                          [](float y) { return std::isfinite(y); }));
            }
        }
    }
}
