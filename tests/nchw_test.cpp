// NCHW tensors, whose channels are planes: a dense first stage of few channels reads them.
#include "support/doctest.hpp"

#include <fmt/format.h>

#include "core/plan/machine.hpp"
#include "core/plan/tiling.hpp"
#include "core/run/compile.hpp"
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
    CHECK(error_of("1x3x9x7:conv3o3/nchw").starts_with("descriptor.layout is 3"));
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

TEST_CASE("nchw: neither Winograd nor AMX takes planes") {
    const Problem problem = *make_problem(chain_of("1x4x40x40:conv3o64+bias:dw3/nhwc/bf16/fast/in=nchw"));
    Machine machine;
    machine.isa = Isa::amx;
    Plan plan = rules_plan(problem, machine, 1);
    CHECK(check_plan(problem, plan).ok());
    plan.stage(0).algorithm = Algorithm::winograd4;
    CHECK(check_plan(problem, plan).error().message.ends_with("its input may not be nchw)."));
    plan.stage(0).algorithm = Algorithm::direct;
    plan.stage(0).dot = Dot::amx_bf16;
    CHECK(check_plan(problem, plan)
              .error()
              .message.starts_with("plan.stages[0].dot is amx_bf16; bf16, f32 is"));
}
