// What the tests themselves rely on.
#include "support/doctest.hpp"

#include <string>

TEST_CASE("a const char* in a message of doctest's is text, not an address") {
    const char* const text = "1x8x4x4:dw3:conv1o8";
    std::string copy = text;
    CHECK(doctest::toString(text) == text);
    CHECK(doctest::toString(copy.data()) == text);
    CHECK(doctest::toString(static_cast<const char*>(nullptr)) == "(null)");
}
