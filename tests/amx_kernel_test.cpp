// AMX kernels against the reference, on the hardware or behind the emulator.
#include "support/doctest.hpp"
#include <immintrin.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "core/plan/arithmetic.hpp"
#include "core/plan/choice.hpp"
#include "core/plan/k_blocks.hpp"
#include "core/plan/tiling.hpp"
#include "core/run/kernel_code.hpp"
#include "core/run/verification.hpp"
#include "support/forked_jobs.hpp"
#include "support/random_chain.hpp"
#include "tests/amx_emulator.hpp"

namespace {

using namespace tandem;
using test::AmxEmulator, test::AmxInstruction;

struct Case {
    const char* pair;
    DataType dtype;
    Layout layout = Layout::nchw16c;
    std::optional<DataType> intermediate{}, output{};
    Math math = Math::fast;
    std::optional<Dot> dot{};  // of dense stages, instead of the planner's
};

ConvPair pair_of(const Case& c) {
    ConvPair pair = *ConvPair::parse(c.pair);
    pair.dtype = c.dtype;
    pair.layout = c.layout;
    pair.math = c.math;
    pair.output_dtypes[0] = c.intermediate;
    pair.output_dtypes[1] = c.output;
    return pair;
}

// Of dense stages; K blocks where the stage and its dot can have them.
struct Blocks {
    int vectors = 2, channels = 0;
};

// A plan for AMX, whatever the host has: with `dot` in dense stages, else what is usual for the data type.
Plan amx_plan(const Problem& image, std::optional<Dot> dot, const Blocks& blocks) {
    Machine machine;
    machine.isa = Isa::amx;
    Plan plan = choose_plan(image, machine, 1);
    // Rules leave few channels to vectors.
    if (!dot && image.quantized()) dot = Dot::amx_int8;
    if (!dot && image.dtype == DataType::bf16) dot = Dot::amx_bf16;
    for (int i = 0; dot && i < image.stage_count; ++i) {
        if (image.stage(i).depthwise() || image.reads_planes(i)) continue;
        StagePlan& stage = plan.stage(i);
        stage.dot = *dot;
        stage.algorithm = Algorithm::direct;
        stage.pixel_pairs = false;
        stage.block_channels = !has_zero_point_sums(*dot) && uses_amx(*dot) &&
                                       blocks.channels <= max_block_channels(image.stage(i), *dot)
                                   ? blocks.channels
                                   : 0;
        stage.block_vectors = blocks.vectors;
        set_amx_shape(stage);
    }
    return plan;
}

// Dispatch would refuse it where the host has none.
Result<Kernel> amx_kernel(const Problem& problem, std::optional<Dot> dot, const Blocks& blocks) {
    Problem image = problem;
    image.input.n = 1;
    const Plan plan = amx_plan(image, dot, blocks);
    if (Status status = check_plan(image, plan); !status) return status.error();
    REQUIRE(uses_amx(image, plan));
    auto code = KernelCode::create(image, plan, "a test", {});
    if (!code) return code.error();
    return Kernel(KernelImpl::create(problem, std::move(*code)));
}

void check(const ConvPair& pair, std::optional<Dot> dot, DataKind data, const Blocks& blocks = {}) {
    CAPTURE(to_string(pair));
    CAPTURE(blocks.vectors);
    CAPTURE(blocks.channels);
    const Result<Kernel> kernel = amx_kernel(*make_problem(pair), dot, blocks);
    REQUIRE_MESSAGE(kernel.ok(), (kernel ? "" : kernel.error().message));
    Context context;
    VerifyOptions options;
    options.kernel = *kernel;
    options.threads = 2;
    options.data = data;
    const Result<VerifyReport> report = verify(context, pair, options);
    REQUIRE_MESSAGE(report.ok(), (report ? "" : report.error().message));
    CHECK_MESSAGE(report->passed, report->message);
    CHECK(!AmxEmulator::tiles_configured());
}

// Errors of amx_x3 average out over a sum, and the planner takes it for 32 channels and more: post-ops make
// those of shorter sums exceed 1e-5.
bool has_short_sum(const Problem& problem) {
    for (int i = 0; i < problem.stage_count; ++i)
        if (!problem.stage(i).depthwise() && problem.stage(i).in_channels < 32) return true;
    return false;
}

// What AMX kernels have beside the instructions that the emulator runs.
bool host_has_vectors() {
    return !host_isas().empty() && has_vnni(host_isas().back()) && is_avx512(host_isas().back()) &&
           __builtin_cpu_supports("avx512vbmi");
}

}  // namespace

TEST_CASE("AMX kernels agree with the reference") {
    if (!host_has_vectors()) {
        MESSAGE("skipped: the code around the tiles needs avx512_vnni and VBMI");
        return;
    }
    MESSAGE((AmxEmulator::needed() ? "tiles by the emulator" : "tiles by this CPU"));
    const AmxEmulator emulator;
    AmxEmulator::reset_counts();
    using enum DataType;
    const Case cases[] = {
        {"1x64x6x6:dw3+bias+relu:conv1o32+bias", bf16},
        {"1x64x6x6:dw3+bias+relu:conv1o32+bias", u8},
        {"1x40x5x7:dw3s2+bias:conv1o20+bias+relu", bf16, Layout::nhwc},
        {"1x40x5x7:dw3s2+bias:conv1o20+bias+relu", s8, Layout::nhwc, u8, f32},
        {"2x17x5x19:conv3o37+bias+relu:conv1o19+bias", bf16, Layout::nhwc},
        {"2x17x5x19:conv3o37+bias+relu:conv1o19+bias", u8, Layout::nhwc, s8},
        {"1x20x7x7:conv3o70+relu:conv3o18s2+bias", bf16},
        {"1x20x7x7:conv3o70+relu:conv3o18s2+bias", s8, Layout::nchw16c, s8, u8},
        {"1x3x9x9:conv3o16s2p0x0x1x1+bias:dw3+bias+relu6", bf16, Layout::nhwc},
        {"1x3x9x9:conv3o16s2p0x0x1x1+bias:dw3+bias+relu6", u8, Layout::nhwc},
        {"1x65x4x4:conv1o130+bias+relu:conv3o17d2p2+sum", bf16},
        {"1x65x4x4:conv1o130+bias+relu:conv3o17d2p2+sum", u8},
        {"1x72x3x75:conv3o40+bias+relu:conv3o24+bias", bf16},
        {"1x40x5x7:dw3s2+bias:conv1o20+bias+relu", f32, Layout::nhwc, {}, {}, Math::fast, Dot::amx_x3},
        {"1x40x5x7:dw3s2+bias:conv1o20+bias+relu", f32, Layout::nhwc, {}, {}, Math::strict, Dot::amx_x6},
        {"1x40x5x7:dw3s2+bias:conv1o20+bias+relu", f32, Layout::nhwc, {}, {}, Math::bf16},
        {"2x17x5x19:conv3o37+bias+relu:conv3o19s2+bias", f32, Layout::nhwc, {}, {}, Math::fast, Dot::amx_x3},
        {"2x17x5x19:conv3o37+bias+relu:conv3o19s2+bias",
         f32,
         Layout::nchw16c,
         {},
         {},
         Math::strict,
         Dot::amx_x6},
        {"1x64x4x4:conv1o64+bias+relu:dw3", f32, Layout::nchw16c, {}, {}, Math::fast},
    };
    for (const Case& c : cases)
        for (const DataKind data : {DataKind::integers, DataKind::random})
            for (const Blocks& blocks : {Blocks{2, 0}, Blocks{1, 32}})
                check(pair_of(c), c.dot, data, blocks);
    if (AmxEmulator::needed()) {
        CHECK(AmxEmulator::executed(AmxInstruction::tdpbf16ps) > 0);
        CHECK(AmxEmulator::executed(AmxInstruction::tdpbusd) > 0);
    }
}

TEST_CASE("AMX kernels of random pairs") {
    if (!host_has_vectors()) return;
    const AmxEmulator emulator;
    std::mt19937_64 engine(1);
    const bool fast = !AmxEmulator::needed() && !test::sanitized;
    const int count = test::sanitized ? 5 : fast ? 200 : 25;
    const double max_flops = fast ? 2e6 : 2e5;
    for (const auto& [dtype, dot] :
         {std::pair{DataType::bf16, std::optional<Dot>()}, std::pair{DataType::u8, std::optional<Dot>()},
          std::pair{DataType::s8, std::optional<Dot>()}, std::pair{DataType::f32, std::optional(Dot::amx_x3)},
          std::pair{DataType::f32, std::optional(Dot::amx_x6)}}) {
        for (int i = 0; i < count;) {
            ConvPair pair = test::random_pair(engine, {.max_flops = max_flops,
                                                       .exact_post_ops = i % 2 == 0,
                                                       .dtype = dtype,
                                                       .views = 3,
                                                       .input_sums = 4});
            const Problem problem = *make_problem(pair);
            const auto may_use_amx = [&](int stage) {
                return !problem.stage(stage).depthwise() && !problem.reads_planes(stage);
            };
            if (problem.layout == Layout::nchw8c || (!may_use_amx(0) && !may_use_amx(1))) continue;
            const bool random = i % 2 == 1;
            if (random && dot == Dot::amx_x3 && has_short_sum(*make_problem(pair))) continue;
            if (dtype == DataType::f32) pair.math = dot == Dot::amx_x3 ? Math::fast : Math::strict;
            const Blocks blocks{.vectors = 1 + i / 2 % 2, .channels = 32 * (i / 4 % 3)};
            check(pair, dot, random ? DataKind::random : DataKind::integers, blocks);
            ++i;
        }
    }
}

namespace {

// A 1x1 convolution in split operands.
struct SplitCase {
    const char* data;
    std::function<float(std::mt19937_64&, int)> pixel, weight;  // of input channel
};

std::vector<SplitCase> split_cases() {
    const auto normal = [](std::mt19937_64& engine, int) {
        return std::normal_distribution<float>()(engine);
    };
    const auto spread = [normal](std::mt19937_64& engine, int c) {
        return std::ldexp(normal(engine, c), std::uniform_int_distribution(-30, 30)(engine));
    };
    const auto scaled = [normal](int exponent) {
        return [=](std::mt19937_64& engine, int c) {
            return std::ldexp(normal(engine, c), exponent);
        };
    };
    return {
        {"normal", normal, normal},
        {"normal, after ReLU",
         [=](std::mt19937_64& engine, int c) { return std::max(0.0f, normal(engine, c)); }, normal},
        {"exponents spread over 2^60", spread, spread},
        {"terms that cancel",
         [=](std::mt19937_64& engine, int c) { return c % 2 == 0 ? 1000.0f : -1000.0f + normal(engine, c); },
         [](std::mt19937_64&, int) {
             return 1.0f;
         }},
        {"ties of bf16",
         [](std::mt19937_64& engine, int) { return 1.0f + 0x1p-8f * static_cast<float>(engine() % 8); },
         normal},
        {"parts below the normal numbers", scaled(-118), normal},
        {"denormal", scaled(-130), normal},
        {"large", scaled(60), scaled(60)},
    };
}

struct SplitData {
    std::int64_t pixels, inputs, outputs;
    std::vector<float> x, w, y;
};

// Runs `kernel` twice: under an MXCSR of the caller's that rounds up, which has to make no difference and
// to be still there.
void run_split(const Kernel& kernel, SplitData& data) {
    StageWeights stage;
    stage.weights = data.w;
    const auto weights = kernel.pack(std::span(&stage, 1));
    REQUIRE(weights.ok());
    constexpr unsigned flags = 0x3f;  // what arithmetic sets
    const unsigned before = _mm_getcsr() & ~flags, upwards = before | _MM_ROUND_UP;
    std::vector<float> rounded_up;
    for (const unsigned mode : {upwards, before}) {
        data.y.assign(static_cast<std::size_t>(data.pixels * data.outputs), 0);
        _mm_setcsr(mode);
        const Status status = kernel({.input = data.x.data(), .output = data.y.data(), .weights = &*weights});
        const unsigned after = _mm_getcsr() & ~flags;
        _mm_setcsr(before);
        REQUIRE(status.ok());
        CHECK(after == mode);
        if (mode == upwards) rounded_up = data.y;
    }
    CHECK(std::memcmp(rounded_up.data(), data.y.data(), data.y.size() * sizeof(float)) == 0);
}

// The most that an output may be away from the exact sum: what the products left out come to, what adding
// up in f32 loses, and for every operand below the normal numbers of bf16, or that has such parts, those.
double split_bound(Dot dot, std::int64_t inputs, double products, double operands) {
    const double left_out = dot == Dot::amx_x3 ? 3 * 0x1p-16 : 0x1p-22,
                 additions = static_cast<double>(inputs * (dot == Dot::amx_x3 ? 3 : 6)) * 0x1p-24;
    return (left_out + additions) * products + 0x1p-125 * operands + 0x1p-125;
}

void check_split(const Kernel& kernel, Dot dot, SplitData& data) {
    run_split(kernel, data);
    for (std::int64_t p = 0; p < data.pixels; ++p) {
        for (std::int64_t o = 0; o < data.outputs; ++o) {
            double sum = 0, products = 0, operands = 0;
            for (std::int64_t c = 0; c < data.inputs; ++c) {
                const double x = data.x[static_cast<std::size_t>(p * data.inputs + c)],
                             w = data.w[static_cast<std::size_t>(o * data.inputs + c)];
                sum += x * w;
                products += std::abs(x * w);
                operands += std::abs(x) + std::abs(w);
            }
            const double error = std::abs(data.y[static_cast<std::size_t>(p * data.outputs + o)] - sum);
            if (!(error <= split_bound(dot, data.inputs, products, operands))) {
                FAIL_CHECK("pixel " << p << ", output " << o << ": error " << error << ", products "
                                    << products);
                return;
            }
        }
    }
}

}  // namespace

TEST_CASE(
    "AMX: sums of split operands stay within their bound, element by element, whatever the data and the "
    "caller's MXCSR") {
    if (!host_has_vectors()) return;
    const AmxEmulator emulator;
    ConvChain single = *ConvChain::parse("1x72x3x7:conv1o24");
    single.layout = Layout::nhwc;
    std::mt19937_64 engine(1);
    for (const Dot dot : {Dot::amx_x3, Dot::amx_x6}) {
        single.math = dot == Dot::amx_x3 ? Math::fast : Math::strict;
        const Result<Kernel> kernel = amx_kernel(*make_problem(single), dot, {});
        REQUIRE_MESSAGE(kernel.ok(), (kernel ? "" : kernel.error().message));
        for (const SplitCase& c : split_cases()) {
            CAPTURE(to_string(dot));
            CAPTURE(c.data);
            SplitData data{21, 72, 24, {}, {}, {}};
            for (std::int64_t i = 0; i < data.pixels * data.inputs; ++i)
                data.x.push_back(c.pixel(engine, static_cast<int>(i % data.inputs)));
            for (std::int64_t i = 0; i < data.outputs * data.inputs; ++i)
                data.w.push_back(c.weight(engine, static_cast<int>(i % data.inputs)));
            check_split(*kernel, dot, data);
        }
        for (const float value :
             {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
            SplitData data{21, 72, 24, std::vector<float>(21 * 72, 1.0f), std::vector<float>(24 * 72, 1.0f),
                           {}};
            data.x[5 * 72 + 3] = value;
            run_split(*kernel, data);
            for (std::int64_t i = 0; i < 21 * 24; ++i)
                CHECK(std::isfinite(data.y[static_cast<std::size_t>(i)]) == (i / 24 != 5));
        }
    }
    CHECK(!AmxEmulator::tiles_configured());
}
