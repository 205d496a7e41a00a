// Products of emulated AMX tiles against naive loops; where the machine has AMX, the same expectations
// check the hardware.
#include "support/doctest.hpp"
#include <xmmintrin.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "amx_code.hpp"
#include "amx_emulator.hpp"

using namespace tandem::jit;
using namespace tandem::test;
using Xbyak::Tmm;

namespace {

/// Tiles of a product, tight in memory: c is m x n f32 or s32; a is m x k and b is k x n words of two or
/// four elements, those of b from different rows of the matrix.
struct Product {
    int m, n, k;
    std::vector<std::uint32_t> a, b, c;

    Product(int rows, int columns, int depth)
        : m(rows), n(columns), k(depth), a(size(m, k)), b(size(k, n)), c(size(m, n)) {}
    AmxConfig config() const { return AmxConfig().tile(0, m, 4 * n).tile(5, m, 4 * k).tile(7, k, 4 * n); }

private:
    static std::size_t size(int rows, int columns) { return static_cast<std::size_t>(rows * columns); }
};

using Multiply = void (CodeBlock::*)(const Tmm&, const Tmm&, const Tmm&);

/// (config, a, b, c) with the tiles of Product.
EmittedFunction product_function(const Product& product, Multiply multiply) {
    return with_config([&](CodeBlock& code) {
        code.mov(rax, 4 * product.k);
        code.tileloadd(Tmm(5), code.ptr[rsi + rax]);
        code.mov(rax, 4 * product.n);
        code.tileloadd(Tmm(7), code.ptr[rdx + rax]);
        code.tileloaddt1(Tmm(0), code.ptr[rcx + rax]);
        (code.*multiply)(Tmm(0), Tmm(5), Tmm(7));
        code.tilestored(code.ptr[rcx + rax], Tmm(0));
    });
}

std::vector<std::uint32_t> run(const Product& product, Multiply multiply) {
    Product copy = product;
    const AmxConfig config = product.config();
    product_function(product, multiply)(&config, copy.a.data(), copy.b.data(), copy.c.data());
    return copy.c;
}

float f32_of_bf16(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

float f32_of_fp16(std::uint16_t bits) {
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                                          : std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
    return bits & 0x8000 ? -magnitude : magnitude;
}

std::uint16_t half(std::uint32_t word, int which) { return static_cast<std::uint16_t>(word >> 16 * which); }

/// The manual's pseudo-code. With values for which no result is denormal, it needs no special rounding
/// mode.
std::vector<std::uint32_t> pairs_in_order(const Product& p, float (*widen)(std::uint16_t)) {
    std::vector<std::uint32_t> result;
    for (int m = 0; m < p.m; ++m)
        for (int n = 0; n < p.n; ++n) {
            float sums[2] = {0, 0};
            for (int k = 0; k < p.k; ++k)
                for (int i = 0; i < 2; ++i)
                    sums[i] = std::fma(widen(half(p.a[static_cast<std::size_t>(m * p.k + k)], i)),
                                       widen(half(p.b[static_cast<std::size_t>(k * p.n + n)], i)), sums[i]);
            const float both = sums[0] + sums[1];
            result.push_back(std::bit_cast<std::uint32_t>(
                std::bit_cast<float>(p.c[static_cast<std::size_t>(m * p.n + n)]) + both));
        }
    return result;
}

/// The largest difference from a naive loop in double, in units of f32 rounding of the sum of magnitudes.
double pairs_error(const Product& p, const std::vector<std::uint32_t>& result,
                   float (*widen)(std::uint16_t)) {
    double worst = 0;
    for (int m = 0; m < p.m; ++m)
        for (int n = 0; n < p.n; ++n) {
            const auto at = static_cast<std::size_t>(m * p.n + n);
            double sum = std::bit_cast<float>(p.c[at]), magnitude = std::fabs(sum);
            for (int k = 0; k < 2 * p.k; ++k) {
                const double product =
                    static_cast<double>(widen(half(p.a[static_cast<std::size_t>(m * p.k + k / 2)], k % 2))) *
                    widen(half(p.b[static_cast<std::size_t>(k / 2 * p.n + n)], k % 2));
                sum += product;
                magnitude += std::fabs(product);
            }
            worst = std::max(worst, std::fabs(std::bit_cast<float>(result[at]) - sum) / magnitude * 0x1p24);
        }
    return worst;
}

std::vector<std::uint32_t> quads_naive(const Product& p, bool a_signed, bool b_signed) {
    const auto value = [](std::uint32_t word, int i, bool is_signed) -> std::int64_t {
        const auto byte = static_cast<std::uint8_t>(word >> 8 * i);
        return is_signed && byte >= 128 ? byte - 256 : byte;
    };
    std::vector<std::uint32_t> result;
    for (int m = 0; m < p.m; ++m)
        for (int n = 0; n < p.n; ++n) {
            std::int64_t sum = p.c[static_cast<std::size_t>(m * p.n + n)];
            for (int k = 0; k < p.k; ++k)
                for (int i = 0; i < 4; ++i)
                    sum += value(p.a[static_cast<std::size_t>(m * p.k + k)], i, a_signed) *
                           value(p.b[static_cast<std::size_t>(k * p.n + n)], i, b_signed);
            result.push_back(static_cast<std::uint32_t>(sum));
        }
    return result;
}

/// Pairs of floats from 2^-3 to 2^4, of either sign.
void fill_pairs(Product& product, std::mt19937& engine, int mantissa_bits, int bias) {
    const auto one = [&] {
        const unsigned exponent = static_cast<unsigned>(bias) - 3 + engine() % 7, sign = engine() & 0x8000;
        return sign | exponent << mantissa_bits | (engine() & ((1u << mantissa_bits) - 1));
    };
    for (auto* words : {&product.a, &product.b})
        for (auto& word : *words)
            word = one() | one() << 16;
    for (auto& word : product.c)
        word = std::bit_cast<std::uint32_t>(static_cast<float>(engine() % 2001) / 100 - 10);
}

void fill_bytes(Product& product, std::mt19937& engine) {
    for (auto* words : {&product.a, &product.b, &product.c})
        for (auto& word : *words)
            word = static_cast<std::uint32_t>(engine());
}

Product random_product(std::mt19937& engine) {
    const auto up_to_16 = [&] {
        return 1 + static_cast<int>(engine() % 16);
    };
    const int m = up_to_16(), n = up_to_16();
    return {m, n, up_to_16()};
}

/// c + a * b as the only element of a tile.
float one_product(Multiply multiply, std::uint16_t a, std::uint16_t b, float c) {
    Product product(1, 1, 1);
    product.a[0] = a;
    product.b[0] = b;
    product.c[0] = std::bit_cast<std::uint32_t>(c);
    return std::bit_cast<float>(run(product, multiply)[0]);
}

}  // namespace

TEST_CASE("AMX: products of bytes equal a naive loop") {
    const AmxEmulator emulator;
    std::mt19937 engine(2);
    for (int i = 0; i < 25; ++i) {
        Product product = i == 0 ? Product(16, 16, 16) : random_product(engine);
        fill_bytes(product, engine);
        CAPTURE(product.m);
        CAPTURE(product.n);
        CAPTURE(product.k);
        CHECK(run(product, &CodeBlock::tdpbssd) == quads_naive(product, true, true));
        CHECK(run(product, &CodeBlock::tdpbsud) == quads_naive(product, true, false));
        CHECK(run(product, &CodeBlock::tdpbusd) == quads_naive(product, false, true));
        CHECK(run(product, &CodeBlock::tdpbuud) == quads_naive(product, false, false));
    }
}

TEST_CASE(
    "AMX: products of BF16 and FP16 are near a naive loop in double, and bitwise what the manual's order "
    "gives") {
    const AmxEmulator emulator;
    std::mt19937 engine(3);
    for (int i = 0; i < 25; ++i) {
        Product product = i == 0 ? Product(16, 16, 16) : random_product(engine);
        CAPTURE(product.m);
        CAPTURE(product.n);
        CAPTURE(product.k);
        fill_pairs(product, engine, 7, 127);
        const auto bf16 = run(product, &CodeBlock::tdpbf16ps);
        CHECK(pairs_error(product, bf16, f32_of_bf16) < product.k + 2);
        CHECK(bf16 == pairs_in_order(product, f32_of_bf16));
        if (!AmxEmulator::runs(AmxInstruction::tdpfp16ps)) continue;
        fill_pairs(product, engine, 10, 15);
        const auto fp16 = run(product, &CodeBlock::tdpfp16ps);
        CHECK(pairs_error(product, fp16, f32_of_fp16) < product.k + 2);
        CHECK(fp16 == pairs_in_order(product, f32_of_fp16));
    }
}

TEST_CASE("AMX: denormals are zero, except those of FP16 inputs") {
    const AmxEmulator emulator;
    constexpr std::uint16_t one = 0x3f80, smallest = 0x0080, denormal = 0x0040, half_of_one = 0x3f00,
                            minus_smallest = 0x8080;
    CHECK(one_product(&CodeBlock::tdpbf16ps, smallest, one, 0) == std::numeric_limits<float>::min());
    CHECK(one_product(&CodeBlock::tdpbf16ps, denormal, one, 0) == 0);
    CHECK(one_product(&CodeBlock::tdpbf16ps, denormal, 0x7f00, 0) == 0);  // x 2^127
    CHECK(one_product(&CodeBlock::tdpbf16ps, smallest, half_of_one, 0) == 0);
    CHECK(one_product(&CodeBlock::tdpbf16ps, minus_smallest, one, 0x1.8p-126f) == 0);
    CHECK(one_product(&CodeBlock::tdpbf16ps, 0, one, 0x1p-127f) == 0);
    CHECK(std::isinf(one_product(&CodeBlock::tdpbf16ps, 0x7f00, 0x4000, 0)));
    CHECK(std::isnan(one_product(&CodeBlock::tdpbf16ps, 0x7f80, 0, 0)));
    if (!AmxEmulator::runs(AmxInstruction::tdpfp16ps)) return;
    CHECK(one_product(&CodeBlock::tdpfp16ps, 0x0001, 0x3c00, 0) == 0x1p-24f);
    CHECK(one_product(&CodeBlock::tdpfp16ps, 0x83ff, 0x03ff, 0) == -0x3ffp-24f * 0x3ffp-24f);
    CHECK(one_product(&CodeBlock::tdpfp16ps, 0, 0x3c00, 0x1p-127f) == 0);
    CHECK(std::isinf(one_product(&CodeBlock::tdpfp16ps, 0x7c00, 0x3c00, 0)));
    CHECK(std::isnan(one_product(&CodeBlock::tdpfp16ps, 0x7e00, 0x3c00, 0)));
}

TEST_CASE("AMX: products round to nearest even whatever MXCSR says, and leave it alone") {
    const AmxEmulator emulator;
    const unsigned before = _mm_getcsr();
    for (const unsigned mode : {0x1f80u, 0x3f80u, 0x5f80u, 0x7f80u}) {
        CAPTURE(mode);
        Product product(1, 1, 1);
        product.a[0] = product.b[0] = 0x3f80;  // 1
        const AmxConfig config = product.config();
        std::uint32_t ties[2] = {0x4b800000, 0x4b800001};  // 2^24 and 2^24 + 2: adding 1 is a tie
        const EmittedFunction function = product_function(product, &CodeBlock::tdpbf16ps);
        _mm_setcsr(mode);
        for (auto& tie : ties)
            function(&config, product.a.data(), product.b.data(), &tie);
        const unsigned after = _mm_getcsr();
        _mm_setcsr(before);
        CHECK(after == mode);
        CHECK(ties[0] == 0x4b800000);
        CHECK(ties[1] == 0x4b800002);
    }
}

TEST_CASE("AMX: threads have tiles of their own") {
    const AmxEmulator emulator;
    const auto work = [](unsigned seed, Product product, int* wrong) {
        std::mt19937 engine(seed);
        const AmxConfig config = product.config();
        fill_bytes(product, engine);
        const EmittedFunction function = product_function(product, &CodeBlock::tdpbusd);
        for (int i = 0; i < 300; ++i) {
            const auto expected = quads_naive(product, false, true);
            function(&config, product.a.data(), product.b.data(), product.c.data());
            if (product.c != expected) ++*wrong;
        }
    };
    int wrong[2] = {};
    std::thread first(work, 4, Product(3, 7, 5), &wrong[0]), second(work, 5, Product(16, 2, 11), &wrong[1]);
    first.join();
    second.join();
    CHECK(wrong[0] == 0);
    CHECK(wrong[1] == 0);
}

TEST_CASE("AMX: every emulated instruction is counted") {
    const AmxEmulator emulator;
    AmxEmulator::reset_counts();
    run(Product(2, 2, 2), &CodeBlock::tdpbssd);
    if (!AmxEmulator::needed()) {
        CHECK(AmxEmulator::executed() == 0);
        return;
    }
    for (const auto instruction :
         {AmxInstruction::ldtilecfg, AmxInstruction::tileloaddt1, AmxInstruction::tdpbssd,
          AmxInstruction::tilestored, AmxInstruction::tilerelease})
        CHECK(AmxEmulator::executed(instruction) == 1);
    CHECK(AmxEmulator::executed(AmxInstruction::tileloadd) == 2);
    CHECK(AmxEmulator::executed(AmxInstruction::tdpbf16ps) == 0);
    CHECK(AmxEmulator::executed() == 7);
    CHECK_FALSE(AmxEmulator::tiles_configured());
}
