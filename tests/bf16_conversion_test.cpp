// The emulated vcvtneps2bf16 and vcvtne2ps2bf16: their rounding, their encodings as emitted, and the
// interrupted code's registers; where the CPU has AVX512-BF16, the same expectations check the hardware.
#include "bf16_conversion.hpp"

#include "support/doctest.hpp"

#include <bit>
#include <cmath>
#include <csignal>
#include <limits>
#include <random>

#include "amx_code.hpp"
#include "core/plan/machine.hpp"

using namespace tandem;
using namespace tandem::jit;
using namespace tandem::test;

namespace {

float value_of(std::uint16_t bf16) { return std::bit_cast<float>(std::uint32_t{bf16} << 16); }

/// The nearest of all bf16 numbers near `x`, the even one of two; what lies beyond the largest counts as
/// 2^128.
std::uint16_t nearest_by_search(float x) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    if (std::isnan(x)) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
    if (std::fpclassify(x) == FP_SUBNORMAL || x == 0) return std::signbit(x) ? 0x8000 : 0;
    std::uint16_t best = 0;
    double least = std::numeric_limits<double>::infinity();
    for (std::uint32_t candidate = bits >> 16; candidate <= (bits >> 16) + 1; ++candidate) {
        const float value = value_of(static_cast<std::uint16_t>(candidate));
        const double distance =
            std::abs((std::isinf(value) ? std::copysign(0x1p128, static_cast<double>(value))
                                        : static_cast<double>(value)) -
                     static_cast<double>(x));
        if (std::isinf(x) ? candidate == bits >> 16
                          : distance < least || (distance == least && candidate % 2 == 0)) {
            least = distance;
            best = static_cast<std::uint16_t>(candidate);
        }
    }
    return best;
}

std::uint32_t random_bits(std::mt19937& engine) {
    constexpr std::uint32_t special[] = {
        0x3f808000, 0x3f818000, 0x3f808001, 0x3f807fff, 0xbf818000, 0x00000000, 0x80000000,
        0x00000001, 0x807fffff, 0x007fffff, 0x00800000, 0x80808000, 0x7f7fffff, 0xff7fffff,
        0x7f7f7fff, 0x7f7f8000, 0x7f800000, 0xff800000, 0x7f800001, 0xffbfffff, 0x7fc00000};
    return engine() % 3 == 0 ? special[engine() % std::size(special)] : static_cast<std::uint32_t>(engine());
}

Zmm random_zmm(std::mt19937& engine) {
    Zmm value;
    for (auto& word : value)
        word = random_bits(engine);
    return value;
}

struct Form {
    int elements, to, from, mask;
    bool zeroing;
    std::optional<int> above{};
};
constexpr Form forms[] = {{16, 1, 2, 0, false},     {16, 7, 7, 0, false},     {16, 30, 17, 0, false},
                          {8, 0, 15, 0, false},     {8, 16, 3, 0, false},     {4, 5, 31, 0, false},
                          {16, 3, 20, 1, false},    {16, 18, 4, 7, true},     {8, 9, 9, 3, false},
                          {8, 21, 22, 2, true},     {4, 12, 1, 5, false},     {4, 31, 30, 6, true},
                          {16, 1, 2, 0, false, 3},  {16, 7, 7, 0, false, 21}, {16, 30, 17, 0, false, 30},
                          {16, 20, 5, 2, false, 9}, {8, 9, 19, 0, false, 8}};

void emit(CodeBlock& code, const Form& form) {
    const Xbyak::Xmm narrow = form.elements == 16 ? Xbyak::Xmm(Xbyak::Ymm(form.to)) : Xbyak::Xmm(form.to);
    const Xbyak::Xmm wide = form.elements == 16  ? Xbyak::Xmm(Xbyak::Zmm(form.from))
                            : form.elements == 8 ? Xbyak::Xmm(Xbyak::Ymm(form.from))
                                                 : Xbyak::Xmm(form.from);
    if (form.above) {
        const auto like = [&](int index) {
            return form.elements == 16 ? Xbyak::Xmm(Xbyak::Zmm(index)) : Xbyak::Xmm(Xbyak::Ymm(index));
        };
        const Xbyak::Xmm to = like(form.to);
        return form.mask == 0 ? code.vcvtne2ps2bf16(to, like(*form.above), wide)
                              : code.vcvtne2ps2bf16(to | Xbyak::Opmask(form.mask), like(*form.above), wide);
    }
    if (form.mask == 0)
        code.vcvtneps2bf16(narrow, wide);
    else if (form.zeroing)
        code.vcvtneps2bf16(narrow | Xbyak::Opmask(form.mask) | code.T_z, wide);
    else
        code.vcvtneps2bf16(narrow | Xbyak::Opmask(form.mask), wide);
}

/// What the destination holds after `form`, by a plain loop over its 16-bit elements.
Zmm expected_of(const Form& form, const Zmm& from, const Zmm& above, std::uint64_t mask, const Zmm& to) {
    Zmm result{};
    for (int i = 0; i < (form.above ? 2 : 1) * form.elements; ++i) {
        const auto word = static_cast<std::size_t>(i / 2);
        const bool taken = form.mask == 0 || (mask >> i & 1);
        const std::uint32_t half =
            taken          ? nearest_by_search(std::bit_cast<float>(
                        (i < form.elements ? from : above)[static_cast<std::size_t>(i % form.elements)]))
            : form.zeroing ? 0
                           : to[word] >> 16 * (i % 2) & 0xffff;
        result[word] |= half << 16 * (i % 2);
    }
    return result;
}

/// ({from, above}, to, mask): registers from memory, `instruction`, the destination to memory again.
EmittedFunction function_of(const Form& form, bool trapped) {
    return EmittedFunction([&](CodeBlock& code) {
        code.kmovq(Xbyak::Opmask(form.mask == 0 ? 1 : form.mask), code.ptr[rdx]);
        code.vmovups(Xbyak::Zmm(form.to), code.ptr[rsi]);
        code.vmovups(Xbyak::Zmm(form.from), code.ptr[rdi]);
        if (form.above) code.vmovups(Xbyak::Zmm(*form.above), code.ptr[rdi + sizeof(Zmm)]);
        if (trapped) code.ud2();
        emit(code, form);
        code.vmovups(code.ptr[rsi], Xbyak::Zmm(form.to));
        code.vzeroupper();
    });
}

/// SIGILL of ud2 executes the conversion that follows it.
constexpr int ud2_bytes = 2;
void convert_behind_ud2(int, siginfo_t*, void* context) {
    auto& frame = *static_cast<ucontext_t*>(context);
    greg_t& rip = frame.uc_mcontext.gregs[REG_RIP];
    const auto conversion = decode_bf16_conversion(reinterpret_cast<const std::uint8_t*>(rip) + ud2_bytes);
    if (conversion) execute(*conversion, frame);
    rip += ud2_bytes + (conversion ? conversion->length : 0);
}

void check_forms(bool trapped) {
    std::mt19937 engine(2);
    for (const Form& form : forms) {
        const EmittedFunction function = function_of(form, trapped);
        for (int i = 0; i < 20; ++i) {
            const std::array<Zmm, 2> sources{random_zmm(engine), random_zmm(engine)};
            const Zmm old = form.to == form.from    ? sources[0]
                            : form.to == form.above ? sources[1]
                                                    : random_zmm(engine);
            const std::uint64_t mask = engine();
            Zmm to = old;
            CAPTURE(form.to);
            CAPTURE(form.from);
            function(sources.data(), to.data(), &mask);
            CHECK(to == expected_of(form, sources[0], sources[1], mask, old));
        }
    }
}

bool host_has(bool (*feature)(Isa)) { return !host_isas().empty() && feature(host_isas().back()); }

}  // namespace

TEST_CASE("vcvtneps2bf16: rounds to nearest even, denormals to zero, NaNs to quiet ones") {
    CHECK(nearest_bf16(0x3f808000) == 0x3f80);
    CHECK(nearest_bf16(0x3f818000) == 0x3f82);
    CHECK(nearest_bf16(0x3f808001) == 0x3f81);
    CHECK(nearest_bf16(0x807fffff) == 0x8000);
    CHECK(nearest_bf16(0x7f7fffff) == 0x7f80);
    CHECK(nearest_bf16(0xff800001) == 0xffc0);
    std::mt19937 engine(1);
    for (int i = 0; i < 100000; ++i) {
        const std::uint32_t bits = random_bits(engine);
        CAPTURE(bits);
        REQUIRE(nearest_bf16(bits) == nearest_by_search(std::bit_cast<float>(bits)));
    }
}

TEST_CASE(
    "vcvtneps2bf16, vcvtne2ps2bf16: every form that is emitted is decoded and converts as a plain loop "
    "does") {
    std::mt19937 engine(3);
    for (const Form& form : forms) {
        const auto code = emit_code([&](CodeBlock& block) { emit(block, form); });
        REQUIRE(code.ok());
        const auto decoded =
            decode_bf16_conversion(reinterpret_cast<const std::uint8_t*>(code->memory->bytes().data()));
        REQUIRE(decoded.has_value());
        CHECK(decoded->elements == form.elements);
        CHECK(decoded->to == form.to);
        CHECK(decoded->from == form.from);
        CHECK(decoded->above == form.above);
        CHECK(decoded->mask == form.mask);
        CHECK(decoded->zeroing == form.zeroing);
        const Zmm from = random_zmm(engine), above = random_zmm(engine), to = random_zmm(engine);
        const std::uint64_t mask = engine();
        CHECK(convert(*decoded, from, above, mask, to) == expected_of(form, from, above, mask, to));
    }
    const auto others = [](const std::function<void(CodeBlock&)>& emit_other) {
        const auto code = emit_code(emit_other);
        return decode_bf16_conversion(reinterpret_cast<const std::uint8_t*>(code->memory->bytes().data()));
    };
    CHECK_FALSE(others([](CodeBlock& code) { code.vdpbf16ps(Xbyak::Zmm(1), Xbyak::Zmm(2), Xbyak::Zmm(3)); }));
    CHECK_FALSE(others([](CodeBlock& code) { code.vcvtneps2bf16(Xbyak::Ymm(1), code.ptr[rdi]); }));
    CHECK_FALSE(others([](CodeBlock& code) { code.ud2(); }));
}

TEST_CASE(
    "vcvtneps2bf16, vcvtne2ps2bf16: executed in a signal frame, it changes the interrupted code's "
    "registers") {
    if (!host_has(is_avx512)) {
        MESSAGE("skipped: the registers are those of avx512");
        return;
    }
    struct sigaction action = {}, previous = {};
    action.sa_sigaction = convert_behind_ud2;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGILL, &action, &previous);
    check_forms(true);
    sigaction(SIGILL, &previous, nullptr);
}

TEST_CASE("vcvtneps2bf16, vcvtne2ps2bf16: the hardware does the same") {
    if (!host_has(has_bf16)) {
        MESSAGE("skipped: the CPU has no avx512_bf16");
        return;
    }
    check_forms(false);
}
