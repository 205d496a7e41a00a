#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <random>

#include "support/doctest.hpp"

#include "core/run/guarded_buffer.hpp"
#include "core/run/magnitudes.hpp"
#include "core/run/verification.hpp"
#include "core/run/verification_data.hpp"
#include "support/random_chain.hpp"
#include "tandem/reference.hpp"

using namespace tandem;

namespace {

/// True if reading `address` ends a child process with a fault.
bool read_faults(const std::byte* address) {
    const pid_t child = fork();
    if (child == 0) {
        std::signal(SIGSEGV, SIG_DFL);
        std::signal(SIGBUS, SIG_DFL);
        const auto value = *static_cast<const volatile std::byte*>(address);
        _exit(std::to_integer<int>(value) & 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

}  // namespace

TEST_CASE("guarded buffer: the byte past a flush end faults, and so does the one before a flush start") {
    for (const std::size_t bytes : {std::size_t{4}, std::size_t{4096}, std::size_t{10000}}) {
        const auto end = GuardedBuffer::create(bytes, Placement::flush_end);
        const auto start = GuardedBuffer::create(bytes, Placement::flush_start);
        REQUIRE(end.ok());
        REQUIRE(start.ok());
        CHECK(end->bytes().size() == bytes);
        CHECK_FALSE(read_faults(end->bytes().data() + bytes - 1));
        CHECK(read_faults(end->bytes().data() + bytes));
        CHECK_FALSE(read_faults(start->bytes().data()));
        CHECK(read_faults(start->bytes().data() - 1));
    }
}

TEST_CASE("guarded buffer: empty, aligned and unguarded ones") {
    CHECK(GuardedBuffer::create(0, Placement::flush_end)->bytes().empty());
    const auto aligned = GuardedBuffer::create(100, Placement::flush_end, 64);
    CHECK(reinterpret_cast<std::uintptr_t>(aligned->bytes().data()) % 64 == 0);
    const auto plain = GuardedBuffer::create(100, Placement::unguarded);
    CHECK_FALSE(read_faults(plain->bytes().data() - 1));
}

TEST_CASE("verification data: integers give results that a float holds exactly") {
    std::mt19937_64 engine(6);
    int exact = 0;
    for (int i = 0; i < 100; ++i) {
        const ConvChain chain = test::random_chain(
            engine,
            {.max_flops = 5e5, .exact_post_ops = true, .min_stages = 1 + i % 4, .max_stages = 1 + i % 4});
        CAPTURE(to_string(chain));
        const Problem problem = *make_problem(chain);
        const VerificationData data = make_verification_data(problem, DataKind::integers, 7);
        const std::vector<StageWeights> stages = data.views(problem.stage_count);
        const auto result = reference(chain, data.reference_args(stages));
        REQUIRE_MESSAGE(result.ok(), result.error().message);
        if (!data.exact) continue;
        ++exact;
        CHECK(std::ranges::all_of(*result,
                                  [](double y) { return std::trunc(y) == y && std::abs(y) < 1 << 24; }));
    }
    CHECK(exact == 100);
}

namespace {

std::vector<double> reference_on(const ConvPair& pair, const VerificationData& data) {
    const std::vector<StageWeights> stages = data.views(2);
    const auto result = reference(pair, data.reference_args(stages));
    REQUIRE_MESSAGE(result.ok(), result.error().message);
    return *result;
}

bool representable(DataType type, const std::vector<float>& values) {
    return std::ranges::all_of(values, [type](float x) { return std::isnan(x) || rounded(type, x) == x; });
}

}  // namespace

TEST_CASE("verification data: tensors hold numbers of their types, whatever the kind of data") {
    std::mt19937_64 engine(16);
    for (int i = 0; i < 100; ++i) {
        ConvPair pair = test::random_pair(engine, {.max_flops = 2e5});
        for (const DataType dtype : {DataType::bf16, DataType::f16, DataType::u8, DataType::s8}) {
            pair.dtype = dtype;
            const Problem problem = *make_problem(pair);
            const VerificationData data =
                make_verification_data(problem, i % 2 == 0 ? DataKind::integers : DataKind::random, 7);
            CAPTURE(problem.name());
            CHECK(representable(dtype, data.input));
            CHECK(representable(dtype, data.residual[0]));
            CHECK(representable(dtype, data.residual[1]));
            CHECK(std::ranges::any_of(data.input, [](float x) { return std::isnan(x); }) ==
                  (!is_quantized(dtype) && problem.input.c % channel_block(pair.layout) != 0));
        }
    }
}

TEST_CASE("verification data: integers of math f16 are exact in f16, sums included") {
    std::mt19937_64 engine(18);
    int exact = 0;
    for (int i = 0; i < 60; ++i) {
        ConvPair pair = test::random_pair(engine, {.max_flops = 2e5, .exact_post_ops = true});
        pair.dtype = DataType::f16;
        pair.math = Math::f16;
        const VerificationData data = make_verification_data(*make_problem(pair), DataKind::integers, 7);
        CAPTURE(to_string(pair));
        if (!data.exact) continue;
        ++exact;
        const std::vector<double> output = reference_on(pair, data);
        CHECK(
            std::ranges::all_of(output, [](double y) { return std::abs(y) <= 2048 && std::trunc(y) == y; }));
    }
    CHECK(exact >= 30);
}

TEST_CASE("verification data: integers of bf16 and f16 are exact in f32, and their sums have bits to round") {
    std::mt19937_64 engine(17);
    for (const DataType dtype : {DataType::bf16, DataType::f16}) {
        CAPTURE(to_string(dtype));
        int exact = 0, rounding = 0;
        for (int i = 0; i < 60; ++i) {
            ConvPair pair = test::random_pair(engine, {.max_flops = 2e5, .exact_post_ops = true});
            pair.dtype = dtype;
            const VerificationData data = make_verification_data(*make_problem(pair), DataKind::integers, 7);
            CAPTURE(to_string(pair));
            if (!data.exact) continue;
            ++exact;
            const std::vector<double> output = reference_on(pair, data);
            CHECK(std::ranges::none_of(output, [](double y) { return std::isnan(y) || std::isinf(y); }));
            // The first stage as f32 computes it, on numbers that fit the type.
            pair.dtype = DataType::f32;
            const ConvChain first = stage_of(pair, 0);
            const StageWeights weights = data.stages[0].view();
            const auto sums = reference(
                first, {.input = data.input, .stages = {&weights, 1}, .residual = {data.residual[0]}});
            REQUIRE(sums.ok());
            CHECK(std::ranges::all_of(*sums, [](double y) { return static_cast<float>(y) == y; }));
            rounding += std::ranges::any_of(
                *sums, [&](double y) { return rounded(dtype, static_cast<float>(y)) != y; });
        }
        CHECK(exact >= 55);
        CHECK(rounding >= 15);
    }
}

TEST_CASE("verification data: quantised outputs are spread over their range and not all clamped") {
    std::mt19937_64 engine(18);
    double clamped = 0, all = 0;
    int narrow = 0;
    for (int i = 0; i < 100; ++i) {
        ConvPair pair = test::random_pair(engine, {.max_flops = 2e5});
        pair.layout = Layout::nhwc;
        // Outputs that read little but padding are alike.
        pair.first().padding = pair.second().padding = std::nullopt;
        pair.first().dilation = pair.second().dilation = {};
        pair.first().post_op_count = pair.second().post_op_count = std::min(1, pair.first().post_op_count);
        pair.first().post_ops[0] = pair.second().post_ops[0] = {};
        pair.dtype = i % 2 == 0 ? DataType::u8 : DataType::s8;
        const VerificationData data =
            make_verification_data(*make_problem(pair), i % 4 < 2 ? DataKind::integers : DataKind::random, 7);
        CHECK(data.exact);
        const std::vector<double> output = reference_on(pair, data);
        if (output.size() < 100) continue;
        const auto [lowest, highest] = std::ranges::minmax(output);
        const double low = pair.dtype == DataType::u8 ? 0 : -128;
        clamped += static_cast<double>(
            std::ranges::count_if(output, [=](double y) { return y == low || y == low + 255; }));
        all += static_cast<double>(output.size());
        narrow += highest - lowest < 60;
    }
    CHECK(clamped < all / 2);
    CHECK(narrow <= 5);
}

TEST_CASE("verification data: NaN is in the padding channels only, and the seed decides") {
    const auto pair = ConvPair::parse("1x11x3x4:dw3:conv1o5+sum(2)");
    ConvPair blocked = *pair;
    blocked.layout = Layout::nchw8c;
    const Problem problem = *make_problem(blocked);
    const VerificationData data = make_verification_data(problem, DataKind::random, 8);
    const auto is_nan = [](float value) {
        return std::isnan(value);
    };
    CHECK(std::ranges::count_if(data.input, is_nan) == 5 * 12);
    CHECK(std::ranges::count_if(data.residual[1], is_nan) == 6 * 12);
    CHECK(data.stages[0].weights == make_verification_data(problem, DataKind::random, 8).stages[0].weights);
    CHECK(data.stages[0].weights != make_verification_data(problem, DataKind::random, 9).stages[0].weights);
    CHECK_FALSE(data.exact);
}

TEST_CASE(
    "verification: an error before a clamp grows by the slopes behind it, and so does what is accepted") {
    const std::vector<PostOp> ops = {{.kind = PostOpKind::clip, .alpha = -0.5f, .beta = 0},
                                     {.kind = PostOpKind::leaky, .alpha = 2}};
    CHECK(steepest_slope(ops, {}) == 2);
    ConvChain chain = *ConvChain::parse("1x8x6x6:conv1o16+bias+clip(-0.5,0)");
    const VerificationData data = make_verification_data(*make_problem(chain), DataKind::random, 1);
    const auto magnitude = [&](const ConvChain& of) {
        const auto expected = reference_of(of, data);
        REQUIRE(expected.ok());
        return magnitudes_of(of, *make_problem(of), data, *expected)->output;
    };
    const double clipped = magnitude(chain);
    CHECK(clipped > 0.5);
    chain.conv(0) = chain.conv(0).with(PostOpKind::leaky, 2);
    CHECK(magnitude(chain) == doctest::Approx(2 * clipped));
}

TEST_CASE("verification: what an earlier stage bounds hands the errors of its large sums on") {
    tandem::Context context;
    for (const char* text : {"1x32x9x28:conv1x7o32+bias+relu6:dw3/nhwc/f32/fast",
                             "1x32x9x7:conv1x7o33+bias+relu6:dw3+bias/nhwc/f32/fast",
                             "2x192x28x10:conv3o40+bias+relu6:dw3/nhwc/f32/fast"}) {
        for (const std::uint64_t seed : {8, 71, 89}) {
            const auto report = verify(context, *ConvChain::parse(text), {.seed = seed});
            REQUIRE(report.ok());
            CHECK_MESSAGE(report->passed, report->message);
        }
    }
    const ConvChain bounded = *ConvChain::parse("1x32x9x9:conv3o32+relu6:dw3"),
                    free = *ConvChain::parse("1x32x9x9:conv3o32:dw3");
    const VerificationData data = make_verification_data(*make_problem(bounded), DataKind::integers, 1);
    const auto expected = reference_of(bounded, data), unbounded = reference_of(free, data);
    REQUIRE((expected.ok() && unbounded.ok()));
    CHECK(max_abs(*unbounded) > max_abs(*expected));
    CHECK(magnitudes_of(bounded, *make_problem(bounded), data, *expected)->output ==
          doctest::Approx(max_abs(*unbounded)));
}
