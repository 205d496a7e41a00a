#include "core/run/measure.hpp"

#include "support/doctest.hpp"

#include <cmath>

#include "core/run/probes.hpp"

using namespace tandem;

namespace {

Series series(std::vector<double> seconds, std::vector<char> kept) {
    Series result;
    result.seconds = std::move(seconds);
    result.kept = std::move(kept);
    return result;
}

}  // namespace

TEST_CASE("measure: quantiles interpolate") {
    CHECK(quantile({}, 0.5) == 0);
    CHECK(quantile({3}, 0.25) == 3);
    CHECK(quantile({4, 1, 3, 2}, 0.5) == doctest::Approx(2.5));
    CHECK(quantile({4, 1, 3, 2}, 0) == 1);
    CHECK(quantile({4, 1, 3, 2}, 1) == 4);
}

TEST_CASE("measure: geometric mean") {
    CHECK(geometric_mean({}) == 0);
    CHECK(geometric_mean({2, 8}) == doctest::Approx(4));
}

TEST_CASE("measure: the ratio of rounds leaves out dropped samples") {
    Series numerator = series({2, 100, 4, 6}, {1, 0, 1, 1}),
           denominator = series({1, 1, 2, 100}, {1, 1, 1, 0});
    numerator.median = 4;
    denominator.median = 1;
    const Ratio result = ratio(numerator, denominator);
    CHECK(result.of_medians == 4);
    CHECK(result.rounds == 2);
    CHECK(result.lower_quartile == 2);
    CHECK(result.upper_quartile == 2);
    numerator.disturbed = true;  // then there is nothing better than all of them
    CHECK(ratio(numerator, denominator).rounds == 4);
}

TEST_CASE("measure: functions take turns, each sample long enough") {
    InterleaveOptions options;
    options.seconds = 0;
    options.min_rounds = 4;
    std::vector<int> order;
    const auto burn = [] {
        run_dots(Dot::f32, Isa::avx2, 100);
    };
    const std::vector<Series> all = interleave({[&] {
                                                    order.push_back(0);
                                                    burn();
                                                },
                                                [&] {
                                                    order.push_back(1);
                                                    burn();
                                                }},
                                               options);
    REQUIRE(all.size() == 2);
    for (const Series& one : all) {
        CHECK(one.seconds.size() == 4);
        CHECK(one.samples + one.dropped == 4);
        CHECK(one.median > 0);
        CHECK(one.lower_quartile <= one.median);
        CHECK(one.median <= one.upper_quartile);
        CHECK(one.repetitions > 1);
    }
    // After the warm-up: all of one sample of the first, then all of one of the second, and so on.
    int changes = 0;
    for (std::size_t i = 1; i < order.size(); ++i)
        changes += order[i] != order[i - 1];
    CHECK(changes == 9);  // warm-up 0 1, then 0 1 0 1 0 1 0 1
}

TEST_CASE("probes: twice the FMAs take about twice as long") {
    const std::vector<Series> all = interleave({[] { run_dots(Dot::f32, Isa::avx2, 2000); },
                                                [] {
                                                    run_dots(Dot::f32, Isa::avx2, 4000);
                                                }});
    CHECK(ratio(all[1], all[0]).of_medians == doctest::Approx(2).epsilon(0.3));
    CHECK(dot_peak_gflops(Dot::f32, Isa::avx2) > 1);
    CHECK(read_bandwidth(Isa::avx2, 16 * 1024) > 1);
    CHECK(std::isfinite(read_bandwidth(Isa::avx2, 1)));
}

TEST_CASE("measure: before_call comes before each call, and samples are of one") {
    std::string order;
    InterleaveOptions options;
    options.seconds = 0;
    options.min_rounds = 3;
    options.before_call = [&] {
        order += '-';
    };
    const std::vector<Series> all = interleave({[&] { order += 'a'; },
                                                [&] {
                                                    order += 'b';
                                                }},
                                               options);
    CHECK(order == "ab-a-b-a-b-a-b");
    for (const Series& one : all)
        CHECK(one.repetitions == 1);
}
