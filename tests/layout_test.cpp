#include <cstdint>
#include <numeric>
#include <vector>

#include "support/doctest.hpp"

#include "tandem/layout.hpp"

using namespace tandem;

TEST_CASE("layout: element counts include padding channels and are checked for overflow") {
    CHECK(element_count({2, 3, 4, 5}, Layout::nhwc) == 120);
    CHECK(element_count({2, 3, 4, 5}, Layout::nchw8c) == 320);
    CHECK(element_count({2, 17, 4, 5}, Layout::nchw16c) == 2 * 32 * 20);
    CHECK(element_count({1, INT64_MAX, 1, 1}, Layout::nhwc) == INT64_MAX);
    CHECK(element_count({1, INT64_MAX, 1, 1}, Layout::nchw8c) == -1);
    CHECK(element_count({INT64_MAX, 2, 1, 1}, Layout::nhwc) == -1);
    CHECK(element_count({1, -1, 1, 1}, Layout::nhwc) == -1);
}

TEST_CASE("layout: indices") {
    const TensorShape shape{2, 20, 3, 4};
    CHECK(element_index(shape, Layout::nhwc, 1, 5, 2, 3) == ((1 * 3 + 2) * 4 + 3) * 20 + 5);
    CHECK(element_index(shape, Layout::nchw16c, 1, 18, 2, 3) == (((1 * 2 + 1) * 3 + 2) * 4 + 3) * 16 + 2);
    CHECK(element_index(shape, Layout::nchw8c, 1, 18, 2, 3) == (((1 * 3 + 2) * 3 + 2) * 4 + 3) * 8 + 2);
}

TEST_CASE("layout: there and back, with zeros in the padding channels") {
    const TensorShape shape{2, 11, 3, 4};
    std::vector<float> plain(2 * 11 * 3 * 4);
    std::iota(plain.begin(), plain.end(), 1.0f);
    for (Layout layout : {Layout::nhwc, Layout::nchw16c, Layout::nchw8c}) {
        std::vector<float> stored(static_cast<std::size_t>(element_count(shape, layout)), -1.0f);
        std::vector<float> back(plain.size());
        REQUIRE(from_nchw(plain, shape, layout, stored).ok());
        CHECK(std::accumulate(stored.begin(), stored.end(), 0.0) ==
              std::accumulate(plain.begin(), plain.end(), 0.0));
        REQUIRE(to_nchw(stored, shape, layout, back).ok());
        CHECK(back == plain);
    }
}

TEST_CASE("layout: wrong sizes are errors that name the span") {
    std::vector<float> six(6), five(5);
    const TensorShape shape{1, 6, 1, 1};
    CHECK(from_nchw(five, shape, Layout::nhwc, six).error().message == "nchw has 5 elements; 6 is accepted");
    CHECK(from_nchw(six, shape, Layout::nchw8c, six).error().message == "out has 6 elements; 8 is accepted");
    CHECK(to_nchw(five, shape, Layout::nhwc, six).error().message == "in has 5 elements; 6 is accepted");
    CHECK(to_nchw(six, {1, -6, 1, 1}, Layout::nhwc, six).error().code == ErrorCode::overflow);
}
