#include "core/plan/partition.hpp"

#include "support/doctest.hpp"

#include <cstdint>
#include <limits>

using tandem::part_range;
using tandem::Range;

TEST_CASE("parts are contiguous, balanced and cover every item once") {
    for (std::int64_t items = 0; items <= 40; ++items) {
        for (int nparts = 1; nparts <= 45; ++nparts) {
            CAPTURE(items);
            CAPTURE(nparts);
            std::int64_t next = 0;
            for (int part = 0; part < nparts; ++part) {
                const Range range = part_range(items, part, nparts);
                REQUIRE(range.begin == next);
                REQUIRE(range.size() >= items / nparts);
                REQUIRE(range.size() <= (items + nparts - 1) / nparts);
                next = range.end;
            }
            REQUIRE(next == items);
        }
    }
}

TEST_CASE("the longer parts come first") {
    CHECK(part_range(10, 0, 4) == Range{0, 3});
    CHECK(part_range(10, 1, 4) == Range{3, 6});
    CHECK(part_range(10, 2, 4) == Range{6, 8});
    CHECK(part_range(10, 3, 4) == Range{8, 10});
}

TEST_CASE("the largest item count does not overflow") {
    constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
    constexpr int nparts = std::numeric_limits<int>::max();
    CHECK(part_range(most, nparts - 1, nparts).end == most);
    CHECK(part_range(most, 0, 1) == Range{0, most});
}

TEST_CASE("out-of-range arguments give an empty range") {
    CHECK(part_range(-1, 0, 1).empty());
    CHECK(part_range(10, 0, 0).empty());
    CHECK(part_range(10, -1, 4).empty());
    CHECK(part_range(10, 4, 4).empty());
}
