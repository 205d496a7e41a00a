// Conversions of elements against slow definitions: every bf16 and f16, and floats around every midpoint of
// two neighbours.
#include "tandem/data_type.hpp"

#include "support/doctest.hpp"
#include <immintrin.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/run/typed_tensor.hpp"

using namespace tandem;

namespace {

/// A binary format by its definition: sign, exponent, fraction.
struct Format {
    int exponent_bits, fraction_bits;

    int bias() const { return (1 << (exponent_bits - 1)) - 1; }
    std::uint16_t infinity() const {
        return static_cast<std::uint16_t>(((1 << exponent_bits) - 1) << fraction_bits);
    }
    /// Of bits without the sign; where the exponent is all ones, as if the numbers went on.
    double magnitude(int bits) const {
        const int exponent = bits >> fraction_bits, fraction = bits & ((1 << fraction_bits) - 1);
        if (exponent == 0) return std::ldexp(fraction, 1 - bias() - fraction_bits);
        return std::ldexp((1 << fraction_bits) + fraction, exponent - bias() - fraction_bits);
    }
};

constexpr Format bf16{8, 7}, f16{5, 10};

struct Conversion {
    DataType type;
    Format format;
    std::uint16_t (*to)(float) noexcept;
    float (*from)(std::uint16_t) noexcept;
};
constexpr Conversion conversions[] = {{DataType::bf16, bf16, to_bf16, from_bf16},
                                      {DataType::f16, f16, to_f16, from_f16}};

/// What `count` conversions have got wrong; doctest is too slow to be asked each time.
class Mistakes {
public:
    void expect(bool right, const std::string& what) {
        if (!right && count_++ == 0) first_ = what;
    }
    ~Mistakes() { CHECK_MESSAGE(count_ == 0, count_, " conversions are wrong, the first: ", first_); }

private:
    int count_ = 0;
    std::string first_;
};

float next(float value, float towards) { return std::nextafter(value, towards); }

[[gnu::target("f16c")]] std::uint16_t to_f16_by_cpu(float value) {
    return static_cast<std::uint16_t>(_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT));
}
[[gnu::target("f16c")]] float from_f16_by_cpu(std::uint16_t bits) { return _cvtsh_ss(bits); }

}  // namespace

TEST_CASE("data types: every bf16 and f16 is the number its bits say, and itself again when converted back") {
    for (const Conversion& c : conversions) {
        CAPTURE(to_string(c.type));
        Mistakes mistakes;
        for (int bits = 0; bits < 0x10000; ++bits) {
            const auto half = static_cast<std::uint16_t>(bits);
            const int rest = bits & 0x7fff;
            const float value = c.from(half);
            const std::string what = std::to_string(bits) + " is " + std::to_string(value);
            mistakes.expect(std::signbit(value) == (bits >= 0x8000), what);
            if (rest > c.format.infinity()) {
                mistakes.expect(std::isnan(value) && std::isnan(c.from(c.to(value))), what);
                continue;
            }
            if (rest == c.format.infinity())
                mistakes.expect(std::isinf(value), what);
            else
                mistakes.expect(std::abs(value) == c.format.magnitude(rest), what);
            mistakes.expect(c.to(value) == half, what);
        }
    }
}

TEST_CASE("data types: what lies between two neighbours goes to the nearer one, midpoints to the even one") {
    for (const Conversion& c : conversions) {
        CAPTURE(to_string(c.type));
        Mistakes mistakes;
        for (int bits = 0; bits < c.format.infinity(); ++bits)
            for (const float sign : {1.0f, -1.0f}) {
                const auto low = static_cast<std::uint16_t>(bits | (sign < 0 ? 0x8000 : 0)),
                           high = static_cast<std::uint16_t>(low + 1);
                // A float has the bits for every midpoint. The last one is that of the largest number and
                // what would come after it: infinity.
                const float middle =
                    sign * static_cast<float>((c.format.magnitude(bits) + c.format.magnitude(bits + 1)) / 2);
                const std::string what = std::to_string(middle) + " becomes " + std::to_string(c.to(middle));
                mistakes.expect(c.to(middle) == (bits % 2 == 0 ? low : high), what);
                mistakes.expect(c.to(next(middle, 0)) == low, what);
                mistakes.expect(c.to(next(middle, sign * HUGE_VALF)) == high, what);
            }
        const float most = std::numeric_limits<float>::max();
        CHECK(c.to(most) == c.format.infinity());
        CHECK(c.to(-HUGE_VALF) == (c.format.infinity() | 0x8000));
    }
}

TEST_CASE("data types: f16 is what the CPU's own conversions make of it") {
    if (!__builtin_cpu_supports("f16c")) {
        MESSAGE("skipped: this machine has no F16C");
        return;
    }
    Mistakes mistakes;
    for (int bits = 0; bits < 0x10000; ++bits) {
        const auto half = static_cast<std::uint16_t>(bits);
        const float ours = from_f16(half), theirs = from_f16_by_cpu(half);
        mistakes.expect(ours == theirs || (std::isnan(ours) && std::isnan(theirs)), std::to_string(bits));
    }
    std::mt19937 engine(3);
    for (int i = 0; i < 2000000; ++i) {
        const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(engine()));
        const std::uint16_t ours = to_f16(value), theirs = to_f16_by_cpu(value);
        mistakes.expect(ours == theirs || std::isnan(value), std::to_string(value));
    }
}

TEST_CASE("data types: quantised numbers are rounded to even and clamped to the type") {
    CHECK(rounded(DataType::u8, 2.5f) == 2);
    CHECK(rounded(DataType::u8, 3.5f) == 4);
    CHECK(rounded(DataType::u8, -0.6f) == 0);
    CHECK(rounded(DataType::u8, 255.4f) == 255);
    CHECK(rounded(DataType::u8, 1e30f) == 255);
    CHECK(rounded(DataType::s8, -128.7f) == -128);
    CHECK(rounded(DataType::s8, -2.5f) == -2);
    CHECK(rounded(DataType::s8, HUGE_VALF) == 127);
    CHECK(rounded(DataType::s8, std::nanf("")) == 0);
    CHECK(rounded(DataType::f32, 0.1f) == 0.1f);
    CHECK(rounded(DataType::bf16, 257) == 256);
    CHECK(rounded(DataType::f16, 2049) == 2048);
}

TEST_CASE("data types: elements are stored and loaded at their place, whatever the alignment") {
    for (const DataType type : {DataType::f32, DataType::bf16, DataType::f16, DataType::u8, DataType::s8}) {
        CAPTURE(to_string(type));
        const std::vector<float> values{0, 3, 100, type == DataType::u8 ? 255.0f : -128.0f};
        std::vector<std::byte> memory(1 + tensor_bytes(type, values.size()), std::byte{0x5a});
        store_elements(type, values, memory.data() + 1);
        CHECK(memory[0] == std::byte{0x5a});
        CHECK(load_elements(type, std::span(memory).subspan(1)) == values);
        CHECK(memory.size() == 1 + values.size() * static_cast<std::size_t>(element_bytes(type)));
    }
}

TEST_CASE("data types: names") {
    for (const DataType type : {DataType::f32, DataType::bf16, DataType::f16, DataType::u8, DataType::s8})
        CHECK(*parse_data_type(to_string(type)) == type);
    CHECK(*parse_data_type("int8") == DataType::u8);
    CHECK(parse_data_type("f64").error().message ==
          "Data type 'f64' is not known; accepted: f32, bf16, f16, u8, s8, int8 (u8).");
}
