#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "support/doctest.hpp"

#include "core/plan/problem.hpp"
#include "core/run/verification_data.hpp"
#include "support/random_chain.hpp"
#include "tandem/reference.hpp"

using namespace tandem;

namespace {

std::vector<double> run_single(const char* text, const std::vector<float>& input, const StageWeights& stage,
                               const std::vector<float>& residual = {}) {
    const auto result =
        reference(*ConvChain::parse(text), {.input = input, .stages = {&stage, 1}, .residual = {residual}});
    REQUIRE_MESSAGE(result.ok(), result.error().message);
    return *result;
}

/// One output by the definition, straight from the tensors in memory; no post-ops.
double convolve_at(const Stage& s, const std::vector<double>& in, Layout layout, std::int64_t n_images,
                   const std::vector<float>& weights, std::int64_t n, std::int64_t o, std::int64_t y,
                   std::int64_t x) {
    const bool depthwise = s.depthwise();
    const std::int64_t ins = depthwise ? 1 : s.in_channels;
    double sum = 0;
    for (std::int64_t i = 0; i < ins; ++i)
        for (std::int64_t ky = 0; ky < s.conv.kernel.h; ++ky)
            for (std::int64_t kx = 0; kx < s.conv.kernel.w; ++kx) {
                const std::int64_t iy = y * s.conv.stride.h + ky * s.conv.dilation.h - s.padding.top;
                const std::int64_t ix = x * s.conv.stride.w + kx * s.conv.dilation.w - s.padding.left;
                if (iy < 0 || ix < 0 || iy >= s.in_h || ix >= s.in_w) continue;
                const std::int64_t c = depthwise ? o / s.conv.multiplier : i;
                const auto at =
                    element_index({n_images, s.in_channels, s.in_h, s.in_w}, layout, n, c, iy, ix);
                const auto w = ((o * ins + i) * s.conv.kernel.h + ky) * s.conv.kernel.w + kx;
                sum += in[static_cast<std::size_t>(at)] * weights[static_cast<std::size_t>(w)];
            }
    return sum;
}

std::vector<double> convolve(const Problem& p, int stage, const std::vector<double>& in,
                             const std::vector<float>& weights) {
    const TensorShape out = p.output_shape(stage);
    std::vector<double> result(static_cast<std::size_t>(element_count(out, p.layout)));
    for (std::int64_t n = 0; n < out.n; ++n)
        for (std::int64_t o = 0; o < out.c; ++o)
            for (std::int64_t y = 0; y < out.h; ++y)
                for (std::int64_t x = 0; x < out.w; ++x)
                    result[static_cast<std::size_t>(element_index(out, p.layout, n, o, y, x))] =
                        convolve_at(p.stage(stage), in, p.layout, out.n, weights, n, o, y, x);
    return result;
}

}  // namespace

TEST_CASE("reference: a dense 2x2 by hand") {
    const std::vector<float> input{1, 2, 3, 4}, weights{1, 10, 100, 1000}, bias{0.5f};
    CHECK(run_single("1x1x2x2:conv2o1p0+bias", input, {weights, bias, {}, {}}) ==
          std::vector<double>{4321.5});
    // "same": nothing before, one row and column after
    CHECK(run_single("1x1x2x2:conv2o1", input, {weights, {}, {}, {}}) ==
          std::vector<double>{4321, 402, 43, 4});
}

TEST_CASE("reference: a depthwise multiplier by hand") {
    const std::vector<float> input{2, 3}, weights{1, 10, 100, 1000};
    CHECK(run_single("1x2x1x1:dw1m2", input, {weights, {}, {}, {}}) == std::vector<double>{2, 20, 300, 3000});
}

TEST_CASE("reference: post-ops by hand") {
    const std::vector<float> input{-1, 2}, weights{1, 0, 0, 1}, slope{0.5f, 3}, one{2};
    const auto value = [&](const char* ops) {
        return run_single((std::string("1x2x1x1:conv1o2") + ops).c_str(), input, {weights, {}, {}, {}});
    };
    using Values = std::vector<double>;
    CHECK(value("+relu") == Values{0, 2});
    CHECK(value("+leaky(4)+relu6") == Values{0, 2});
    CHECK(value("+leaky(4)") == Values{-4, 2});
    CHECK(value("+clip(-0.5,1)") == Values{-0.5, 1});
    CHECK(value("+hsigmoid")[1] == doctest::Approx(5.0 / 6));
    CHECK(value("+hswish")[0] == doctest::Approx(-1.0 / 3));
    CHECK(value("+sigmoid")[1] == doctest::Approx(0.8807970779778823));
    CHECK(value("+tanh")[0] == doctest::Approx(-0.7615941559557649));
    CHECK(value("+swish")[1] == doctest::Approx(1.7615941559557646));
    CHECK(value("+elu(2)")[0] == doctest::Approx(-1.2642411176571153));
    CHECK(value("+gelu_erf")[1] == doctest::Approx(1.9544997361036416));
    CHECK(value("+gelu_tanh")[1] == doctest::Approx(1.954597694087775));
    CHECK(run_single("1x2x1x1:conv1o2+prelu", input, {weights, {}, slope, {}}) == Values{-0.5, 2});
    CHECK(run_single("1x2x1x1:conv1o2+scale", input, {weights, {}, {}, slope}) == Values{-0.5, 6});
    CHECK(run_single("1x2x1x1:conv1o2+sum(1)", input, {weights, {}, {}, {}}, one) == Values{1, 2});
}

namespace {

/// A quantised 1x1 of one channel at a time: `input` and `weights` as stored.
struct QuantizedCase {
    DataType input = DataType::u8, output = DataType::u8;
    StageWeights stage{};
    std::vector<float> residual{};
    Quantization input_quantization{};

    std::vector<double> run(const char* text, const std::vector<float>& values) const {
        ConvChain single = *ConvChain::parse(text);
        single.dtype = input;
        single.output_dtypes[0] = output;
        const auto result = reference(single, {.input = values,
                                               .stages = {&stage, 1},
                                               .residual = {residual},
                                               .input_quantization = input_quantization});
        REQUIRE_MESSAGE(result.ok(), result.error().message);
        return *result;
    }
};

}  // namespace

TEST_CASE("reference: a quantised stage by hand") {
    const std::vector<std::int8_t> weights{1, 2, 3, -128};
    const std::vector<float> scales{0.5f};
    QuantizedCase one;
    one.stage.quantized_weights = weights;
    one.stage.weight_scales = scales;
    one.input_quantization = {0.25f, 10};
    one.stage.output = {2, 100};
    // (1 - 10) * 1 + (20 - 10) * 2 + (30 - 10) * 3 - 128 * (11 - 10) = -57, an eighth of it is real, half
    // of that a step
    CHECK(one.run("1x1x2x2:conv2o1p0", {1, 20, 30, 11}) == std::vector<double>{96});
    one.output = DataType::f32;
    CHECK(one.run("1x1x2x2:conv2o1p0", {1, 20, 30, 11}) == std::vector<double>{-57.0 / 8});
    // Padding is the zero point: taps there add nothing.
    CHECK(one.run("1x1x2x2:conv2o1", {1, 20, 30, 11}) ==
          std::vector<double>{-57.0 / 8, (10.0 + 3) / 8, (20.0 + 2) / 8, 1.0 / 8});
    one.output = DataType::s8;
    one.stage.output = {0.125f, -1};
    CHECK(one.run("1x1x2x2:conv2o1p0", {1, 20, 30, 11}) == std::vector<double>{-58});
    one.input = DataType::s8;
    CHECK(one.run("1x1x2x2:conv2o1p0", {1, 20, 30, -128}) == std::vector<double>{127});  // clamped
    CHECK(one.run("1x1x2x2:conv2o1p0", {1, -128, -128, 127}) == std::vector<double>{-128});
}

TEST_CASE("reference: a quantised stage's bias is added with one rounding, and results are rounded to even") {
    const std::vector<std::int8_t> weights{1};
    const std::vector<float> third{1.0f / 3}, bias{-1};
    QuantizedCase one;
    one.output = DataType::f32;
    one.stage.quantized_weights = weights;
    one.stage.weight_scales = third;
    one.stage.bias = bias;
    CHECK(one.run("1x1x1x1:conv1o1+bias", {3}) == std::vector<double>{std::fma(3.0f, 1.0f / 3, -1.0f)});
    CHECK(one.run("1x1x1x1:conv1o1+bias", {3})[0] != 0);
    CHECK(one.run("1x1x1x1:conv1o1+relu+bias", {3}) ==
          std::vector<double>{0});  // here 3 * (1/3) is rounded first
    const std::vector<float> half{0.5f};
    one.output = DataType::u8;
    one.stage.weight_scales = half;
    one.stage.bias = {};
    CHECK(one.run("1x1x1x1:conv1o1", {5}) == std::vector<double>{2});
    CHECK(one.run("1x1x1x1:conv1o1", {7}) == std::vector<double>{4});
}

TEST_CASE("reference: a quantised stage's post-ops on real numbers, and its residual") {
    const std::vector<std::int8_t> weights{1, 0, 0, 1};
    const std::vector<float> scales{1, 1}, slope{0.5f, 3};
    QuantizedCase one;
    one.input = DataType::s8;
    one.output = DataType::f32;
    one.stage.quantized_weights = weights;
    one.stage.weight_scales = scales;
    const auto value = [&](const char* ops) {
        return one.run((std::string("1x2x1x1:conv1o2") + ops).c_str(), {-1, 2});
    };
    using Values = std::vector<double>;
    CHECK(value("+relu") == Values{0, 2});
    CHECK(value("+leaky(4)+relu6") == Values{0, 2});
    CHECK(value("+leaky(0.1)") == Values{-0.1f, 2});
    CHECK(value("+clip(-0.5,1)") == Values{-0.5, 1});
    CHECK(value("+hsigmoid") == Values{2.0f * (1.0f / 6), 5.0f * (1.0f / 6)});
    CHECK(value("+hswish") == Values{-1.0f * (2.0f * (1.0f / 6)), 2.0f * (5.0f * (1.0f / 6))});
    CHECK(value("+tanh") == Values{static_cast<float>(std::tanh(-1.0)), static_cast<float>(std::tanh(2.0))});
    one.stage.prelu = slope;
    CHECK(value("+prelu") == Values{-0.5, 2});
    one.stage.prelu = {};
    one.residual = {7.5f};
    CHECK(value("+sum(1)") == Values{6.5, 2});  // an f32 residual is real
    one.output = DataType::u8;
    one.residual = {7};
    one.stage.output = {0.5f, 100};
    one.stage.residual = {4, 5};
    CHECK(value("+sum(1)") == Values{114, 104});  // -1 + 4 * (7 - 5) = 7 and 2
}

TEST_CASE("reference: bf16 and f16 round weights, the intermediate and the output") {
    // 257 has one bit too many for bf16, 2049 for f16.
    struct Type {
        DataType dtype;
        float odd, even;
    };
    for (const auto& [dtype, odd, even] : {Type{DataType::bf16, 257, 256}, Type{DataType::f16, 2049, 2048}}) {
        CAPTURE(to_string(dtype));
        ConvPair pair = *ConvPair::parse("1x1x1x1:conv1o1+bias:conv1o1+bias");
        pair.dtype = dtype;
        const auto run = [&](float w1, float b1, float w2, float b2) {
            const std::vector<float> input{1}, weights[] = {{w1}, {w2}}, bias[] = {{b1}, {b2}};
            const StageWeights stages[] = {{weights[0], bias[0], {}, {}}, {weights[1], bias[1], {}, {}}};
            return (*reference(pair, {.input = input, .stages = stages}))[0];
        };
        CHECK(run(odd, 0, 1, 0) == even);       // a weight
        CHECK(run(even, 1, 1, -even) == 0);     // the intermediate: even + 1 becomes even
        CHECK(run(1, 0, 1, even) == even);      // the output
        CHECK(run(0, odd, 1, -even) == 0);      // a bias is f32, but what it is added to is rounded
        CHECK(run(even, 0, 1, 1 - even) == 1);  // not: the sum before its bias
    }
}

TEST_CASE("reference: random chains without post-ops equal the definition") {
    std::mt19937_64 engine(4);
    for (int i = 0; i < 80; ++i) {
        ConvChain chain = test::random_chain(engine, {.max_flops = 2e5, .min_stages = 1, .max_stages = 4});
        for (Conv& conv : chain.convs)
            conv.post_op_count = 0;
        CAPTURE(to_string(chain));
        const Problem problem = *make_problem(chain);
        const VerificationData data = make_verification_data(problem, DataKind::integers, 5);
        const std::vector<StageWeights> stages = data.views(problem.stage_count);
        const auto result = reference(chain, {.input = data.input, .stages = stages});
        REQUIRE(result.ok());
        std::vector<double> tensor(data.input.begin(), data.input.end());
        for (int s = 0; s < problem.stage_count; ++s)
            tensor = convolve(problem, s, tensor, data.stages[static_cast<std::size_t>(s)].weights);
        CHECK(*result == tensor);
    }
}

TEST_CASE("reference: wrong spans are errors that name them") {
    const ConvChain single = *ConvChain::parse("1x1x2x2:conv2o1+bias+prelu+scale+sum");
    const std::vector<float> four(4), one(1), wrong(3);
    const auto message = [&](const std::vector<float>& input, const StageWeights& stage,
                             const std::vector<float>& residual) {
        const auto result =
            reference(single, {.input = input, .stages = {&stage, 1}, .residual = {residual}});
        return result ? std::string("ok") : result.error().message;
    };
    CHECK(message(four, {four, one, one, one}, four) == "ok");
    CHECK(message(wrong, {four, one, one, one}, four) == "input has 3 elements; 4 is accepted");
    CHECK(message(four, {wrong, one, one, one}, four) == "stages[0].weights has 3 elements; 4 is accepted");
    CHECK(message(four, {four, wrong, one, one}, four) == "stages[0].bias has 3 elements; 1 is accepted");
    CHECK(message(four, {four, one, {}, one}, four) == "stages[0].prelu has 0 elements; 1 is accepted");
    CHECK(message(four, {four, one, one, wrong}, four) == "stages[0].scale has 3 elements; 1 is accepted");
    CHECK(message(four, {four, one, one, one}, wrong) == "residual[0] has 3 elements; 4 is accepted");
    CHECK(reference(single, {.input = four, .stages = {}}).error().message ==
          "stages has 0 elements; 1 is accepted");
}

TEST_CASE("reference: quantised stages take integers and their scales instead of weights, and check them") {
    ConvChain single = *ConvChain::parse("1x1x2x2:conv2o1+sum");
    single.dtype = DataType::u8;
    const std::vector<float> four(4), one(1);
    const std::vector<std::int8_t> integers(4), three(3);
    const auto message = [&](auto change) {
        StageWeights stage;
        stage.quantized_weights = integers;
        stage.weight_scales = one;
        Quantization input;
        change(stage, input);
        const auto result = reference(
            single, {.input = four, .stages = {&stage, 1}, .residual = {four}, .input_quantization = input});
        return result ? std::string("ok") : result.error().message;
    };
    CHECK(message([](StageWeights&, Quantization&) {}) == "ok");
    CHECK(message([&](StageWeights& s, Quantization&) { s.weights = four; }) ==
          "stages[0].weights has 4 elements; 0 is accepted");
    CHECK(message([&](StageWeights& s, Quantization&) { s.quantized_weights = three; }) ==
          "stages[0].quantized_weights has 3 elements; 4 is accepted");
    CHECK(message([&](StageWeights& s, Quantization&) { s.weight_scales = four; }) ==
          "stages[0].weight_scales has 4 elements; 1 is accepted");
    CHECK(message([](StageWeights&, Quantization& q) { q.scale = 0; }) ==
          "input_quantization.scale is 0; a positive number is accepted");
    CHECK(message([](StageWeights& s, Quantization&) { s.output.scale = HUGE_VALF; }) ==
          "stages[0].output.scale is inf; a positive number is accepted");
    CHECK(message([](StageWeights&, Quantization& q) { q.zero_point = 256; }) ==
          "input_quantization.zero_point is 256; 0 to 255 is accepted for u8");
    CHECK(message([](StageWeights& s, Quantization&) { s.output.zero_point = -1; }) ==
          "stages[0].output.zero_point is -1; 0 to 255 is accepted for u8");
    CHECK(message([](StageWeights& s, Quantization&) { s.residual.scale = -1; }) ==
          "stages[0].residual.scale is -1; a positive number is accepted");
    single.output_dtypes[0] = DataType::s8;
    CHECK(message([](StageWeights& s, Quantization&) { s.output.zero_point = 128; }) ==
          "stages[0].output.zero_point is 128; -128 to 127 is accepted for s8");
    single.output_dtypes[0] = DataType::f32;
    CHECK(message([](StageWeights& s, Quantization&) { s.output.scale = s.residual.scale = 0; }) ==
          "ok");  // they have no meaning
    single.dtype = DataType::bf16;
    single.output_dtypes[0] = {};
    CHECK(message([&](StageWeights& s, Quantization&) { s.weights = four; }) ==
          "stages[0].quantized_weights has 4 elements; 0 is accepted");
}
