// NCHW tensors, whose channels are planes: a dense first stage of few channels reads them, any last stage
// writes them.
#include "support/doctest.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "core/plan/candidates.hpp"
#include "core/plan/machine.hpp"
#include "core/plan/tiling.hpp"
#include "core/run/libxsmm_backend.hpp"
#include "support/forked_jobs.hpp"
#include "support/verify_job.hpp"
#include "tandem/context.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

ConvChain chain_of(const std::string& text) {
    const auto chain = ConvChain::parse(text);
    REQUIRE_MESSAGE(chain.ok(), chain.error().message);
    return *chain;
}

std::string error_of(const std::string& text) {
    const Status status = validate(chain_of(text));
    return status ? "valid" : status.error().message;
}

struct Case {
    ConvChain chain;
    VerifyOptions options;
};

/// A chain with these views in every data type that it can have, on every ISA, in one part and in several.
void add_cases(const std::string& text, const std::string& views, std::vector<Case>& cases) {
    for (const char* types :
         {"f32/fast", "f32/strict", "f32/bf16", "bf16/fast", "f16/fast", "f16/f16", "u8/fast", "s8/fast"}) {
        const ConvChain chain = chain_of(fmt::format("{}/nhwc/{}{}", text, types, views));
        if (chain.input.factors && is_quantized(chain.dtype)) continue;
        const Status valid = validate(chain);
        REQUIRE_MESSAGE(valid.ok(), valid.error().message);
        for (const Isa isa : host_isas(chain.dtype, chain.math))
            for (const int threads : {1, 3})
                cases.push_back({chain,
                                 {.dispatch = {.isa = isa, .threads = threads},
                                  .threads = threads,
                                  .data = threads == 1 ? DataKind::integers : DataKind::random}});
    }
}

void check(const std::vector<Case>& cases) {
    const auto failures = run_forked(static_cast<std::int64_t>(cases.size()), 20, [&](std::int64_t i) {
        const auto& [chain, options] = cases[static_cast<std::size_t>(i)];
        return verify_job(chain, options);
    });
    for (const JobFailure& failure : failures) {
        const auto& [chain, options] = cases[static_cast<std::size_t>(failure.index)];
        FAIL_CHECK(to_string(*options.dispatch.isa)
                   << ": " << failure.message << "\n  " << rerun_command(chain, options));
    }
}

constexpr const char* heads[] = {
    "1x19x13x9:dw3+bias+relu6:conv1o37+bias",
    "2x33x9x20:conv1o48+bias+relu6:dw3s2+bias+relu6",
    "1x40x14x14:conv1o80+relu6:dw3+relu6:conv1o16+bias",
    "2x8x7x33:conv3o3+bias",
    "1x16x3x5:dw5+bias+prelu",
    "1x24x12x12:dw3m2+bias:conv3o21+bias+sum",
    "1x64x7x7:conv1o130+bias+sum(9)+relu",
    "1x32x16x16:conv3o64+bias+relu:conv3o32+bias",
    "2x5x6x17:conv1o1",
    "1x9x1x50:conv1x3o256+bias",
    "1x12x20x3:dw3s2:conv1o20+bias+hswish",
};

constexpr const char* stems[] = {
    "1x3x33x31:conv3o32s2+bias+relu6:dw3+bias+relu6:conv1o16+bias",
    "2x3x15x17:conv3o24s2+bias+relu6:dw3+bias+relu6",
    "1x1x19x18:conv5o17+bias:conv1o40+bias+relu",
    "1x2x9x35:conv7o20s2+bias+relu:dw3s2",
    "2x4x11x13:conv1o33+bias+relu6:conv3o9+bias",
    "1x3x1x1:conv3o5+bias",
    "1x3x20x50:conv7o64s2+bias+relu",
    "2x4x7x16:conv2x3o8s2x1p1x0x2x2d2x1+bias+swish",
    "3x2x8x9:conv1o48+bias+prelu",
    "1x3x14x40:conv15o40p7",
};

}  // namespace

TEST_CASE("nchw: only a dense first stage of up to four channels reads it, and no residual is it") {
    CHECK(error_of("1x3x9x7:conv3o16:dw3/in=nchw") == "valid");
    CHECK(error_of("1x4x9x7:conv1o4+sum:dw3/in=nchw,p1,r20,b200") == "valid");
    const char* const accepted =
        "input_view.layout is nchw, which is accepted for the input of a dense first";
    CHECK(error_of("1x5x9x7:conv3o16:dw3/in=nchw").starts_with(accepted));
    CHECK(error_of("1x3x9x7:dw3:conv1o8/in=nchw").starts_with(accepted));
    CHECK(error_of("1x3x9x7:conv3o3+sum(in)/in=nchw")
              .starts_with("input_view.layout is nchw, and convs[0] has"));
    CHECK(error_of("1x3x9x7:conv3o3+sum/res0=nchw").starts_with("residual_views[0].layout is nchw"));
    CHECK(error_of("1x3x9x7:conv3o3/nchw").starts_with("descriptor.layout is nchw"));
    CHECK(error_of("1x3x9x7:conv3o16/in=nchw,p2").starts_with("input_view.pixel is 2; 0 or 1 is accepted"));
    CHECK(error_of("1x3x9x7:conv3o16/in=nchw,r6").starts_with("input_view.row is 6; at least 7"));
    CHECK(error_of("1x3x9x7:conv3o16/in=nchw,b62").starts_with("input_view.block is 62; at least 63"));
}

TEST_CASE("nchw: stems read planes in every data type, on every ISA") {
    std::vector<Case> cases;
    for (const char* stem : stems)
        for (const char* views : {"/in=nchw", "/in=nchw,r51,b2021,i9000/out=nchw16c"})
            add_cases(stem, views, cases);
    for (const char* views : {"/in=nchw", "/in=nchw,r53/out=nchw8c"})
        add_cases("2x3x15x17*:conv3o24s2+bias+relu6:dw3+bias+relu6", views, cases);
    check(cases);
}

TEST_CASE("nchw: last stages of every kind write planes in every data type, on every ISA") {
    std::vector<Case> cases;
    for (const char* head : heads)
        for (const char* views :
             {"/out=nchw", "/in=nchw16c/out=nchw,r51,b2021,i600000", "/in=nchw8c/out=nchw,r53"})
            add_cases(head, views, cases);
    for (const char* stem : stems)
        add_cases(stem, "/in=nchw/out=nchw", cases);
    check(cases);
}

TEST_CASE("nchw: quantised chains write planes of other types") {
    std::vector<Case> cases;
    for (const char* head : heads)
        for (const char* types : {"s8-u8", "u8-s8", "s8-f32"}) {
            ConvChain chain = chain_of(std::string(head) + "/out=nchw");
            const std::string text = types;
            chain.dtype = text[0] == 's' ? DataType::s8 : DataType::u8;
            chain.output_dtypes[static_cast<std::size_t>(chain.conv_count - 1)] =
                text.ends_with("f32")  ? DataType::f32
                : text.ends_with("u8") ? DataType::u8
                                       : DataType::s8;
            for (const Isa isa : host_isas(chain.dtype))
                cases.push_back({chain, {.dispatch = {.isa = isa, .threads = 2}, .threads = 2}});
        }
    check(cases);
}

/// Plans other than the planner's: one tile, tiles narrower than the image, channel splits, a stored tensor.
TEST_CASE("nchw: planes are written under any tiling") {
    Context context;
    for (const char* text : {"2x20x12x37:dw3+bias:conv1o70+bias+relu/nhwc/f32/fast/out=nchw",
                             "1x16x12x37:conv1o48:dw3+bias:conv1o50/nhwc/s8/fast/out=nchw",
                             "1x3x25x37:conv3o32s2+bias:dw3+bias:conv1o40/nhwc/f16/fast/in=nchw/out=nchw"}) {
        const ConvChain chain = chain_of(text);
        const Problem problem = *make_problem(chain);
        for (const Isa isa : host_isas(chain.dtype))
            for (const Plan& plan : candidate_plans(problem, *host_machine(isa), 2)) {
                VerifyOptions options{.threads = 2};
                options.dispatch.plan = std::make_shared<Plan>(plan);
                const auto report = verify(context, chain, options);
                CAPTURE(to_string(plan));
                REQUIRE_MESSAGE(report.ok(), report.error().message);
                CHECK_MESSAGE(report->passed, report->message);
            }
    }
}

TEST_CASE("nchw: planes may lie as far apart as displacements reach") {
    Context context;
    for (const char* text : {"1x8x1x1:conv1o16/nhwc/f32/fast/out=nchw,b35791393",
                             "1x8x2x3:dw3:conv1o20/nhwc/u8/fast/out=nchw,b113025400",
                             "1x4x1x1:conv3o16/nhwc/f32/fast/in=nchw,b178956969",
                             "1x4x1x1:conv15o16p7/nhwc/f32/fast/in=nchw,b178956969"})
        CHECK_MESSAGE(context.dispatch(chain_of(text)).ok(), text);
}

TEST_CASE("nchw: packed weights of an output in planes serve images of every size") {
    Context context;
    const auto kernel = [&](const char* text) {
        return *context.dispatch(chain_of(std::string(text) + "/nhwc/f32/fast/in=nchw/out=nchw"));
    };
    const char* const text = "1x3x9x9:conv3o20s2+bias+relu6";
    const Kernel small = kernel(text), large = kernel("1x3x31x40:conv3o20s2+bias+relu6");
    const VerificationData data = make_verification_data(*make_problem(chain_of(text)), DataKind::random, 1);
    const auto packed = small.pack(data.views(1));
    REQUIRE(packed.ok());
    std::vector<float> input(3 * 31 * 40), output(20 * 16 * 20), scratch(large.scratch_bytes() / 4 + 16);
    CHECK(large({.input = input.data(), .output = output.data(), .weights = &*packed}).ok());
}

TEST_CASE("nchw: planes are read with LIBXSMM's kernels, too") {
    if (!libxsmm::available()) return;
    for (const char* stem : stems)
        for (const Isa isa : host_isas(DataType::f32)) {
            const ConvChain chain = chain_of(std::string(stem) + "/nhwc/f32/fast/in=nchw,r53");
            VerifyOptions options{.threads = 2};
            options.dispatch.plan =
                std::make_shared<Plan>(with_libxsmm(rules_plan(*make_problem(chain), *host_machine(isa), 2)));
            Context context;
            const auto report = verify(context, chain, options);
            REQUIRE_MESSAGE(report.ok(), report.error().message);
            CHECK_MESSAGE(report->passed, report->message);
        }
}

TEST_CASE("nchw: LIBXSMM's kernels do not write planes, Tandem's say how") {
    const ConvChain chain = chain_of("1x16x20x20:dw3:conv1o40/nhwc/f32/fast/out=nchw");
    const Problem problem = *make_problem(chain);
    CHECK(check_plan(problem, with_libxsmm(rules_plan(problem, *host_machine(), 1))).error().message ==
          "plan.backend is libxsmm; tandem is accepted for an output in nchw.");
    const Kernel kernel = *Context().dispatch(chain);
    CHECK(kernel.explain().find("Output: the rows of a tile lie in scratch (") != std::string::npos);
    CHECK(std::ranges::any_of(kernel.symbols(), [](const CodeSymbol& symbol) {
        return symbol.name.ends_with(" pixels to 16 planes");
    }));
}

TEST_CASE("nchw: neither Winograd nor AMX takes planes") {
    const Problem problem = *make_problem(chain_of("1x4x40x40:conv3o64+bias:dw3/nhwc/bf16/fast/in=nchw"));
    Machine machine;
    machine.isa = Isa::amx;
    Plan plan = rules_plan(problem, machine, 1);
    CHECK(check_plan(problem, plan).ok());
    plan.stage(0).algorithm = Algorithm::winograd4;
    CHECK(check_plan(problem, plan).error().message.find("its input may not be nchw. ") != std::string::npos);
    plan.stage(0).algorithm = Algorithm::direct;
    plan.stage(0).dot = Dot::amx_bf16;
    CHECK(check_plan(problem, plan)
              .error()
              .message.starts_with("plan.stages[0].dot is amx_bf16; bf16, f32 is"));
}
