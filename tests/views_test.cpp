// Tensors that are parts of larger ones, in layouts of their own: texts, checks, and kernels on them.
#include "support/doctest.hpp"

#include <cstring>
#include <functional>
#include <random>

#include "core/plan/machine.hpp"
#include "support/forked_jobs.hpp"
#include "support/guarded_call.hpp"
#include "support/mutated_text.hpp"
#include "support/random_chain.hpp"
#include "support/verify_job.hpp"
#include "tandem/context.hpp"
#include "tandem/reference.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

ConvChain chain_of(const std::string& text) {
    const auto chain = ConvChain::parse(text);
    REQUIRE_MESSAGE(chain.ok(), chain.error().message);
    return *chain;
}

std::string error_of(const std::string& text) {
    const auto chain = ConvChain::parse(text);
    if (!chain) return chain.error().message;
    const Status status = validate(*chain);
    return status ? "valid" : status.error().message;
}

/// What a call says to arguments that `change` was given, with memory to point them into; or "accepted".
std::string refusal(const char* text, const std::function<void(Args&, std::byte*)>& change) {
    const ConvChain chain = chain_of(text);
    Context context;
    const Kernel kernel = *context.dispatch(chain);
    GuardedCall call(*make_problem(chain), kernel);
    std::vector<std::byte> memory(100000);
    Args args = call.args();
    args.input_bytes = args.output_bytes = 0;
    args.residual_bytes = {};
    change(args, memory.data() + 64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64);
    const Status status = kernel(args);
    return status ? std::string("accepted") : status.error().message;
}

}  // namespace

TEST_CASE("views: layout, data types, math and views are parts of the text, in this order, each optional") {
    const ConvChain plain = chain_of("1x8x9x9:dw3:conv1o5");
    CHECK(plain == chain_of("1x8x9x9:dw3:conv1o5/nhwc/f32/fast"));
    CHECK(plain == chain_of("1x8x9x9:dw3:conv1o5/nhwc/f32/fast/avx512"));
    CHECK(plain == chain_of("1x8x9x9:dw3:conv1o5/avx2_vnni"));
    CHECK(chain_of("1x8x9x9:dw3:conv1o5/nchw8c").layout == Layout::nchw8c);
    CHECK(chain_of("1x8x9x9:dw3:conv1o5/bf16").dtype == DataType::bf16);
    CHECK(chain_of("1x8x9x9:dw3:conv1o5/f32/bf16").math == Math::bf16);
    CHECK(chain_of("1x8x9x9:dw3:conv1o5/strict").math == Math::strict);
    const ConvChain types = chain_of("1x8x9x9:dw3:conv1o5/u8-s8-f32");
    CHECK(types.dtype == DataType::u8);
    CHECK(types.output_dtypes[0] == DataType::s8);
    CHECK(types.output_dtypes[1] == DataType::f32);
    CHECK(to_string(types) == "1x8x9x9:dw3:conv1o5/nhwc/u8-s8-f32/fast");
    const ConvChain views =
        chain_of("1x8x9x9:dw3:conv1o5+sum/nchw16c/in=nhwc,p256,r4096/out=i9999984/res1=nhwc/amx");
    CHECK(views.input_view == TensorView(Layout::nhwc, 256, 4096));
    CHECK(views.output_view == TensorView(Layout::nchw16c, 0, 0, 0, 9999984));
    CHECK(views.residual_views[1] == TensorView(Layout::nhwc));
    CHECK(to_string(views) ==
          "1x8x9x9:dw3:conv1o5+sum/nchw16c/f32/fast/in=nhwc,p256,r4096/out=i9999984/res1=nhwc");
    CHECK(validate(views).ok());
    const ConvChain all = chain_of("2x16x9x9*:dw3:conv1o16+sum(in)/in=p20/out=nchw8c");
    CHECK(all.input.factors);
    CHECK(to_string(all) == "2x16x9x9*:dw3:conv1o16+sum(in)/nhwc/f32/fast/in=p20/out=nchw8c");
    CHECK(make_problem(all)->name() == "2x16x9x9*:dw3:conv1o16+sum(in)/nchw8c/f32/fast/in=nhwc,p20");
}

TEST_CASE("views: mutated texts are parsed or refused, and what validates has a name that gives it back") {
    std::mt19937_64 engine(5);
    const std::string alphabet = "0123456789x:+/=,*-prbinhwc8uf";
    const char* const texts[] = {
        "1x8x9x9:dw3:conv1o5+sum/nchw16c/f32/strict/in=nhwc,p256,r4096/out=i9984/res1=nhwc/avx512_vnni",
        "2x16x9x9*:dw3:conv1o16+sum(in)/nhwc/bf16/fast/in=p20/out=nchw8c,b648/avx2",
        "1x8x9x9:dw3:conv1o5/nhwc/u8-s8-f32/fast/in=i999/amx"};
    int valid = 0;
    for (int i = 0; i < 20000; ++i) {
        const std::string text = mutated(texts[i % 3], alphabet, engine);
        const auto chain = ConvChain::parse(text);
        if (!chain || !validate(*chain)) continue;
        ++valid;
        const Problem problem = *make_problem(*chain);
        REQUIRE_MESSAGE(*make_problem(chain_of(to_string(*chain))) == problem, text);
        REQUIRE_MESSAGE(*make_problem(chain_of(problem.name())) == problem, text);
    }
    CHECK(valid > 200);
}

TEST_CASE("views: texts that are none name the place and what is accepted") {
    const std::string pair = "1x8x9x9:dw3:conv1o5";
    CHECK(contains(error_of(pair + "/"),
                   "character 20: found '/'; expected a layout, data types, math, views"));
    CHECK(contains(error_of(pair + "/fast/nhwc"), "found '/nhwc'; expected a layout"));
    CHECK(contains(error_of(pair + "/amx/fast"), "found '/fast'"));
    CHECK(contains(error_of(pair + "/u8-s8"),
                   "expected one data type, or 3: the input's and each convolution's"));
    CHECK(
        contains(error_of(pair + "/in=x3"),
                 "found 'x3'; expected a layout (nhwc, nchw16c, nchw8c or nchw) or a stride (p, r, b or i)"));
    CHECK(contains(error_of(pair + "/in=p9,p9"), "found 'p9'; expected each stride at most once"));
    CHECK(contains(error_of(pair + "/in=p9/in=p9"), "expected each tensor's view at most once"));
    CHECK(contains(error_of(pair + "/res2=p9"), "expected in=, out= or res<stage, from 0>="));
    CHECK(contains(error_of(pair + "/out=p"), "expected a stride in elements"));
}

TEST_CASE("views: strides are checked against the tensor's shape, blocks and what code can address") {
    const std::string pair = "2x20x9x7:dw3:conv1o24";
    const std::pair<std::string, std::string> cases[] = {
        {"/in=p19", "input_view.pixel is 19; at least 20, the channels, is accepted"},
        {"/in=p20", "valid"},
        {"/in=p32,r223", "input_view.row is 223; at least 224, a row's pixels, is accepted"},
        {"/in=p32,i2015", "input_view.image is 2015; at least 2016, an image's rows, is accepted"},
        {"/in=b9", "input_view.block is 9; 0 is accepted, as nhwc has no blocks of channels"},
        {"/out=nchw16c,p24", "output_view.pixel is 24; a multiple of 16, at least 16, a block of channels"},
        {"/out=nchw16c,b992", "output_view.block is 992; a multiple of 16, at least 1008, an image's rows"},
        {"/out=nchw8c,i1504", "output_view.image is 1504; a multiple of 8, at least 1512"},
        {"/in=nchw8c/out=nchw16c",
         "output_view.layout is nchw16c beside nchw8c of another tensor; one width"},
        {"/in=nchw",
         "input_view.layout is nchw, which is accepted for the input of a dense first convolution"},
        {"/out=nchw", "valid"},
        {"/out=p999999999", "output_view: an image spans 247999999848 bytes; less than 2147483648"},
        {"/out=i9000000000000000000", "output_view: a batch of 2 spans more than 2^60 elements"},
        {"/out=p9000000000000000000", "output_view: an image spans more than 2^63 bytes"},
        {"/res1=p32", "residual_views[1] is stated; none is accepted, as convs[1] has no +sum"},
        {"/nchw", "descriptor.layout is nchw; nhwc, nchw16c or nchw8c is accepted"},
    };
    for (const auto& [suffix, message] : cases) {
        CAPTURE(suffix);
        CHECK_MESSAGE(contains(error_of(pair + suffix), message), error_of(pair + suffix));
    }
    CHECK(error_of("1x3x9x7:conv3o16:dw3/in=nchw") == "valid");
    CHECK(contains(error_of("1x8x1x2:dw3:conv1o8/out=p4611686018427387904"),
                   "output_view: an image spans more than 2^60 bytes; less than 2147483648"));
    // Strides that nothing depends on.
    for (const char* text :
         {"1x8x1x1:conv1o8/in=p600000000", "1x8x1x1:dw3:conv1o8/in=p9000000000000000000",
          "1x8x1x9:dw3:conv1o8/out=r9000000000000000000", "1x8x9x9:dw3:conv1o8/in=i9000000000000000000",
          "1x8x9x9:dw3:conv1o8/nchw16c/in=b9000000000000000000"}) {
        CAPTURE(text);
        const Result<Problem> problem = make_problem(chain_of(text));
        REQUIRE_MESSAGE(problem.ok(), problem.error().message);
        CHECK(problem->name().find('=') == std::string::npos);
    }
    const auto parse_error = [](const char* text) {
        return ConvChain::parse(text).error().message;
    };
    for (const char* text : {"1x8x9x9:dw3/in=nwhc", "1x8x9x9:dw3/in=", "1x8x9x9:dw3/in=nhwcp16"})
        CHECK_MESSAGE(contains(parse_error(text), "a layout (nhwc, nchw16c, nchw8c or nchw) or a stride"),
                      parse_error(text));
    CHECK(contains(parse_error("1x8x9x9:dw3/in=p0,p16"), "each stride at most once"));
    CHECK(contains(parse_error("1x8x9x9:dw3/in=nhwc,q7"), "a stride: p, r, b or i"));
    CHECK(contains(error_of("1x5x9x7:conv3o16:dw3/in=nchw"), "up to 4 channels"));
    CHECK(contains(error_of("1x3x9x7:conv3o16:dw3+sum/res1=nchw"), "residual_views[1].layout is nchw"));
    ConvChain chain = chain_of(pair);
    chain.input_view = TensorView(static_cast<Layout>(7));
    CHECK(contains(validate(chain).error().message, "input_view.layout is 7; nhwc, nchw16c, nchw8c or nchw"));
    chain.input_view = TensorView(Layout::nhwc, -1);
    CHECK(contains(validate(chain).error().message, "input_view.pixel is -1"));
}

TEST_CASE(
    "views: a problem's name gives the problem back, and a view of what is there anyway changes nothing") {
    std::mt19937_64 engine(31);
    for (int i = 0; i < 600; ++i) {
        const DataType types[] = {DataType::f32, DataType::bf16, DataType::u8};
        ConvChain chain = random_chain(engine, {.max_flops = 1e5,
                                                .dtype = types[i % 3],
                                                .min_stages = 1,
                                                .max_stages = 4,
                                                .views = i % 4 != 0,
                                                .input_sums = 3});
        if (i % 5 == 0) chain.math = Math::strict;
        const auto problem = make_problem(chain);
        REQUIRE_MESSAGE(problem.ok(), problem.error().message);
        const std::string name = problem->name();
        CAPTURE(name);
        CHECK(*make_problem(chain_of(name)) == *problem);
        CHECK(*make_problem(chain_of(name + "/avx2")) == *problem);
        CHECK(*make_problem(chain_of(to_string(chain))) == *problem);
        CHECK(make_problem(chain_of(name))->name() == name);
    }
    CHECK(make_problem(chain_of("1x8x9x9:dw3:conv1o5/in=p8,r72,i648/out=nhwc"))->name() ==
          "1x8x9x9:dw3:conv1o5/nhwc/f32/fast");
    CHECK(make_problem(chain_of("1x8x9x9:dw3:conv1o5/in=nchw8c"))->name() ==
          "1x8x9x9:dw3:conv1o5/nchw8c/f32/fast/out=nhwc");
    Context context;
    const ConvChain chain = chain_of("1x8x9x9:dw3:conv1o5/nchw16c/u8-s8-f32/strict/out=nhwc,p64");
    CHECK(chain_of(context.dispatch(chain)->name()) == chain);
}

TEST_CASE("views: random tensors with gaps equal the reference, on every ISA") {
    const auto case_of = [](std::int64_t i) {
        const auto seed = static_cast<std::uint64_t>(i);
        std::mt19937_64 engine(seed * 7 + 5);
        constexpr DataType types[] = {DataType::f32,  DataType::u8, DataType::f32,
                                      DataType::bf16, DataType::s8, DataType::f16};
        RandomChainOptions options{.max_flops = 1e6, .dtype = types[i % 6], .views = 1, .input_sums = 3};
        options.exact_post_ops = i % 4 == 0;
        options.min_stages = options.max_stages = i % 5 == 0 ? 1 : 2;
        return std::pair(
            random_chain(engine, options),
            VerifyOptions{
                .threads = 2, .seed = seed, .data = i % 2 == 0 ? DataKind::integers : DataKind::random});
    };
    const auto failures = run_forked(sanitized ? 30 : 900, 60, [&](std::int64_t i) {
        auto [chain, options] = case_of(i);
        for (const Isa isa : host_isas(chain.dtype, chain.math)) {
            options.dispatch.isa = isa;
            if (std::string message = verify_job(chain, options); !message.empty())
                return std::string(to_string(isa)) + ": " + message;
        }
        return std::string();
    });
    for (const JobFailure& failure : failures) {
        auto [chain, options] = case_of(failure.index);
        FAIL_CHECK(to_string(chain) << ": " << failure.message);
    }
}

TEST_CASE("views: a residual in the output's place, under every partition, on every ISA") {
    const char* const convs[] = {":dw3+bias:conv1o24+bias+sum+relu",
                                 ":conv1o40+relu6:dw3+sum",
                                 ":conv3o24+bias+sum",
                                 ":dw5+sum+bias",
                                 ":conv3o33+relu:conv3o17+bias+sum(9)",
                                 ":conv1o200:conv1o48+sum+hswish",
                                 ":conv1o20+sum(3)",
                                 ":dw3s2:conv1o96+bias+sum"};
    std::vector<std::pair<ConvChain, VerifyOptions>> cases;
    for (const char* text : convs)
        for (const char* suffix :
             {"/nhwc/f32", "/nchw16c/f32", "/nchw8c/bf16", "/nhwc/u8", "/nchw16c/s8-s8-f32"}) {
            auto chain = ConvChain::parse(std::string("2x24x13x11") + text + suffix);
            if (!chain) chain = ConvChain::parse(std::string("2x24x13x11") + text + "/nchw16c/s8-f32");
            REQUIRE_MESSAGE(chain.ok(), chain.error().message);
            // A residual of fewer channels lies like the output where its strides say so.
            const Problem problem = *make_problem(*chain);
            chain->residual_views[static_cast<std::size_t>(problem.stage_count - 1)] = problem.output_view;
            for (const Isa isa : host_isas(chain->dtype))
                for (const int threads : {1, 3})
                    cases.push_back({*chain,
                                     {.dispatch = {.isa = isa, .threads = threads},
                                      .threads = 3,
                                      .data = threads == 1 ? DataKind::integers : DataKind::random,
                                      .in_place = true}});
        }
    const auto failures = run_forked(static_cast<std::int64_t>(cases.size()), 20, [&](std::int64_t i) {
        const auto& [chain, options] = cases[static_cast<std::size_t>(i)];
        return verify_job(chain, options);
    });
    for (const JobFailure& failure : failures)
        FAIL_CHECK(to_string(cases[static_cast<std::size_t>(failure.index)].first)
                   << ": " << failure.message);
}

TEST_CASE("views: channel ranges of one tensor are read and written in place of a concat") {
    Context context;
    // Channels 0-15 of a tensor of 64 give 16-47 by one kernel, 48-63 by another: a dense block.
    constexpr std::int64_t all = 64, pixels = 9 * 7;
    const ConvChain wide = chain_of("1x16x9x7:dw3+bias:conv1o32/nhwc/f32/fast/in=p64/out=p64"),
                    narrow = chain_of("1x16x9x7:conv3o16+bias/nhwc/f32/fast/in=p64/out=p64");
    std::vector<float> tensor(pixels * all, -7);
    for (std::int64_t p = 0; p < pixels; ++p)
        for (std::int64_t c = 0; c < 16; ++c)
            tensor[static_cast<std::size_t>(p * all + c)] = static_cast<float>((p * 5 + c * 3) % 9 - 4);
    std::int64_t to = 16;
    for (const ConvChain& chain : {wide, narrow}) {
        const Problem problem = *make_problem(chain);
        const VerificationData data = make_verification_data(problem, DataKind::integers, 3);
        const auto kernel = context.dispatch(chain);
        REQUIRE_MESSAGE(kernel.ok(), kernel.error().message);
        const std::vector<StageWeights> stages = data.views(problem.stage_count);
        const auto weights = kernel->pack(stages);
        REQUIRE(weights.ok());
        const std::vector<float> input(tensor.begin(), tensor.end() - (all - 16));
        const auto expected = reference(chain, {.input = input, .stages = stages});
        REQUIRE_MESSAGE(expected.ok(), expected.error().message);
        const std::vector<float> before = tensor;
        const Status status =
            (*kernel)({.input = tensor.data(), .output = tensor.data() + to, .weights = &*weights});
        REQUIRE_MESSAGE(status.ok(), status.error().message);
        const std::int64_t channels = problem.output_shape().c;
        for (std::int64_t p = 0; p < pixels; ++p)
            for (std::int64_t c = 0; c < all; ++c) {
                const auto at = static_cast<std::size_t>(p * all + c);
                const bool written = c >= to && c < to + channels;
                const double value = written ? (*expected)[at - static_cast<std::size_t>(to)] : before[at];
                REQUIRE(tensor[at] == value);
            }
        to += channels;
    }
}

TEST_CASE(
    "views: arguments that overlap the output are refused, the last stage's residual in its place is not") {
    const char* const halo = "1x16x9x9:dw3:conv1o16+sum";
    CHECK(contains(refusal(halo, [](Args& a, std::byte*) { a.input = a.output; }),
                   "overlaps the output's 5184 bytes"));
    CHECK(contains(refusal(halo, [](Args& a, std::byte*) { a.input = a.output; }),
                   "accepted, as output pixels are written while others' inputs are read"));
    CHECK(refusal(halo, [](Args& a, std::byte*) { a.residual[1] = a.output; }) == "accepted");
    CHECK(contains(refusal(halo,
                           [](Args& a, std::byte* m) {
                               a.output = m;
                               a.residual[1] = m + 64;
                           }),
                   "residual[1] is at"));
    CHECK(
        contains(refusal("1x16x9x9:dw3+sum:conv1o16", [](Args& a, std::byte*) { a.residual[0] = a.output; }),
                 "residual[0] is at"));
    CHECK(contains(refusal("1x16x9x9:dw3:conv1o16+sum/res1=p32",
                           [](Args& a, std::byte* m) { a.residual[1] = a.output = m; }),
                   "or the output itself where both lie alike"));
}

TEST_CASE("views: parts of one tensor that lie beside each other do not overlap") {
    // Ranges of channels, whatever their bytes' ranges do.
    const char* const parts = "2x16x9x9:dw3:conv1o16/in=p64/out=p64";
    const auto at = [](std::ptrdiff_t in, std::ptrdiff_t out) {
        return [=](Args& a, std::byte* m) {
            a.input = m + in * 4;
            a.output = m + out * 4;
        };
    };
    CHECK(refusal(parts, at(0, 16)) == "accepted");
    CHECK(refusal(parts, at(48, 0)) == "accepted");
    CHECK(contains(refusal(parts, at(0, 15)), "overlaps"));
    CHECK(contains(refusal(parts, at(17, 8)), "overlaps"));
    CHECK(contains(refusal("2x16x9x9:dw3:conv1o16/in=p64/out=p65", at(0, 16)), "may overlap the output's "));
    CHECK(
        contains(refusal("2x16x9x9:dw3:conv1o16/in=p64/out=p65", at(0, 16)), ", whose strides are others;"));
    // Halves of an image, beside or below each other.
    const char* const halves = "2x16x8x4:dw3:conv1o16/in=r128,i1024/out=r128,i1024";
    CHECK(refusal(halves, at(0, 64)) == "accepted");
    CHECK(refusal(halves, at(64, 0)) == "accepted");
    CHECK(contains(refusal(halves, at(0, 63)), "overlaps"));
    const char* const below = "2x16x4x8:dw3:conv1o16/in=i1024/out=i1024";
    CHECK(refusal(below, at(0, 512)) == "accepted");
    CHECK(contains(refusal(below, at(0, 511)), "overlaps"));
    const char* const columns = "1x16x4x4:dw3:conv1o16/nchw16c/in=r128/out=r128";
    CHECK(refusal(columns, at(0, 64)) == "accepted");
    CHECK(contains(refusal(columns, at(0, 48)), "overlaps"));
    const char* const blocks = "2x16x3x3:dw3:conv1o16/nchw16c/in=i576/out=i576";
    CHECK(refusal(blocks, at(0, 144)) == "accepted");
    CHECK(refusal(blocks, at(432, 0)) == "accepted");
    CHECK(contains(refusal(blocks, at(0, 143)), "overlaps"));
}

TEST_CASE("views: parts beside each other whose rows and images are no whole number of pixels apart") {
    const auto refused = [](const char* text, std::ptrdiff_t out) {
        return refusal(text, [out](Args& a, std::byte* m) {
            a.input = m;
            a.output = m + out * 4;
        });
    };
    const std::pair<const char*, std::ptrdiff_t> beside[] = {
        {"1x16x4x4:dw3:conv1o16/in=p64,r272/out=p64,r272", 16},
        {"2x16x4x4:dw3:conv1o16/in=p64,i1040/out=p64,i1040", 16},
        {"1x16x4x4:dw3:conv1o16/in=p40,r170/out=p40,r170", 16},
        {"2x16x4x4:dw3:conv1o16/in=r160,i650/out=r160,i650", 64}};
    for (const auto& [text, out] : beside) {
        CAPTURE(text);
        CHECK(refused(text, out) == "accepted");
        CHECK(contains(refused(text, out - 1), " and overlaps the output's "));
    }
}

TEST_CASE("views: +sum(in) adds the chain's own input, which is passed once") {
    CHECK(
        contains(error_of("1x8x9x9:dw3:conv1o9+sum(in)"), "convs[1] has +sum(in) and puts out 9x9x9; 8x9x9"));
    CHECK(contains(error_of("1x8x9x9:dw3s2:conv1o8+sum(in)"), "puts out 8x5x5"));
    CHECK(contains(error_of("1x8x9x9:dw3:conv1o8+sum(in)/u8-u8-s8"), "puts out s8; u8, the chain's input's"));
    CHECK(to_string(chain_of("1x8x9x9:dw3+sum(in):conv1o8+bias+sum(in)")) ==
          "1x8x9x9:dw3+sum(in):conv1o8+bias+sum(in)");
    Context context;
    for (const char* text : {"2x24x9x11:dw3+bias:conv1o24+bias+sum(in)+relu", "1x40x8x9:conv1o40+sum(in):dw3",
                             "1x20x7x7:conv3o20+bias+sum(in)", "1x16x9x9:dw3+sum(in):conv1o16+sum(in)"})
        for (const char* suffix : {"/nhwc/f32", "/nchw16c/f32", "/nchw8c/f16", "/nhwc/u8", "/nchw16c/s8",
                                   "/nhwc/f32/in=p61", "/nchw16c/f32/in=nhwc,p61/out=nhwc"}) {
            const ConvChain chain = chain_of(std::string(text) + suffix);
            CAPTURE(to_string(chain));
            for (const Isa isa : host_isas(chain.dtype))
                for (const DataKind data : {DataKind::integers, DataKind::random}) {
                    const auto report =
                        verify(context, chain, {.dispatch = {.isa = isa}, .threads = 2, .data = data});
                    REQUIRE_MESSAGE(report.ok(), report.error().message);
                    CHECK_MESSAGE(report->passed, report->message);
                }
            const auto kernel = context.dispatch(chain);
            CHECK(kernel->residual_shape(chain.conv_count - 1) == TensorShape{0, 0, 0, 0});
        }
}

TEST_CASE("views: a residual that is stated and one that is the input are two kernels") {
    Context context;
    const Kernel own = *context.dispatch(chain_of("1x8x9x9:dw3:conv1o8+sum")),
                 input = *context.dispatch(chain_of("1x8x9x9:dw3:conv1o8+sum(in)"));
    CHECK(own.code().data() != input.code().data());
    CHECK(own.name() != input.name());
}

TEST_CASE("views: nchw has sizes and a reference") {
    const TensorShape shape{2, 3, 4, 5};
    CHECK(element_count(shape, Layout::nchw) == 120);
    CHECK(element_index(shape, Layout::nchw, 1, 2, 3, 4) == 119);
    CHECK(element_index(shape, TensorView(Layout::nchw, 0, 8), 1, 2, 3, 4) == 60 * 8 / 5 + 2 * 32 + 24 + 4);
    const ConvChain plain = chain_of("2x3x6x5:conv3o4+bias:conv1o7"),
                    nchw = chain_of("2x3x6x5:conv3o4+bias:conv1o7/in=nchw/out=nchw");
    const VerificationData data = make_verification_data(*make_problem(plain), DataKind::integers, 1);
    const std::vector<StageWeights> stages = data.views(2);
    std::vector<float> input(data.input.size());
    REQUIRE(to_nchw(data.input, {2, 3, 6, 5}, Layout::nhwc, input).ok());
    const auto expected = reference(plain, data.reference_args(stages));
    const auto result = reference(nchw, {.input = input, .stages = stages});
    REQUIRE_MESSAGE(result.ok(), result.error().message);
    std::vector<float> values(expected->begin(), expected->end()), planes(values.size());
    REQUIRE(to_nchw(values, {2, 7, 6, 5}, Layout::nhwc, planes).ok());
    CHECK(std::vector<float>(result->begin(), result->end()) == planes);
}
