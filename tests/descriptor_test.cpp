#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <utility>

#include "support/doctest.hpp"

#include "core/plan/problem.hpp"
#include "support/mutated_text.hpp"
#include "support/random_chain.hpp"
#include "tandem/descriptor.hpp"

using namespace tandem;

namespace {

constexpr const char* mobile_pair = "1x32x112x112:dw3+bias+relu6:conv1o64+bias+relu6";

std::string parse_error(const std::string& text) {
    const auto pair = ConvPair::parse(text);
    return pair ? "parsed" : pair.error().message;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

void check_round_trip(const std::string& text) {
    const auto pair = ConvPair::parse(text);
    REQUIRE_MESSAGE(pair.ok(), text);
    CHECK(to_string(*pair) == text);
}

}  // namespace

TEST_CASE("descriptor: canonical texts survive a round trip") {
    check_round_trip(mobile_pair);
    check_round_trip("1x8x9x9:conv1x7o64s2x1p1x2x1x2d2+bias:dw5m2s2p0");
    check_round_trip("2x3x224x224:conv3o32s2+leaky(0.1)+clip(-1.5,1e+20):conv1o8+sum(4)+elu(1)+prelu+scale");
    check_round_trip("1x1x1x1:conv1o1+sigmoid+tanh+swish+hsigmoid:conv1o1+hswish+gelu_erf+gelu_tanh+sum");
    const auto single = ConvChain::parse("1x8x9x9:conv1x7o64s2x1p1x2x1x2d2+bias");
    REQUIRE(single.ok());
    CHECK(to_string(*single) == "1x8x9x9:conv1x7o64s2x1p1x2x1x2d2+bias");
    CHECK(single->convs[0].kernel == Size2{1, 7});
    CHECK(single->convs[0].padding == Padding{1, 2, 1, 2});
    CHECK(single->convs[0].dilation == Size2{2, 2});
}

TEST_CASE("descriptor: fields are read in any order and written in one") {
    const auto pair = ConvPair::parse("1x8x9x9:dw3d2p1s2m3:conv3o4p1s1");
    REQUIRE(pair.ok());
    CHECK(to_string(*pair) == "1x8x9x9:dw3m3s2p1d2:conv3o4");
}

TEST_CASE("descriptor: the builders give what the text gives") {
    ConvPair pair({1, 32, 112, 112}, Conv::depthwise(3), Conv::dense(1, 64));
    pair.first() = pair.first().with(PostOpKind::bias).with(PostOpKind::relu6);
    pair.second() = pair.second().with(PostOpKind::bias).with(PostOpKind::relu6);
    CHECK(pair == *ConvPair::parse(mobile_pair));
    CHECK(pair.first().has(PostOpKind::bias));
    CHECK_FALSE(pair.first().has(PostOpKind::relu));
    const ConvChain chain =
        ConvChain::of({2, 16, 9, 9}, {Conv::dense(1, 96), Conv::depthwise(3, 2)}).then(Conv::dense(1, 24));
    CHECK(chain.conv_count == 3);
    CHECK(chain.stages().size() == 3);
    CHECK(chain.conv(1).stride == Size2{2, 2});
    CHECK(chain == *ConvChain::parse("2x16x9x9:conv1o96:dw3s2:conv1o24"));
}

TEST_CASE("descriptor: one to four convolutions, and two for a pair") {
    std::string text = "1x8x9x9";
    for (int count = 1; count <= max_stages; ++count) {
        text += count % 2 == 0 ? ":dw3+relu" : ":conv1o8+bias";
        const auto chain = ConvChain::parse(text);
        REQUIRE_MESSAGE(chain.ok(), chain.error().message);
        CHECK(chain->conv_count == count);
        CHECK(validate(*chain).ok());
        CHECK(to_string(*chain) == text);
        const auto pair = ConvPair::parse(text);
        CHECK(pair.ok() == (count == 2));
        if (pair) CHECK(*pair == *chain);
    }
    CHECK(contains(parse_error("1x8x9x9:dw3"), "found 1 convolution; expected the 2 of a pair"));
    CHECK(contains(parse_error("1x8x9x9:dw3:dw3:dw3"), "found 3 convolutions; expected the 2 of a pair"));
    CHECK(contains(parse_error(text + ":dw3"), "found ':dw3'; expected the end of the text after 4"));
    ConvChain chain = *ConvChain::parse(text);
    CHECK(contains(validate(chain.then(Conv::depthwise(3))).error().message,
                   "descriptor.conv_count is 5; a chain of 1 to 4 convolutions is accepted"));
    chain.conv_count = 0;
    CHECK(contains(validate(chain).error().message, "descriptor.conv_count is 0"));
    chain = *ConvChain::parse(text);
    chain.conv(3).stride.h = 9;
    CHECK(contains(validate(chain).error().message, "convs[3].stride.h is 9"));
}

TEST_CASE("descriptor: same padding puts the odd element after") {
    Conv conv = Conv::dense(4, 1);
    CHECK(conv.resolved_padding() == Padding{1, 1, 2, 2});
    conv.dilation = {2, 3};
    CHECK(conv.resolved_padding() == Padding{3, 4, 3, 5});
}

TEST_CASE("descriptor: parse errors name the place, what is there and what is accepted") {
    const std::pair<std::string, std::string> cases[] = {
        {"", "character 1: found the end of the text; expected the input shape"},
        {"1x2x3:dw3", "character 6: found ':dw3'; expected the input shape"},
        {"1x32x8x8", "expected ':' before a convolution"},
        {"1x32x8x8:pool3", "found 'pool3'; expected a convolution: dw<k> or conv<k>o<OC>"},
        {"1x32x8x8:dw", "expected a kernel size"},
        {"1x32x8x8:dw3x", "expected the second number of HxW"},
        {"1x32x8x8:conv3", "expected o<output channels>"},
        {"1x32x8x8:conv3o", "expected the number of output channels"},
        {"1x32x8x8:dw3:", "expected a convolution: dw<k> or conv<k>o<OC>"},
        {"1x32x8x8:dw3q", "':' before another convolution, '/' before a layout or the end"},
        {"1x32x8x8:dw3s2s2:dw3", "expected field 's' at most once"},
        {"1x32x8x8:dw3m:dw3", "expected a multiplier"},
        {"1x32x8x8:dw3s:dw3", "expected a stride"},
        {"1x32x8x8:dw3d-1:dw3", "expected a dilation"},
        {"1x32x8x8:dw3p1x2:dw3", "found ':dw3'; expected a padding: one number or TxLxBxR"},
        {"1x32x8x8:conv3o4m2:dw3", "expected m<multiplier> after dw only"},
        {"1x32x8x8:dw3+softsign:dw3", "found 'softsign:dw3'; expected a post-op: one of bias, relu"},
        {"1x32x8x8:dw3+leaky:dw3", "'(' and a slope"},
        {"1x32x8x8:dw3+leaky(x):dw3", "a finite number that fits a float"},
        {"1x32x8x8:dw3+leaky(nan):dw3", "a finite number that fits a float"},
        {"1x32x8x8:dw3+leaky(1e99):dw3", "a finite number that fits a float"},
        {"1x32x8x8:dw3+leaky(1:dw3", "')' after the slope"},
        {"1x32x8x8:dw3+clip(1):dw3", "',' and the upper bound"},
        {"1x32x8x8:dw3+sum():dw3", "a number of channels"},
        {"1x32x8x8:dw3+relu+relu+relu+relu+relu:dw3", "at most 4 post-ops"},
        {"1x32x8x8:dw3:dw3 ", "found ' '; expected a field"},
        {"1x99999999999999999999x8x8:dw3:dw3", "that fits 64 bits"},
    };
    for (const auto& wrong : cases) {
        CAPTURE(wrong.first);
        CHECK_MESSAGE(contains(parse_error(wrong.first), wrong.second), parse_error(wrong.first));
        CHECK(ConvPair::parse(wrong.first).error().code == ErrorCode::parse_error);
    }
}

TEST_CASE("descriptor: validation names the field, its value and what is accepted") {
    const ConvPair valid = *ConvPair::parse(mobile_pair);
    REQUIRE(validate(valid).ok());
    const float nan = std::numeric_limits<float>::quiet_NaN();
    struct Case {
        std::function<void(ConvPair&)> change;
        std::string message;
        ErrorCode code = ErrorCode::invalid_argument;
    };
    const Case cases[] = {
        {[](ConvPair& p) { p.input.n = 0; }, "input.n is 0; a batch of at least 1"},
        {[](ConvPair& p) { p.input.c = 0; }, "input.c is 0"},
        {[](ConvPair& p) { p.input.h = -1; }, "input.h is -1"},
        {[](ConvPair& p) { p.input.w = 0; }, "input.w is 0"},
        {[](ConvPair& p) { p.layout = static_cast<Layout>(9); },
         "descriptor.layout is 9; nhwc, nchw16c or nchw8c"},
        {[](ConvPair& p) { p.dtype = static_cast<DataType>(5); },
         "descriptor.dtype is 5; f32, bf16, f16, u8 or s8 is accepted"},
        {[](ConvPair& p) { p.output_dtypes[1] = DataType::bf16; },
         "descriptor.output_dtypes[1] is bf16; f32 is accepted where dtype is f32"},
        {[](ConvPair& p) { p.dtype = DataType::bf16, p.output_dtypes[1] = DataType::f32; },
         "descriptor.output_dtypes[1] is f32; bf16 is accepted where dtype is bf16"},
        {[](ConvPair& p) { p.dtype = DataType::f16, p.output_dtypes[0] = DataType::u8; },
         "descriptor.output_dtypes[0] is u8; f16 is accepted where dtype is f16"},
        {[](ConvPair& p) { p.dtype = DataType::u8, p.output_dtypes[0] = DataType::f32; },
         "descriptor.output_dtypes[0] is f32; u8 or s8 is accepted where dtype is u8"},
        {[](ConvPair& p) { p.dtype = DataType::s8, p.output_dtypes[1] = DataType::f16; },
         "descriptor.output_dtypes[1] is f16; u8, s8 or f32 is accepted where dtype is s8"},
        {[](ConvPair& p) { p.math = static_cast<Math>(7); },
         "descriptor.math is 7; fast, strict, bf16 or f16"},
        {[](ConvPair& p) { p.math = Math::f16; },
         "descriptor.math is f16; fast, bf16 or strict is accepted where dtype is f32"},
        {[](ConvPair& p) { p.math = Math::bf16, p.dtype = DataType::f16; },
         "descriptor.math is bf16; fast, f16 or strict is accepted where dtype is f16"},
        {[](ConvPair& p) { p.math = Math::f16, p.dtype = DataType::bf16; },
         "descriptor.math is f16; fast or strict is accepted where dtype is bf16"},
        {[](ConvPair& p) { p.math = Math::bf16, p.dtype = DataType::u8; },
         "descriptor.math is bf16; fast or strict is accepted where dtype is u8"},
        {[](ConvPair& p) { p.first().kind = static_cast<ConvKind>(2); }, "convs[0].kind is 2"},
        {[](ConvPair& p) { p.first().kernel.h = 16; },
         "convs[0].kernel.h is 16; a kernel from 1 to 15 is accepted"},
        {[](ConvPair& p) { p.second().kernel.w = 0; }, "convs[1].kernel.w is 0"},
        {[](ConvPair& p) { p.first().stride.h = 9; },
         "convs[0].stride.h is 9; a stride from 1 to 8 is accepted"},
        {[](ConvPair& p) { p.first().stride.w = 0; }, "convs[0].stride.w is 0"},
        {[](ConvPair& p) { p.first().dilation.w = 0; }, "convs[0].dilation.w is 0; a dilation from 1"},
        {[](ConvPair& p) { p.second().out_channels = 0; }, "convs[1].out_channels is 0; at least 1"},
        {[](ConvPair& p) { p.second().multiplier = 2; },
         "convs[1].multiplier is 2; 1, as the stage is dense"},
        {[](ConvPair& p) { p.first().out_channels = 32; }, "convs[0].out_channels is 32; 0, as a depthwise"},
        {[](ConvPair& p) { p.first().multiplier = 0; },
         "convs[0].multiplier is 0; a multiplier of at least 1"},
        {[](ConvPair& p) {
             p.first().padding = Padding{(1 << 20) + 1, 0, 0, 0};
         },
         "convs[0].padding.top is 1048577; a padding from 0 to 2^20 is accepted"},
        {[](ConvPair& p) {
             p.first().padding = Padding{0, 0, 0, -1};
         },
         "convs[0].padding.right is -1"},
        {[](ConvPair& p) { p.input.h = 2, p.first().padding = Padding{}; },
         "convs[0].kernel spans 3 rows with its dilation; at most 2"},
        {[](ConvPair& p) { p.first().post_op_count = 5; }, "convs[0].post_op_count is 5; a chain of 0 to 4"},
        {[](ConvPair& p) { p.first().post_ops[0].kind = static_cast<PostOpKind>(200); },
         "convs[0].post_ops[0].kind is 200"},
        {[](ConvPair& p) { p.first() = p.first().with(PostOpKind::bias); },
         "convs[0].post_ops[2] is a second bias"},
        {[&](ConvPair& p) { p.first() = p.first().with(PostOpKind::leaky, nan); },
         "convs[0].post_ops[2].alpha is nan; a finite number"},
        {[](ConvPair& p) { p.first() = p.first().with(PostOpKind::clip, 0, HUGE_VALF); },
         "convs[0].post_ops[2].beta is inf"},
        {[](ConvPair& p) { p.first() = p.first().with(PostOpKind::clip, 3, 1); }, "clips from 3 to 1"},
        {[](ConvPair& p) {
             p.second() = p.second().with({PostOpKind::sum, 0, 0, 65});
         },
         "convs[1].post_ops[2].channels is 65; 0 to 64"},
        {[](ConvPair& p) { p.input.h = 1 << 20; }, "input: the input tensor takes 15032385536 bytes",
         ErrorCode::overflow},
        {[](ConvPair& p) { p.input.h = 1 << 20, p.dtype = DataType::bf16; },
         "input: the input tensor takes 7516192768 bytes", ErrorCode::overflow},
        {[](ConvPair& p) { p.input.h = 1 << 20, p.dtype = DataType::s8; },
         "input: the input tensor takes 3758096384 bytes", ErrorCode::overflow},
        {[](ConvPair& p) {
             p.first().padding = Padding{1 << 20, 0, 0, 0}, p.dtype = DataType::u8;
         },
         "convs[0]: the padded input image takes 3758497792 bytes", ErrorCode::overflow},
        {[](ConvPair& p) { p.second().out_channels = 1 << 26, p.dtype = DataType::u8; },
         "convs[1]: the packed weight tensor takes 4294967296 bytes", ErrorCode::overflow},
        {[](ConvPair& p) {
             p.second().out_channels = 1 << 18, p.dtype = DataType::u8, p.output_dtypes[1] = DataType::f32;
         },
         "convs[1]: the output tensor takes 13153337344 bytes", ErrorCode::overflow},
        {[](ConvPair& p) { p.input.w = INT64_MAX; }, "more than 2^63 bytes", ErrorCode::overflow},
        {[](ConvPair& p) { p.input.n = INT64_MAX / 4; }, "a size that fits 64 bits", ErrorCode::overflow},
        {[](ConvPair& p) { p.first().dilation.h = 1 << 30; },
         "convs[0].dilation.h is 1073741824; a dilation from 1 to 4096"},
        {[](ConvPair& p) { p.input.c = 1, p.input.h = 1 << 21, p.input.w = 1; },
         "input.h is 2097152; a height of at most 2^20"},
        {[](ConvPair& p) { p.first().multiplier = INT64_MAX / 2; }, "convs[0].multiplier is",
         ErrorCode::overflow},
        {[](ConvPair& p) { p.second().out_channels = 1 << 26; }, "convs[1]: the packed weight tensor takes",
         ErrorCode::overflow},
        {[](ConvPair& p) { p.second().out_channels = 1 << 18; }, "convs[1]: the output tensor takes",
         ErrorCode::overflow},
    };
    for (const Case& wrong : cases) {
        ConvPair pair = valid;
        wrong.change(pair);
        CAPTURE(wrong.message);
        const Status status = validate(pair);
        REQUIRE_FALSE(status.ok());
        CHECK_MESSAGE(contains(status.error().message, wrong.message), status.error().message);
        CHECK(status.error().code == wrong.code);
    }
}

TEST_CASE("descriptor: tensors are as large as their data type's elements make them") {
    // 588 million elements: too many f32, enough room for bytes.
    ConvPair pair = *ConvPair::parse("1x3x14000x14000:conv3o3s8:conv1o4");
    CHECK(contains(validate(pair).error().message, "the input tensor takes 2352000000 bytes"));
    pair.dtype = DataType::f16;
    CHECK(validate(pair).ok());
    pair.dtype = DataType::u8;
    CHECK(validate(pair).ok());
    pair.input.n = INT64_MAX / (3 * 14000 * 14000);
    CHECK(validate(pair).ok());
    pair.input.n += 1;
    CHECK(contains(validate(pair).error().message, "a size that fits 64 bits is accepted"));
}

TEST_CASE("descriptor: paddings, kernels and strides of any size that some network has") {
    for (const char* text : {"1x3x227x227:conv11o64s4p2+relu:conv5o192", "1x8x9x9:dw3p20:conv1o8p1",
                             "1x8x1x1:dw15s8:conv15o8p30x0x0x30", "1x1x1x1:conv1o1p1048576x0x0x0:conv1o1"})
        CHECK_MESSAGE(validate(*ConvPair::parse(text)).ok(), text);
}

TEST_CASE("descriptor: an input with factors") {
    const std::string text = "1x144x28x28*:dw3:conv1o40";
    ConvChain chain = *ConvChain::parse(text);
    CHECK(chain.input.factors);
    CHECK(to_string(chain) == text);
    CHECK(to_string(stage_of(chain, 0)) == "1x144x28x28*:dw3");
    CHECK(to_string(stage_of(chain, 1)) == "1x144x28x28:conv1o40");
    CHECK(make_problem(chain)->name() == text + "/nhwc/f32/fast");
    ConvChain without = chain;
    without.input.factors = false;
    CHECK(chain != without);
    CHECK(hash_value(*make_problem(chain)) != hash_value(*make_problem(without)));
    chain.dtype = DataType::u8;
    CHECK(contains(validate(chain).error().message,
                   "input.factors is set; f32, bf16 or f16 is accepted with it"));
    CHECK_FALSE(ConvChain::parse("1x144x28*x28:dw3:conv1o40").ok());
    CHECK_FALSE(ConvChain::parse("1x144x28x28**:dw3:conv1o40").ok());
}

TEST_CASE("descriptor: a fifth post-op makes it invalid") {
    ConvPair pair = *ConvPair::parse(mobile_pair);
    for (int i = 0; i < 6; ++i)
        pair.first() = pair.first().with(PostOpKind::relu);
    CHECK(pair.first().chain().size() == 4);
    CHECK_FALSE(validate(pair).ok());
}

TEST_CASE("descriptor: stage_of takes a chain apart") {
    const ConvPair pair = *ConvPair::parse("2x8x9x7:dw3m2s2+bias:conv1o5+relu");
    CHECK(to_string(stage_of(pair, 0)) == "2x8x9x7:dw3m2s2+bias");
    CHECK(to_string(stage_of(pair, 1)) == "2x16x5x4:conv1o5+relu");
    const ConvChain chain = *ConvChain::parse("1x16x9x9:conv1o96:dw3s2+relu6:conv1o24");
    CHECK(to_string(stage_of(chain, 1)) == "1x96x9x9:dw3s2+relu6");
    CHECK(to_string(stage_of(chain, 2)) == "1x96x5x5:conv1o24");
}

TEST_CASE("descriptor: data types of a pair's tensors, and of its halves'") {
    ConvPair pair = *ConvPair::parse("1x8x9x7:dw3:conv1o5");
    const auto types = [](const auto& descriptor) {
        const Result<Problem> problem = make_problem(descriptor);
        REQUIRE_MESSAGE(problem.ok(), problem.error().message);
        std::string text = to_string(problem->dtype);
        for (int i = 0; i < problem->stage_count; ++i)
            text += std::string(" ") + to_string(problem->output_dtype(i));
        return text;
    };
    for (const DataType type : {DataType::f32, DataType::bf16, DataType::f16, DataType::u8, DataType::s8}) {
        pair.dtype = type;
        const std::string name = to_string(type);
        CHECK(types(pair) == name + " " + name + " " + name);
        CHECK(types(stage_of(pair, 0)) == name + " " + name);
        CHECK(types(stage_of(pair, 1)) == name + " " + name);
        CHECK(make_problem(pair)->name().ends_with("/nhwc/" + name + "/fast"));
    }
    pair.dtype = DataType::u8;
    pair.output_dtypes[0] = DataType::s8;
    CHECK(types(pair) == "u8 s8 u8");
    CHECK(types(stage_of(pair, 0)) == "u8 s8");
    CHECK(types(stage_of(pair, 1)) == "s8 u8");
    pair.output_dtypes[1] = DataType::f32;
    CHECK(types(pair) == "u8 s8 f32");
    CHECK(types(stage_of(pair, 1)) == "s8 f32");
    CHECK(make_problem(pair)->name().ends_with("/nhwc/u8-s8-f32/fast"));
    ConvChain four = *ConvChain::parse("1x8x9x7:dw3:conv1o5:dw3:conv1o4");
    four.dtype = DataType::u8;
    four.output_dtypes = {DataType::s8, {}, DataType::s8, DataType::f32};
    CHECK(types(four) == "u8 s8 u8 s8 f32");
    CHECK(types(stage_of(four, 1)) == "s8 u8");
    CHECK(make_problem(four)->name().ends_with("/nhwc/u8-s8-u8-s8-f32/fast"));
    four.output_dtypes[2] = DataType::f32;
    CHECK(contains(validate(four).error().message,
                   "descriptor.output_dtypes[2] is f32; u8 or s8 is accepted where dtype is u8"));
    ConvChain single = *ConvChain::parse("1x8x9x7:dw3");
    single.dtype = DataType::f16;
    single.output_dtypes[0] = DataType::f32;
    CHECK(contains(validate(single).error().message,
                   "descriptor.output_dtypes[0] is f32; f16 is accepted where dtype is f16"));
}

TEST_CASE("descriptor: random valid chains survive a round trip") {
    std::mt19937_64 engine(1);
    for (int i = 0; i < 500; ++i) {
        const ConvChain chain = test::random_chain(
            engine, {.factors = true, .min_stages = 1, .max_stages = 4, .views = 2, .input_sums = 4});
        const auto again = ConvChain::parse(to_string(chain));
        REQUIRE_MESSAGE(again.ok(), to_string(chain));
        CHECK(to_string(*again) == to_string(chain));
        CHECK(validate(*again).ok());
    }
}

TEST_CASE("descriptor: mutated texts are parsed or refused, and what is parsed round-trips") {
    std::mt19937_64 engine(2);
    const std::string alphabet = "0123456789x:+()mspdowcnv,.-e relu";
    int parsed = 0;
    for (int i = 0; i < 20000; ++i) {
        const std::string text = test::mutated(
            i % 2 == 0 ? mobile_pair : "1x8x9x9:conv1x7o64s2x1p1x2x1x2d2+clip(-1,2.5):dw5m2s2+sum(3)",
            alphabet, engine);
        const auto chain = ConvChain::parse(text);
        if (!chain) continue;
        ++parsed;
        (void)validate(*chain).ok();
        const std::string canonical = to_string(*chain);
        const auto again = ConvChain::parse(canonical);
        REQUIRE_MESSAGE(again.ok(), text);
        CHECK_MESSAGE(to_string(*again) == canonical, text);
    }
    CHECK(parsed > 1000);
}
