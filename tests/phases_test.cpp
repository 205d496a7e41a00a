// Rounds grouped by a probe's speed, on made-up series.
#include "core/run/phases.hpp"

#include "support/doctest.hpp"

#include <random>

using namespace tandem;

namespace {

Series series_of(std::vector<double> seconds) {
    Series series;
    series.kept.assign(seconds.size(), 1);
    series.seconds = std::move(seconds);
    summarise(series);
    return series;
}

/// `count` samples around each of `centres`, one after the other, `spread` of it either way.
std::vector<double> stretches(const std::vector<double>& centres, int count, double spread) {
    std::mt19937 engine(1);
    std::uniform_real_distribution<double> noise(1 - spread, 1 + spread);
    std::vector<double> seconds;
    for (const double centre : centres)
        for (int i = 0; i < count; ++i)
            seconds.push_back(centre * noise(engine));
    return seconds;
}

}  // namespace

TEST_CASE("phases: one speed is one phase of all rounds") {
    for (const double spread :
         {0.0, 0.02,
          0.3}) {  // the last: a broad group, whose halves are further apart than phases have to be
        CAPTURE(spread);
        const Series probe = series_of(stretches({1}, 200, spread));
        const std::vector<Phase> phases = split_phases(probe);
        REQUIRE(phases.size() == 1);
        CHECK(phases[0].count == 200);
        CHECK(phases[0].seconds == probe.median);
        CHECK(during(phases[0], probe).median == probe.median);
    }
    CHECK(split_phases(series_of(stretches({1, 1.15}, 100, 0.01))).size() == 1);
    CHECK(split_phases(series_of({})).size() == 1);
    CHECK(split_phases(series_of({1})).size() == 1);
}

TEST_CASE("phases: two speeds are two phases, and every series is cut alike") {
    const Series probe = series_of(stretches({1, 1.6, 1, 1.6}, 40, 0.05));
    std::vector<double> other;
    for (const double seconds : probe.seconds)
        other.push_back(seconds > 1.3 ? 5 : 4);
    const std::vector<Phase> phases = split_phases(probe);
    REQUIRE(phases.size() == 2);
    CHECK(phases[0].count == 80);
    CHECK(phases[1].count == 80);
    CHECK(phases[0].seconds == doctest::Approx(1).epsilon(0.05));
    CHECK(phases[1].seconds == doctest::Approx(1.6).epsilon(0.05));
    const Series fast = during(phases[0], series_of(other)), slow = during(phases[1], series_of(other));
    CHECK(fast.median == 4);
    CHECK(fast.upper_quartile == 4);
    CHECK(fast.samples == 80);
    CHECK(slow.median == 5);
    CHECK(slow.lower_quartile == 5);
    CHECK(ratio(slow, fast).of_medians == 1.25);
}

TEST_CASE("phases: a short slow stretch counts, outliers do not") {
    std::vector<double> seconds = stretches({1}, 100, 0.02);
    for (int i = 0; i < 4; ++i)
        seconds[static_cast<std::size_t>(20 * i)] = 3;
    CHECK(split_phases(series_of(seconds)).size() == 1);
    for (int i = 0; i < 8; ++i)
        seconds[static_cast<std::size_t>(40 + i)] = 3;
    const std::vector<Phase> phases = split_phases(series_of(seconds));
    REQUIRE(phases.size() == 2);
    CHECK(phases[1].count == 11);  // one of the four lies among the eight
    seconds = stretches({1, 1.6}, 50, 0.05);
    for (const std::size_t i : {7u, 33u, 81u})
        seconds[i] = 100;
    CHECK(split_phases(series_of(seconds)).size() == 2);
}

TEST_CASE("phases: rounds in which the probe was disturbed are in neither of two") {
    Series probe = series_of(stretches({1, 2}, 50, 0.02));
    for (const std::size_t i : {3u, 70u}) {
        probe.seconds[i] = 100;
        probe.kept[i] = 0;
    }
    summarise(probe);
    const std::vector<Phase> phases = split_phases(probe);
    REQUIRE(phases.size() == 2);
    CHECK(phases[0].count == 49);
    CHECK(phases[1].count == 49);
    CHECK(phases[0].rounds[3] == 0);
    CHECK(phases[1].rounds[3] == 0);
    CHECK(during(phases[0], probe).dropped == 0);
}
