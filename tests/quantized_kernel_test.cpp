// Quantised kernels to the bit: depthwise stages by dot int8 and by f32 at the edges of images, extreme
// zero points, and outputs that leave every range.
#include "support/doctest.hpp"

#include <cmath>
#include <memory>

#include <fmt/format.h>

#include "core/plan/arithmetic.hpp"
#include "core/plan/choice.hpp"
#include "core/plan/tiling.hpp"
#include "support/forked_jobs.hpp"
#include "support/guarded_call.hpp"
#include "tandem/context.hpp"
#include "tandem/reference.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

/// The planner's plan with another dot instruction in every depthwise stage; null where it is not accepted.
std::shared_ptr<const Plan> plan_with(const Problem& problem, Isa isa, Dot dot) {
    Plan plan = choose_plan(problem, *host_machine(isa), 1);
    for (int i = 0; i < problem.stage_count; ++i) {
        StagePlan& stage = plan.stage(i);
        if (!problem.stage(i).depthwise()) continue;
        stage.dot = dot;
        stage.block_vectors = depthwise_vectors(problem, plan, i);
        stage.block_pixels =
            max_depthwise_pixels(problem.stage(i), isa, dot, stage.block_rows, stage.block_vectors);
    }
    return check_plan(problem, plan) ? std::make_shared<const Plan>(plan) : nullptr;
}

/// Where a kernel's output differs from the reference's, as text; empty if nowhere.
std::string compare(Context& context, const ConvChain& chain, Isa isa, Dot dot,
                    const VerificationData& data) {
    const Problem problem = *make_problem(chain);
    for (int i = 0; i < problem.stage_count; ++i)
        if (problem.stage(i).depthwise() && !dot_applies(problem, isa, i, dot)) return {};
    const auto plan = plan_with(problem, isa, dot);
    if (!plan) return "the plan is rejected";
    const Result<Kernel> kernel = context.dispatch(chain, {.plan = plan});
    if (!kernel) return kernel.error().message;
    GuardedCall call(problem, *kernel, data);
    call.clear();
    if (const Status status = call.run(); !status) return status.error().message;
    const std::vector<StageWeights> stages = data.views(problem.stage_count);
    const auto expected = reference(chain, data.reference_args(stages));
    if (!expected) return expected.error().message;
    std::vector<float> integers(expected->begin(), expected->end());
    for (float& integer : integers)
        integer += 0.0f;  // -0 is 0
    const std::string difference = bitwise_difference(call.output(), integers);
    return difference.empty() ? "" : fmt::format("{}: {}", to_string(*plan), difference);
}

int lowest(DataType type) { return type == DataType::u8 ? 0 : -128; }

/// A convolution of six rows of `width` pixels, for every zero point at an end, and one between.
std::string check_windows(const std::string& conv, std::int64_t width) {
    Context context;
    for (const std::int64_t channels : {5, 16, 24, 69}) {
        ConvChain single = *ConvChain::parse(fmt::format("1x{}x6x{}:{}+bias+relu6", channels, width, conv));
        for (const Layout layout : {Layout::nhwc, Layout::nchw16c, Layout::nchw8c}) {
            for (const DataType dtype : {DataType::u8, DataType::s8}) {
                single.layout = layout;
                single.dtype = dtype;
                const Result<Problem> problem = make_problem(single);
                if (!problem) continue;  // no pixels are left
                for (const int step : {0, 100, 255}) {
                    VerificationData data = make_verification_data(*problem, DataKind::integers,
                                                                   static_cast<std::uint64_t>(width + step));
                    data.input_quantization.zero_point = data.stages[0].output.zero_point =
                        lowest(dtype) + step;
                    for (const Isa isa : host_isas(dtype)) {
                        for (const Dot dot : {Dot::int8, Dot::f32}) {
                            const std::string failure = compare(context, single, isa, dot, data);
                            if (!failure.empty())
                                return fmt::format("{} of {} channels, {} {}, zero point {}: {}", conv,
                                                   channels, to_string(layout), to_string(dtype),
                                                   lowest(dtype) + step, failure);
                        }
                    }
                }
            }
        }
    }
    return {};
}

}  // namespace

TEST_CASE("quantised kernels: depthwise stages on rows of one to nine pixels, all paddings and zero points") {
    constexpr const char* convs[] = {"dw3",           "dw3s2",   "dw3p2x0x1x2", "dw3s2p0x1x2x0", "dw5",
                                     "dw5s2p4x3x0x1", "dw7",     "dw7s2",       "dw7p6x5x6x6",   "dw3x1",
                                     "dw1x6",         "dw2x4s2", "dw3d2x1"};
    constexpr std::int64_t widths = 9;
    const auto failures = run_forked(std::int64_t{std::size(convs)} * widths, 13, [&](std::int64_t i) {
        return check_windows(convs[i / widths], 1 + i % widths);
    });
    for (const JobFailure& failure : failures)
        FAIL_CHECK(failure.message);
}

TEST_CASE("quantised kernels: outputs beyond every integer, infinities and NaN become the bounds") {
    constexpr float infinity = HUGE_VALF;
    Context context;
    for (const char* text :
         {"1x40x5x6:dw3+bias+relu6:conv1o24+bias", "1x40x5x6:dw3+bias:conv1o40+bias+clip(-3,0)",
          "1x24x5x6:conv1o40+bias+relu:dw3+bias", "1x24x5x6:dw3+bias+sum:conv3o40+bias+sum+relu"}) {
        for (const Layout layout : {Layout::nhwc, Layout::nchw16c}) {
            for (const DataType dtype : {DataType::u8, DataType::s8}) {
                ConvPair pair = *ConvPair::parse(text);
                pair.layout = layout;
                pair.dtype = dtype;
                VerificationData data = make_verification_data(*make_problem(pair), DataKind::random, 3);
                for (std::size_t i = 0; i < 2; ++i) {
                    auto& bias = data.stages[i].bias;
                    for (std::size_t c = 0; c < bias.size(); ++c)
                        bias[c] +=
                            std::array{0.0f, 3e38f, infinity, -3e38f, -infinity, std::nanf("")}[c / 2 % 6];
                }
                for (const float scale : {1e-39f, 1e-12f, 1.0f, 1e30f}) {
                    for (const bool finite : {false, true}) {
                        VerificationData some = data;
                        some.stages[0].output.scale = some.stages[1].output.scale = scale;
                        if (finite)
                            for (auto& stage : some.stages)
                                stage.bias.assign(stage.bias.size(), 0.25f);
                        for (const Isa isa : host_isas(dtype))
                            for (const Dot dot : {Dot::int8, Dot::f32}) {
                                const std::string failure = compare(context, pair, isa, dot, some);
                                CHECK_MESSAGE(failure.empty(),
                                              fmt::format("{} {} {}, scale {}: {}", text, to_string(layout),
                                                          to_string(dtype), scale, failure));
                            }
                    }
                }
            }
        }
    }
}

TEST_CASE("quantised kernels: real numbers beyond f32 saturate at their own end") {
    Context context;
    for (const char* text : {"1x32x1x4:conv1o16", "1x32x3x4:conv3o16+relu", "1x16x3x4:dw3"}) {
        for (const DataType dtype : {DataType::u8, DataType::s8}) {
            for (const std::int8_t weight : {127, -127}) {
                ConvChain single = *ConvChain::parse(text);
                single.dtype = dtype;
                const Problem problem = *make_problem(single);
                VerificationData data = make_verification_data(problem, DataKind::integers, 1);
                auto& stage = data.stages[0];
                std::ranges::fill(data.input, 127.0f);
                std::ranges::fill(stage.quantized_weights, weight);
                std::ranges::fill(stage.weight_scales, 1e30f);
                data.input_quantization = {1e4f, 0};
                stage.output = {3e38f, 0};
                for (const Isa isa : host_isas(dtype))
                    for (const Dot dot : {Dot::int8, Dot::f32}) {
                        const std::string failure = compare(context, single, isa, dot, data);
                        CHECK_MESSAGE(failure.empty(),
                                      fmt::format("{} {} weights {} {}: {}", text, to_string(dtype), weight,
                                                  to_string(isa), failure));
                    }
            }
        }
    }
}

TEST_CASE(
    "quantised kernels: dot int8 is the planner's choice for depthwise stages where it applies, and nowhere "
    "else") {
    Machine machine;
    const auto dot_of = [&](const char* text, DataType dtype, Isa isa, Layout layout = Layout::nhwc) {
        ConvChain single = *ConvChain::parse(text);
        single.dtype = dtype;
        single.layout = layout;
        machine.isa = isa;
        return choose_plan(*make_problem(single), machine, 1).stages[0].dot;
    };
    for (const char* text : {"1x32x9x9:dw3", "1x32x9x9:dw5s2", "1x32x9x9:dw7", "1x32x9x9:dw3d2x1"})
        CHECK(dot_of(text, DataType::u8, Isa::avx512_vnni) == Dot::int8);
    for (const char* text : {"1x32x9x9:dw3m2", "1x32x9x9:dw3d2", "1x32x9x9:dw3s3"})
        CHECK(dot_of(text, DataType::s8, Isa::avx512_vnni) == Dot::f32);
    CHECK(dot_of("1x32x9x9:dw3", DataType::u8, Isa::amx) == Dot::int8);
    for (const Isa isa : {Isa::avx2, Isa::avx2_vnni, Isa::avx512})
        CHECK(dot_of("1x32x9x9:dw3", DataType::u8, isa) == Dot::f32);
    CHECK(dot_of("1x32x9x9:dw3", DataType::u8, Isa::avx512_vnni, Layout::nchw8c) == Dot::f32);
    CHECK(dot_of("1x32x9x9:dw3", DataType::bf16, Isa::amx) == Dot::f32);
}
