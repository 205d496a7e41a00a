// The same schedules with LIBXSMM's kernels doing the GEMM work: equal to the reference on integers, as
// Tandem's own code is.
#include "support/doctest.hpp"

#include <random>

#include "core/plan/tiling.hpp"
#include "core/run/libxsmm_backend.hpp"
#include "core/run/verification.hpp"
#include "support/random_chain.hpp"

using namespace tandem;

namespace {

void check_on_every_isa(const ConvChain& chain, const VerifyOptions& base = {}) {
    Context context;
    const auto resolved = make_problem(chain);
    REQUIRE_MESSAGE(resolved.ok(), resolved.error().message);
    const Problem& problem = *resolved;
    for (const Isa isa : host_isas(DataType::f32)) {
        VerifyOptions options = base;
        options.dispatch.plan =
            std::make_shared<Plan>(with_libxsmm(rules_plan(problem, *host_machine(isa), options.threads)));
        const auto report = verify(context, chain, options);
        CAPTURE(problem.name());
        CAPTURE(to_string(isa));
        REQUIRE_MESSAGE(report.ok(), report.error().message);
        CHECK_MESSAGE(report->passed, report->message);
    }
}

void check_text(const char* text, Layout layout, const VerifyOptions& options = {}) {
    auto chain = ConvChain::parse(text);
    REQUIRE_MESSAGE(chain.ok(), chain.error().message);
    chain->layout = layout;
    check_on_every_isa(*chain, options);
}

constexpr Layout layouts[] = {Layout::nhwc, Layout::nchw16c, Layout::nchw8c};

bool built_without() {
    if (!libxsmm::available()) MESSAGE("built without LIBXSMM: skipped");
    return !libxsmm::available();
}

}  // namespace

TEST_CASE("libxsmm: fused pairs equal the reference in every layout") {
    if (built_without()) return;
    for (const char* text : {
             "1x32x14x14:dw3+bias+relu6:conv1o64+bias+relu6",
             "2x19x13x9:dw3s2+bias+relu6:conv1o37+bias+relu6",
             "1x40x9x11:dw5s2:conv1o24+bias",
             "1x16x10x10:dw3m3:conv1o20+relu",
             "1x24x12x7:conv1o48+bias+relu:dw3s2+bias",
             "1x33x9x9:conv1o21+bias:conv1o50+bias+relu",
             "1x16x12x12:conv3o16+bias+relu:conv1o32+bias",
             "1x32x12x15:conv3o32+bias+relu:conv3o32+bias+relu",
             "1x7x13x11:conv3o9+bias+relu:conv3o10",
             "1x18x15x15:conv3o35s2+bias:conv3o17s2+bias+relu",
             "1x20x11x11:conv5o18d2+bias:conv3o20p0+relu6",
             "1x3x17x17:conv7o16s2+bias+relu:conv1o24",
             "1x12x9x9:dw3+bias:conv1o12+bias+sum",
             "1x20x8x8:conv1o40+bias+relu6+sum(13):conv3o33+bias+sum(7)",
             "1x9x6x6:conv3o70+bias+prelu+scale:conv1o70+scale+prelu",
             "1x8x3x4:conv3o8d3p4+bias:conv3o11p2+relu",
             "1x16x9x9:dw3:dw3",
         })
        for (const Layout layout : layouts)
            check_text(text, layout);
}

TEST_CASE("libxsmm: single convolutions equal the reference in every layout") {
    if (built_without()) return;
    for (const char* text :
         {"1x64x14x14:conv1o64+bias+relu", "1x21x9x9:conv1o13", "1x16x15x15:conv1o40s2+bias",
          "1x35x11x8:conv3o34+bias+relu6", "2x17x9x9:conv3o5s2+sum", "1x10x12x12:conv5o20d2+bias",
          "1x4x6x5:conv3o12p2x0x1x2+bias+relu"})
        for (const Layout layout : layouts)
            check_text(text, layout);
}

TEST_CASE("libxsmm: parts, and output channels split between them") {
    if (built_without()) return;
    for (const char* text :
         {"2x32x6x6:dw3+bias+relu6:conv1o160+bias+relu6", "1x24x7x7:conv3o32+bias:conv3o96+bias"})
        for (const Layout layout : layouts)
            check_text(text, layout, {.threads = 3});
}

TEST_CASE("libxsmm: random pairs equal the reference") {
    if (built_without()) return;
    std::mt19937_64 engine(20210);
    for (int i = 0; i < 60; ++i) {
        ConvPair pair = test::random_pair(
            engine, {.max_flops = 1e6, .exact_post_ops = true, .views = 3, .input_sums = 4});
        if (make_problem(pair)->writes_planes()) pair.output_view.reset();
        check_on_every_isa(pair);
    }
}

TEST_CASE("libxsmm: its kernels store sums before a residual is read, which so may not be the output") {
    if (built_without()) return;
    const ConvChain chain = *ConvChain::parse("1x16x9x9:dw3:conv1o16+sum");
    const auto plan = std::make_shared<Plan>(
        with_libxsmm(rules_plan(*make_problem(chain), *host_machine(host_isas(DataType::f32).back()), 1)));
    Context context;
    const auto report = verify(context, chain, {.dispatch = {.plan = plan}, .in_place = true});
    REQUIRE_FALSE(report.ok());
    CHECK(report.error().message.find("residual[1] is at") != std::string::npos);
    CHECK(verify(context, chain, {.in_place = true})->passed);
}

TEST_CASE("libxsmm: activations that are not zero at zero leave padding channels zero") {
    if (built_without()) return;
    for (const Layout layout : layouts)
        check_text("1x19x7x7:dw3+sigmoid:conv1o21+bias+sigmoid", layout, {.data = DataKind::random});
}

TEST_CASE("libxsmm: explain() says which backend ran and what it leaves out") {
    const ConvPair pair = *ConvPair::parse("1x32x14x14:dw3+bias+relu6:conv1o64+bias+relu6");
    const Isa isa = host_isas(DataType::f32).back();
    const auto plan =
        std::make_shared<Plan>(with_libxsmm(rules_plan(*make_problem(pair), *host_machine(isa), 1)));
    const auto kernel = Context().dispatch(pair, {.plan = plan});
    if (!libxsmm::available()) {
        REQUIRE_FALSE(kernel.ok());
        CHECK(kernel.error().code == ErrorCode::unsupported);
        CHECK(kernel.error().message.find("plan.backend") != std::string::npos);
        return;
    }
    REQUIRE_MESSAGE(kernel.ok(), kernel.error().message);
    CHECK(kernel->explain().find("LIBXSMM 1.") != std::string::npos);
    CHECK(kernel->explain().find("stage 1 is depthwise") != std::string::npos);

    const ConvPair depthwise = *ConvPair::parse("1x16x9x9:dw3:dw3");
    const auto own = Context().dispatch(depthwise, {.plan = std::make_shared<Plan>(with_libxsmm(rules_plan(
                                                        *make_problem(depthwise), *host_machine(isa), 1)))});
    REQUIRE_MESSAGE(own.ok(), own.error().message);
    CHECK(own->explain().find("instead of LIBXSMM") != std::string::npos);
}

TEST_CASE("libxsmm: generated kernels sum a batch, for the ISA asked for") {
    if (built_without()) return;
    constexpr std::int64_t m = 16, n = 3, k = 5;
    const BatchReduceShape shapes[] = {{m, n, k, m, k, m, false}, {m, n, k, m, k, m, true}};
    const std::vector<float> a(m * k, 2), b(n * k, 3);
    for (const Isa isa : host_isas(DataType::f32)) {
        const auto generated = libxsmm::generate(shapes, isa);
        REQUIRE_MESSAGE(generated.ok(), generated.error().message);
        std::vector<float> c(m * n, 100);
        for (const BatchReduceKernel kernel : generated->kernels) {
            const float* as[] = {a.data(), a.data()};
            const float* bs[] = {b.data(), b.data()};
            const unsigned long long count = 2;
            kernel(as, bs, c.data(), &count);
        }
        CHECK(c == std::vector<float>(m * n, 2 * 2 * k * 6));
    }
}

TEST_CASE("libxsmm: a kernel whose offsets do not fit is refused by name") {
    if (built_without()) return;
    const BatchReduceShape shape{16, 4, 16, 16, std::int64_t{1} << 30, 16, false};
    const auto generated = libxsmm::generate({&shape, 1}, host_isas(DataType::f32).front());
    REQUIRE_FALSE(generated.ok());
    CHECK(generated.error().code == ErrorCode::unsupported);
    CHECK(generated.error().message.find("plan.backend") != std::string::npos);
}
