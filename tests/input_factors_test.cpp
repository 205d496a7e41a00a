// Inputs with factors: every kernel equals, to the bit, the same kernel on an input that was multiplied
// beforehand.
#include "support/doctest.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "core/plan/machine.hpp"
#include "core/plan/plan.hpp"
#include "core/plan/problem.hpp"
#include "support/forked_jobs.hpp"
#include "support/guarded_call.hpp"
#include "support/verify_job.hpp"
#include "tandem/context.hpp"
#include "tandem/thread_pool.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

constexpr std::array chains{
    "1x144x9x9:dw3+bias+relu6:conv1o24+bias",
    "3x17x6x7:dw5s2+bias:conv1o20+bias+relu",
    "2x33x7x5:conv1o40+bias+relu:dw3+bias+sum",
    "2x20x8x9:conv3o24s2p1+bias:conv3o17+bias",
    "1x64x14x14:conv3o64+bias+relu:conv1o32+bias",
    "2x8x5x6:dw3m2p7+bias:conv1o9",
    "1x7x4x30:dw15x3+bias:dw3s2+bias",
    "1x3x9x11:conv11o16s4p2+relu:conv3o16p4",
    "2x40x7x6:conv1o24+bias+swish",
    "2x24x9x8:conv1o48+bias+relu6:dw3+bias+relu6:conv1o24+bias",
    "2x19x8x7:dw3+bias:conv1o33+relu:dw5s2:conv3o18+bias",
};

// The residual is the input as it is passed.
constexpr std::array summing_chains{
    "2x24x9x8:conv1o48+bias+relu6:dw3+bias+relu6:conv1o24+bias+sum(in)",
    "2x19x6x7:dw3+bias+sum(in)+relu",
    "1x40x7x9:conv3o40+sum(in):dw5+bias:conv1o40+sum(in)",
};

struct Case {
    ConvChain chain;
    Isa isa;
};

/// In every type and layout, and with gaps between the input's pixels and rows.
void add_cases(const char* text, std::vector<Case>& cases) {
    for (const DataType dtype : {DataType::f32, DataType::bf16, DataType::f16}) {
        for (const Layout layout : {Layout::nhwc, Layout::nchw16c, Layout::nchw8c}) {
            for (const bool gaps : {false, true}) {
                ConvChain chain = *ConvChain::parse(text);
                chain.dtype = dtype;
                chain.layout = layout;
                chain.input.factors = true;
                if (gaps) chain.input_view = TensorView(layout, 160, 160 * (chain.input.w + 1));
                for (const Isa isa : host_isas(dtype, chain.math))
                    cases.push_back({chain, isa});
            }
        }
    }
}

std::vector<const char*> all_chains() {
    std::vector<const char*> all(chains.begin(), chains.end());
    all.insert(all.end(), summing_chains.begin(), summing_chains.end());
    return all;
}

std::vector<Case> all_cases() {
    std::vector<Case> cases;
    for (const char* text : all_chains())
        add_cases(text, cases);
    return cases;
}

Result<std::vector<float>> output_of(const Result<Kernel>& kernel, const Problem& problem,
                                     const VerificationData& data) {
    if (!kernel) return kernel.error();
    GuardedCall call(problem, *kernel, data);
    call.clear();
    for (int part = 0; part < 2; ++part)
        if (const Status status = call.run(part, 2); !status) return status.error();
    return call.output();
}

Result<std::vector<float>> output_of(const ConvChain& chain, Isa isa, const VerificationData& data) {
    Context context;
    return output_of(context.dispatch(chain, {.isa = isa, .threads = 2}), *make_problem(chain), data);
}

/// The plan with nothing but a stored tensor after stage i.
Plan stored_after(const Problem& problem, Plan plan, int i) {
    const Stage& stage = problem.stage(i);
    plan.edges.fill(Edge::recompute);
    plan.edge(i) = Edge::stored;
    plan.stored[static_cast<std::size_t>(i)] = {
        .tile_h = static_cast<int>(std::min<std::int64_t>(2, stage.out_h)),
        .tile_w = static_cast<int>(stage.out_w)};
    StagePlan& next = plan.stage(i + 1);
    if (std::exchange(next.pixel_pairs, false)) next.block_pixels = 6;  // pairs lie in scratch only
    return plan;
}

/// What the factors make of the input, rounded to its type as a separate multiplication would.
void multiply(const Problem& problem, VerificationData& data) {
    const TensorShape shape = problem.input_shape();
    for (std::int64_t n = 0; n < shape.n; ++n)
        for (std::int64_t c = 0; c < shape.c; ++c)
            for (std::int64_t y = 0; y < shape.h; ++y)
                for (std::int64_t x = 0; x < shape.w; ++x) {
                    float& value = data.input[static_cast<std::size_t>(
                        element_index(shape, problem.input_view, n, c, y, x))];
                    value = rounded(problem.dtype,
                                    value * data.input_factors[static_cast<std::size_t>(n * shape.c + c)]);
                }
    data.input_factors.clear();
}

/// The chain without factors, its residual that was its input a tensor of its own.
ConvChain without_factors(ConvChain chain, const Problem& problem, VerificationData& data) {
    chain.input.factors = false;
    for (int i = 0; i < problem.stage_count; ++i) {
        if (!problem.stage(i).sums_input()) continue;
        for (PostOp& op : chain.conv(i).post_ops)
            op.of_input = false;
        chain.residual_views[static_cast<std::size_t>(i)] = problem.input_view;
        data.residual[static_cast<std::size_t>(i)] = data.input;
    }
    return chain;
}

std::string compare(const Case& c) {
    const Problem problem = *make_problem(c.chain);
    VerificationData data = make_verification_data(problem, DataKind::random, 3);
    const auto multiplied_by_kernel = output_of(c.chain, c.isa, data);
    if (!multiplied_by_kernel) return multiplied_by_kernel.error().message;
    const ConvChain plain = without_factors(c.chain, problem, data);
    multiply(problem, data);
    const auto multiplied_before = output_of(plain, c.isa, data);
    if (!multiplied_before) return multiplied_before.error().message;
    return bitwise_difference(*multiplied_by_kernel, *multiplied_before);
}

/// With the tensor after each stage stored in turn, in parts and by a pool.
void check_stored(const ConvChain& chain, Isa isa, ThreadPool& pool) {
    const Problem problem = *make_problem(chain);
    const VerificationData data = make_verification_data(problem, DataKind::random, 5);
    VerificationData multiplied = data;
    const ConvChain plain = without_factors(chain, problem, multiplied);
    multiply(problem, multiplied);
    Context context;
    const Kernel own = *context.dispatch(chain, {.isa = isa});
    for (int i = 0; i + 1 < problem.stage_count; ++i) {
        CAPTURE(i);
        const auto plan = std::make_shared<const Plan>(stored_after(problem, own.plan(), i));
        const auto expected =
            output_of(context.dispatch(plain, {.plan = plan}), *make_problem(plain), multiplied);
        const Result<Kernel> kernel = context.dispatch(chain, {.plan = plan});
        const auto in_parts = output_of(kernel, problem, data);
        REQUIRE(expected.ok());
        REQUIRE(in_parts.ok());
        CHECK(bitwise_difference(*expected, *in_parts) == "");
        GuardedCall call(problem, *kernel, data);
        call.clear();
        CHECK(pool.run(*kernel, call.args()).ok());
        CHECK(bitwise_difference(*expected, call.output()) == "");
    }
}

}  // namespace

TEST_CASE("input factors: as if the input had been multiplied beforehand") {
    const std::vector<Case> cases = all_cases();
    const auto at = [&](std::int64_t i) {
        return cases[static_cast<std::size_t>(i)];
    };
    for (const JobFailure& failure : run_forked(static_cast<std::int64_t>(cases.size()), 40,
                                                [&](std::int64_t i) { return compare(at(i)); }))
        FAIL_CHECK(make_problem(at(failure.index).chain)->name()
                   << " on " << to_string(at(failure.index).isa) << ": " << failure.message);
}

TEST_CASE("input factors: with a stored tensor after any stage") {
    Result<ThreadPool> pool = ThreadPool::create({.threads = 2});
    REQUIRE(pool.ok());
    for (const char* text : all_chains()) {
        for (const Layout layout : {Layout::nhwc, Layout::nchw16c}) {
            ConvChain chain = *ConvChain::parse(text);
            chain.layout = layout;
            chain.input.factors = true;
            for (const Isa isa : host_isas(DataType::f32)) {
                CAPTURE(make_problem(chain)->name());
                CAPTURE(to_string(isa));
                check_stored(chain, isa, *pool);
            }
        }
    }
}

TEST_CASE("input factors: kernels agree with the reference, in every math mode") {
    for (const char* text : all_chains()) {
        for (const Math math : {Math::fast, Math::strict, Math::bf16}) {
            ConvChain chain = *ConvChain::parse(text);
            chain.math = math;
            chain.input.factors = true;
            for (const Isa isa : host_isas(DataType::f32, math)) {
                for (const DataKind data : {DataKind::integers, DataKind::random}) {
                    const std::string failure =
                        verify_job(chain, {.dispatch = {.isa = isa}, .threads = 2, .data = data});
                    CHECK_MESSAGE(failure.empty(), failure);
                }
            }
        }
    }
}

TEST_CASE("input factors: they multiply what the first stage reads, not what +sum(in) adds") {
    const ConvChain chain = *ConvChain::parse("2x24x5x4*:conv1o32:dw3:conv1o24+sum(in)");
    const Problem problem = *make_problem(chain);
    VerificationData data = make_verification_data(problem, DataKind::random, 7);
    std::ranges::fill(data.input_factors, 0.0f);
    const std::vector<float> input = data.input;
    Context context;
    const auto output = output_of(context.dispatch(chain), problem, data);
    REQUIRE(output.ok());
    CHECK(*output == input);
}

TEST_CASE("input factors: a call without them, or with too few") {
    const ConvChain chain = *ConvChain::parse("2x8x5x5*:dw3:conv1o8");
    Context context;
    const Kernel kernel = *context.dispatch(chain);
    CHECK(kernel.name().starts_with("2x8x5x5*:dw3:conv1o8/"));
    GuardedCall call(*make_problem(chain), kernel);
    Args args = call.args();
    CHECK(kernel(args).ok());
    args.input_factors_bytes = 63;
    CHECK(kernel(args).error().message == "input_factors_bytes is 63; at least 64 are needed.");
    args.input_factors_bytes = 64;
    CHECK(kernel(args).ok());
    args.input_factors = static_cast<const float*>(args.output) + 3;
    CHECK(kernel(args).error().message.starts_with("input_factors is at "));
    CHECK(kernel(args).error().message.find("overlaps the output's 1600 bytes") != std::string::npos);
    args.input_factors = nullptr;
    CHECK(kernel(args).error().message == "input_factors is null; a buffer of 64 bytes is needed.");
}

TEST_CASE("input factors: explain() says where they go, LIBXSMM's kernels take none") {
    const ConvChain chain = *ConvChain::parse("1x16x8x8*:conv1o16:conv1o16");
    Context context;
    const Kernel kernel = *context.dispatch(chain);
    CHECK(kernel.explain().find("multiplied by the factors of their image") != std::string::npos);
    const auto plan = std::make_shared<const Plan>(with_libxsmm(kernel.plan()));
    const auto refused = context.dispatch(chain, {.plan = plan});
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().message.find("tandem is accepted for an input with factors") != std::string::npos);
}
