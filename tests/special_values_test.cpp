// NaN, infinities, zeros of both signs, denormals and the largest numbers before every post-op, in every form
// that a kernel has: depthwise, dense by each dot instruction, Winograd, and row post-ops behind LIBXSMM, for
// every data type and ISA of the host, against the definition (docs/math-modes.md).
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "core/plan/arithmetic.hpp"
#include "core/plan/post_op_traits.hpp"
#include "core/plan/tiling.hpp"
#include "core/plan/winograd.hpp"
#include "core/run/libxsmm_backend.hpp"
#include "core/run/reference_chain.hpp"
#include "support/forked_jobs.hpp"
#include "support/guarded_call.hpp"
#include "tandem/context.hpp"
#include "tandem/reference.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

constexpr float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN(),
                largest = std::numeric_limits<float>::max(), denormal = 1e-40f;

constexpr std::array operands{nan,  inf,  -inf,  0.0f,  -0.0f, denormal, -denormal, largest, -largest,
                              1.0f, 0.3f, -0.3f, -3.0f, 6.5f,  -1e-20f,  -100.0f,   90.0f};
/// Numbers of a post-op's own tensor.
constexpr std::array parameters{0.25f, -2.0f, inf, -inf, nan, 0.0f, denormal, largest};

PostOp with_parameters(PostOpKind kind, float slope) {
    switch (traits(kind).parameters) {
        case PostOpParameters::slope: return {kind, slope};
        case PostOpParameters::bounds: return {kind, -1.25f, 3.5f};
        case PostOpParameters::none:
        case PostOpParameters::channels: break;
    }
    return {kind};
}

/// The op behind a bias that brings the operands; last, and not last.
std::vector<Conv> chains(const Conv& conv, PostOpKind kind) {
    const Conv bias = conv.with(PostOpKind::bias);
    if (kind == PostOpKind::bias) return {bias};
    std::vector<Conv> chains;
    const bool has_slope = traits(kind).parameters == PostOpParameters::slope;
    for (const float slope : has_slope ? std::vector{0.25f, 0.0f, -0.5f, 2.0f} : std::vector{0.0f}) {
        chains.push_back(bias.with(with_parameters(kind, slope)));
        if (kind != PostOpKind::scale) chains.push_back(chains.back().with(PostOpKind::scale));
    }
    return chains;
}

/// Zero products: outputs are what the post-ops make of the bias.
VerificationData special_data(const Problem& problem) {
    VerificationData data = make_verification_data(problem, DataKind::random, 1);
    auto& stage = data.stages[0];
    std::ranges::fill(data.input, static_cast<float>(problem.quantized() ? stage.input.zero_point : 0));
    for (std::size_t c = 0; c < stage.bias.size(); ++c)
        stage.bias[c] = operands[c % operands.size()];
    const auto vary = [](std::vector<float>& numbers) {
        for (std::size_t c = 0; c < numbers.size(); ++c)
            numbers[c] = parameters[c / operands.size() % parameters.size()];
    };
    const bool alone = problem.stage(0).conv.post_op_count == 2;
    vary(stage.prelu);
    if (alone)
        vary(stage.scale);
    else
        std::ranges::fill(stage.scale, 1.0f);
    for (std::size_t i = 0; i < data.residual[0].size() && !problem.quantized(); ++i)
        data.residual[0][i] = rounded(problem.dtype, parameters[i % parameters.size()]);
    return data;
}

/// The same with zeros for denormals.
VerificationData flushed(VerificationData data) {
    auto& stage = data.stages[0];
    for (std::vector<float>* numbers : {&stage.bias, &stage.prelu, &stage.scale, &data.residual[0]})
        for (float& number : *numbers)
            if (std::fpclassify(number) == FP_SUBNORMAL) number = 0;
    return data;
}

Result<std::vector<double>> definition(const SingleConv& single, const VerificationData& data) {
    const std::vector<StageWeights> stages{data.stages[0].view()};
    return reference(single, {.input = data.input, .stages = stages, .residual = {data.residual[0], {}}});
}

/// Every way to compute the only stage.
std::vector<Plan> plans(const Problem& problem, Isa isa) {
    std::vector<Plan> plans;
    const Plan rules = rules_plan(problem, *host_machine(isa), 1);
    const auto add = [&](Plan plan) {
        while (!check_plan(problem, plan) && plan.stage(0).block_pixels > 1)
            --plan.stage(0).block_pixels;
        if (check_plan(problem, plan)) plans.push_back(plan);
    };
    for (const Dot dot : dots(problem, isa, 0)) {
        Plan plan = rules;
        plan.stage(0).algorithm = Algorithm::direct;
        plan.stage(0).dot = dot;
        if (uses_amx(dot)) set_amx_shape(plan.stage(0));
        add(plan);
    }
    for (const Algorithm algorithm : {Algorithm::winograd2, Algorithm::winograd4}) {
        if (!algorithm_applies(problem, isa, 0, algorithm)) continue;
        Plan plan = rules;
        plan.stage(0).algorithm = algorithm;
        plan.stage(0).dot = Dot::f32;
        add(plan);
    }
    const bool libxsmm_takes_it = libxsmm::available() && problem.dtype == DataType::f32;
    if (libxsmm_takes_it && !problem.stage(0).depthwise()) add(with_libxsmm(rules));
    return plans;
}

struct Agreement {
    bool exact;        // quantised, and no post-op is transcendental
    bool approximate;  // to 1e-6, besides the type's rounding
    bool flushes;      // denormals may count as zero
    double step;       // of the output's type
};

bool agrees(float y, double expected, const Agreement& agreement) {
    const auto rounded = static_cast<float>(expected);
    if (std::isnan(y) || std::isnan(rounded)) return std::isnan(y) && std::isnan(rounded);
    if (y == rounded) return true;
    if (agreement.exact || std::isinf(y) || std::isinf(rounded)) return false;
    const double smallest = std::numeric_limits<float>::min();
    if (agreement.flushes && std::abs(expected) <= smallest && std::abs(y) <= smallest) return true;
    return std::abs(y - expected) <=
           std::abs(expected) * agreement.step + (agreement.approximate ? 1e-6 : 0x1p-149);
}

Agreement agreement_of(const Problem& problem, const Plan& plan) {
    const auto chain = problem.stage(0).conv.chain();
    const bool approximate = std::ranges::any_of(
        chain, [](const PostOp& op) { return traits(op).function != PostOpClass::homogeneous; });
    const DataType type = problem.output_dtype(0);
    if (is_quantized(type) || problem.quantized())
        return {std::ranges::none_of(chain, transcendental), approximate, false,
                is_quantized(type) ? 1.0 : 0x1p-21};
    const Dot dot = plan.stage(0).dot;
    return {false, approximate, type != DataType::f32 || dot == Dot::bf16 || uses_amx(dot),
            type == DataType::f32   ? 0x1p-21
            : type == DataType::f16 ? 0x1p-9
                                    : 0x1p-6};
}

struct Expected {
    std::vector<double> outputs, without_denormals;
};

/// Where a kernel's outputs differ from the definition, as text; empty if nowhere.
std::string compare(Context& context, const SingleConv& single, const Problem& problem, const Plan& plan,
                    const VerificationData& data, const Expected& expected) {
    const Result<Kernel> kernel = context.dispatch(single, {.plan = std::make_shared<const Plan>(plan)});
    if (!kernel) return kernel.error().message;
    GuardedCall call(problem, *kernel, data);
    call.clear();
    if (const Status status = call.run(); !status) return status.error().message;
    const std::vector<float> output = call.output();
    const Agreement agreement = agreement_of(problem, plan);
    const TensorShape shape = problem.output_shape(0);
    for (std::int64_t c = 0; c < shape.c; ++c)
        for (std::int64_t y = 0; y < shape.h; ++y)
            for (std::int64_t x = 0; x < shape.w; ++x) {
                const auto at = static_cast<std::size_t>(element_index(shape, problem.layout, 0, c, y, x));
                if (agrees(output[at], expected.outputs[at], agreement)) continue;
                if (agreement.flushes && agrees(output[at], expected.without_denormals[at], agreement))
                    continue;
                return fmt::format("{}: channel {} of {}, a bias of {}: {} instead of {}", to_string(plan), c,
                                   shape.c, operands[static_cast<std::size_t>(c) % operands.size()],
                                   output[at], expected.outputs[at]);
            }
    return {};
}

/// One descriptor on every ISA and by every plan.
std::string check(Context& context, const SingleConv& single, int& kernels) {
    const Result<Problem> problem = make_problem(single);
    if (!problem) return problem.error().message;
    const VerificationData data = special_data(*problem);
    const auto expected = definition(single, data), without_denormals = definition(single, flushed(data));
    if (!expected) return expected.error().message;
    if (!without_denormals) return without_denormals.error().message;
    for (const Isa isa : host_isas(single.dtype)) {
        for (const Plan& plan : plans(*problem, isa)) {
            ++kernels;
            const std::string failure =
                compare(context, single, *problem, plan, data, {*expected, *without_denormals});
            if (!failure.empty())
                return fmt::format("{} {} {} math {}: {}", to_string(single), to_string(single.dtype),
                                   to_string(single.layout), to_string(single.math), failure);
        }
    }
    return {};
}

struct TypeAndMath {
    DataType dtype;
    Math math;
    std::optional<DataType> output{};
};
constexpr std::array types{
    TypeAndMath{DataType::f32, Math::fast},  TypeAndMath{DataType::f32, Math::bf16},
    TypeAndMath{DataType::bf16, Math::fast}, TypeAndMath{DataType::f16, Math::fast},
    TypeAndMath{DataType::f16, Math::f16},   TypeAndMath{DataType::u8, Math::fast},
    TypeAndMath{DataType::s8, Math::fast},   TypeAndMath{DataType::u8, Math::fast, DataType::f32}};

std::string check_kind(PostOpKind kind, const TypeAndMath& type, int& kernels) {
    Context context;
    constexpr std::int64_t channels = operands.size() * parameters.size();
    const Conv forms[] = {Conv::depthwise(3), Conv::dense(1, channels), Conv::dense(3, channels)};
    for (const Conv& form : forms) {
        for (const Conv& conv : chains(form, kind)) {
            for (const Layout layout : {Layout::nhwc, Layout::nchw16c}) {
                SingleConv single{.input = {1, form.kind == ConvKind::depthwise ? channels : 32, 4, 5},
                                  .conv = conv,
                                  .dtype = type.dtype,
                                  .layout = layout,
                                  .math = type.math,
                                  .output_dtype = type.output};
                std::string failure = check(context, single, kernels);
                if (!failure.empty()) return failure;
            }
        }
    }
    return {};
}

}  // namespace

TEST_CASE("special values: every post-op, type, ISA and kernel form follows the definition") {
    constexpr std::int64_t jobs = static_cast<std::int64_t>(types.size()) * post_op_kinds;
    const auto failures = run_forked(jobs, 13, [&](std::int64_t i) -> std::string {
        int kernels = 0;
        const std::string failure = check_kind(static_cast<PostOpKind>(i % post_op_kinds),
                                               types[static_cast<std::size_t>(i / post_op_kinds)], kernels);
        return failure.empty() && kernels < 12 ? fmt::format("only {} kernels ran", kernels) : failure;
    });
    for (const JobFailure& failure : failures)
        FAIL_CHECK(failure.message);
}

TEST_CASE("special values: bf16 numbers below 2^-126 count as they are or as zero, by the dot instruction") {
    Context context;
    SingleConv single = *SingleConv::parse("1x32x1x3:conv1o40");
    single.dtype = DataType::bf16;
    const Problem problem = *make_problem(single);
    constexpr float tiny = 0x1p-130f, huge = 0x1p100f;
    for (const bool tiny_weights : {false, true}) {
        VerificationData data = make_verification_data(problem, DataKind::random, 1);
        std::ranges::fill(data.input, tiny_weights ? huge : tiny);
        std::ranges::fill(data.stages[0].weights, 0.0f);
        for (std::size_t o = 0; o < 40; ++o)
            data.stages[0].weights[o * 32 + o % 32] = tiny_weights ? tiny : huge;
        for (const Isa isa : host_isas(DataType::bf16)) {
            for (const Plan& plan : plans(problem, isa)) {
                CAPTURE(to_string(plan));
                const auto kernel = context.dispatch(single, {.plan = std::make_shared<const Plan>(plan)});
                REQUIRE(kernel);
                GuardedCall call(problem, *kernel, data);
                call.clear();
                REQUIRE(call.run());
                const bool keeps = plan.stage(0).dot == Dot::f32;
                for (const float y : call.output())
                    CHECK((y == tiny * huge || (y == 0 && !keeps)));
            }
        }
    }
}

TEST_CASE("special values: the definition keeps NaN and has its limits at the infinities") {
    using enum PostOpKind;
    struct Limits {
        PostOp op;
        double at_minus_inf, at_plus_inf;
    };
    const double infinite = std::numeric_limits<double>::infinity();
    for (const Limits& limits : {Limits{{relu}, 0, infinite},
                                 {{relu6}, 0, 6},
                                 {{clip, -1, 2}, -1, 2},
                                 {{leaky, 0.5f}, -infinite, infinite},
                                 {{sigmoid}, 0, 1},
                                 {{PostOpKind::tanh}, -1, 1},
                                 {{swish}, 0, infinite},
                                 {{hsigmoid}, 0, 1},
                                 {{hswish}, 0, infinite},
                                 {{elu, 1.5f}, -1.5, infinite},
                                 {{gelu_erf}, 0, infinite},
                                 {{gelu_tanh}, 0, infinite},
                                 {{mish}, 0, infinite}}) {
        CAPTURE(to_string(limits.op.kind));
        CHECK(activate(limits.op, -infinite) == limits.at_minus_inf);
        CHECK(activate(limits.op, infinite) == limits.at_plus_inf);
        CHECK(std::isnan(activate(limits.op, std::nan(""))));
    }
}
