// Every layer of the paper against the reference, on every ISA, layout and number of threads.
#include <algorithm>
#include <vector>

#include "support/doctest.hpp"

#include "core/plan/machine.hpp"
#include "core/plan/tiling.hpp"
#include "support/forked_jobs.hpp"
#include "support/verify_job.hpp"
#include "tools/suites.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

struct Case {
    ConvPair pair;
    VerifyOptions options;
};

Layout native_layout(Isa isa) { return is_avx512(isa) ? Layout::nchw16c : Layout::nchw8c; }
Layout foreign_layout(Isa isa) { return is_avx512(isa) ? Layout::nchw8c : Layout::nchw16c; }

ConvPair pair_of(std::string_view text, Layout layout) {
    ConvPair pair = *ConvPair::parse(text);
    pair.layout = layout;
    return pair;
}

/// Integers on one thread and random data on two, in blocked layouts the other way round: either is seen on
/// every ISA and in every layout at half the cost.
void add_cases(std::vector<Case>& cases, std::string_view text, Layout layout, Isa isa) {
    for (const int threads : {1, 2}) {
        VerifyOptions options{.dispatch = {.isa = isa, .threads = threads}, .threads = threads};
        options.data = (threads == 1) == (layout == Layout::nhwc) ? DataKind::integers : DataKind::random;
        cases.push_back({pair_of(text, layout), options});
    }
}

void check(const std::vector<Case>& cases) {
    const auto failures = run_forked(static_cast<std::int64_t>(cases.size()), 8, [&](std::int64_t i) {
        const Case& c = cases[static_cast<std::size_t>(i)];
        return verify_job(c.pair, c.options);
    });
    for (const JobFailure& failure : failures) {
        const Case& c = cases[static_cast<std::size_t>(failure.index)];
        FAIL_CHECK(failure.message << "\n  rerun: " << rerun_command(c.pair, c.options));
    }
}

void report_skipped() {
    for (const Isa isa : {Isa::avx2, Isa::avx512})
        if (std::ranges::find(host_isas(), isa) == host_isas().end())
            MESSAGE("skipped: this machine does not offer ", to_string(isa));
}

}  // namespace

TEST_CASE(
    "kernels: every layer of the paper equals the reference, on every ISA, in NHWC and the native blocked "
    "layout") {
    report_skipped();
    const auto& layers = tool::find_suite("paper")->layers;
    REQUIRE(layers.size() == 33);
    std::vector<Case> cases;
    for (std::size_t i = 0; i < layers.size(); i += sanitized ? 8 : 1)
        for (const Isa isa : host_isas(DataType::f32))
            for (const Layout layout : {Layout::nhwc, native_layout(isa)})
                add_cases(cases, layers[i].pair, layout, isa);
    check(cases);
}

TEST_CASE("kernels: every layer of the paper in every other data type") {
    const auto& layers = tool::find_suite("paper")->layers;
    std::vector<Case> cases;
    for (std::size_t i = 0; i < layers.size(); i += sanitized ? 8 : 1)
        for (const DataType dtype : {DataType::bf16, DataType::f16, DataType::u8, DataType::s8}) {
            const Isa isa = host_isas(dtype).back();
            VerifyOptions options{.dispatch = {.isa = isa, .threads = 2}, .threads = 2};
            for (const DataKind data : {DataKind::integers, DataKind::random}) {
                options.data = data;
                cases.push_back({pair_of(layers[i].pair, (data == DataKind::integers) == (i % 2 == 0)
                                                             ? Layout::nhwc
                                                             : native_layout(isa)),
                                 options});
                cases.back().pair.dtype = dtype;
            }
        }
    check(cases);
}

TEST_CASE("kernels: every layer of the paper with sums in f16") {
    const Isa isa = host_isas(DataType::f16, Math::f16).back();
    if (!has_fp16(isa)) {
        MESSAGE("skipped: this machine has no AVX512-FP16");
        return;
    }
    const auto& layers = tool::find_suite("paper")->layers;
    std::vector<Case> cases;
    for (std::size_t i = 0; i < layers.size(); i += sanitized ? 8 : 1)
        for (const DataKind data : {DataKind::integers, DataKind::random}) {
            cases.push_back(
                {pair_of(layers[i].pair,
                         (data == DataKind::integers) == (i % 2 == 0) ? Layout::nhwc : native_layout(isa)),
                 {.dispatch = {.isa = isa, .threads = 2}, .threads = 2, .data = data}});
            cases.back().pair.dtype = DataType::f16;
            cases.back().pair.math = Math::f16;
        }
    check(cases);
}

TEST_CASE("kernels: a blocked layout of the other ISA's width") {
    std::vector<Case> cases;
    for (const std::string_view name : {"mv1_6", "mv1_13", "mv2_2_1", "mna1_4_2", "res_3x_s2"}) {
        const auto& layers = tool::find_suite("paper")->layers;
        const auto layer = std::ranges::find(layers, name, &tool::Layer::name);
        REQUIRE(layer != layers.end());
        for (const Isa isa : host_isas(DataType::f32))
            add_cases(cases, layer->pair, foreign_layout(isa), isa);
        if (sanitized) break;
    }
    check(cases);
}

TEST_CASE("kernels: odd but valid shapes") {
    // Large kernels, strides past the kernel, dilation past the image, windows that lie in the padding
    // alone, single pixels.
    const char* const texts[] = {
        "1x19x33x33:dw7+bias+sum:conv1o21+sum",
        "1x3x40x40:conv7o24s4+bias+relu:dw3",
        "1x5x30x30:conv7o17:conv7o9",
        "1x16x12x12:conv1o32+relu6:dw3+relu6",
        "1x16x12x12:conv1o32:dw5s2",
        "1x16x12x12:dw3:dw3",
        "1x17x9x9:dw1:conv1o1",
        "1x1x1x1:dw3+bias:conv1o1+bias",
        "1x7x2x40:dw3s4:conv1o9",
        "1x7x5x5:dw3d4:conv1o9",
        "1x7x5x5:conv3o8d3:conv3o9d3",
        "1x9x1x300:dw3+bias:conv1o33",
        "1x9x300x1:dw3+bias:conv1o33",
        "3x1x17x13:dw3m4+bias:conv1o8",
        "2x6x11x7:dw3m3s2+bias+relu:conv3o18+sum(7)",
        "1x2100x3x3:dw3+bias+relu:conv1o1100+bias",
    };
    for (const char* text : texts)
        REQUIRE_MESSAGE(ConvPair::parse(text).ok(), text);
    std::vector<Case> cases;
    for (const char* text : texts)
        for (const Isa isa : host_isas(DataType::f32))
            for (const Layout layout : {Layout::nhwc, Layout::nchw16c, Layout::nchw8c}) {
                VerifyOptions options{.dispatch = {.isa = isa, .threads = 2}, .threads = 2};
                options.data = layout == Layout::nchw16c ? DataKind::random : DataKind::integers;
                cases.push_back({pair_of(text, layout), options});
            }
    check(cases);
}

TEST_CASE("kernels: a convolution on its own equals the reference") {
    Context context;
    for (const char* text : {"1x33x14x14:dw3s2+bias+relu6", "2x20x9x11:conv1o50+bias+sum",
                             "1x12x13x13:conv3o20s2+prelu", "1x6x8x8:dw5m2+scale"})
        for (const Isa isa : host_isas(DataType::f32))
            for (const Layout layout : {Layout::nhwc, Layout::nchw16c, Layout::nchw8c})
                for (const DataKind data : {DataKind::integers, DataKind::random}) {
                    ConvChain single = *ConvChain::parse(text);
                    single.layout = layout;
                    const auto report =
                        verify(context, single, {.dispatch = {.isa = isa}, .threads = 2, .data = data});
                    REQUIRE_MESSAGE(report.ok(), report.error().message);
                    CHECK_MESSAGE(report->passed, report->message);
                    CHECK_FALSE(report->fused);
                }
}

TEST_CASE("kernels: every tile function of the paper's layers computes both stages, on every ISA") {
    Context context;
    for (const tool::Layer& layer : tool::find_suite("paper")->layers) {
        for (const Isa isa : host_isas(DataType::f32)) {
            CAPTURE(layer.pair);
            CAPTURE(to_string(isa));
            const ConvPair pair = pair_of(layer.pair, native_layout(isa));
            const Plan fused = rules_plan(*make_problem(pair), *host_machine(isa), 1);
            const auto kernel =
                context.dispatch(pair, {.isa = isa, .plan = std::make_shared<const Plan>(fused)});
            REQUIRE(kernel.ok());
            CHECK(kernel->fused() == (kernel->tiles() > 1));
            int functions = 0, computing_first = 0;
            bool first = false, second = false, inside = false;
            for (const CodeSymbol& symbol : kernel->symbols()) {
                if (symbol.kind == CodeSymbolKind::function) inside = true, first = second = false;
                if (!inside) continue;
                first = first || symbol.name.starts_with("first:");
                second = second || symbol.name.starts_with("second:");
                if (symbol.name != "epilogue") continue;
                CHECK((first || fused.slides()));  // a window may hold all rows of the image's last tile
                CHECK(second);
                inside = false;
                ++functions;
                computing_first += first;
            }
            CHECK(functions > 0);
            CHECK(computing_first >= functions - 1);
        }
    }
}
