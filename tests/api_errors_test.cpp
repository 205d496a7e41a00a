// One case per error of the public API: its code, and a sentence with the field, its value and what is
// accepted.
#include "support/doctest.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "core/plan/machine.hpp"
#include "core/plan/machine_detail.hpp"
#include "core/plan/plan.hpp"
#include "support/guarded_call.hpp"
#include "tandem/context.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

void check_error(const Error& error, ErrorCode code, std::initializer_list<const char*> parts) {
    CAPTURE(error.message);
    CHECK(error.code == code);
    for (const char* part : parts)
        CHECK_MESSAGE(error.message.find(part) != std::string::npos, part);
}

/// A kernel with residuals after both stages, and a correct call of it.
struct Fixture {
    ConvPair pair = *ConvPair::parse("1x8x6x5:dw3+bias+sum:conv1o9+bias+prelu+scale+sum(4)");
    Context context;
    Kernel kernel = *context.dispatch(pair);
    GuardedCall call{*make_problem(pair), kernel};
    Args args = call.args();

    Error run(int part = 0, int nparts = 1) { return kernel.run(part, nparts, args, call.scratch()).error(); }
    std::vector<StageWeights> stages() const { return call.data().views(2); }
};

}  // namespace

TEST_CASE("API errors: the fixture's call is right") {
    Fixture f;
    CHECK(f.kernel.run(0, 1, f.args, f.call.scratch()).ok());
    CHECK(f.kernel(f.args).ok());
    CHECK(f.kernel.pack(f.stages()).ok());
    f.args.input_bytes = f.args.output_bytes = f.args.residual_bytes[0] = f.args.residual_bytes[1] =
        0;  // not stated
    CHECK(f.kernel.run(0, 1, f.args, f.call.scratch()).ok());
}

TEST_CASE("API errors: tensors that are null, too small or misaligned") {
    const auto with = [](auto change) {
        Fixture f;
        change(f.args);
        const Error called = f.kernel(f.args).error();
        const Error run = f.run();
        CHECK(called.message == run.message);
        return run;
    };
    using enum ErrorCode;
    check_error(with([](Args& a) { a.input = nullptr; }), invalid_argument, {"input is null", "960 bytes"});
    check_error(with([](Args& a) { a.output = nullptr; }), invalid_argument,
                {"output is null", "1080 bytes"});
    check_error(with([](Args& a) { a.residual[0] = nullptr; }), invalid_argument,
                {"residual[0] is null", "960 bytes"});
    check_error(with([](Args& a) { a.residual[1] = nullptr; }), invalid_argument,
                {"residual[1] is null", "480 bytes"});
    check_error(with([](Args& a) { a.input_bytes = 959; }), buffer_too_small,
                {"input_bytes is 959", "at least 960"});
    check_error(with([](Args& a) { a.output_bytes = 1076; }), buffer_too_small,
                {"output_bytes is 1076", "at least 1080"});
    check_error(with([](Args& a) { a.residual_bytes[0] = 4; }), buffer_too_small,
                {"residual[0]_bytes is 4", "at least 960"});
    check_error(with([](Args& a) { a.residual_bytes[1] = 476; }), buffer_too_small,
                {"residual[1]_bytes is 476", "at least 480"});
    check_error(with([](Args& a) { a.input = static_cast<const char*>(a.input) - 1; }), invalid_argument,
                {"input is at", "4 bytes"});
    check_error(with([](Args& a) { a.output = static_cast<char*>(a.output) - 2; }), invalid_argument,
                {"output is at", "4 bytes"});
    check_error(with([](Args& a) { a.residual[1] = static_cast<const char*>(a.residual[1]) - 3; }),
                invalid_argument, {"residual[1] is at"});
}

TEST_CASE("API errors: residuals of stages that take none") {
    Context context;
    const ConvChain chain = *ConvChain::parse("1x8x6x5:dw3+bias:conv1o8+bias+sum(in)");
    const Kernel kernel = *context.dispatch(chain);
    const GuardedCall call(*make_problem(chain), kernel);
    CHECK(kernel(call.args()).ok());
    const auto passing = [&](std::size_t i) {
        Args args = call.args();
        args.residual[i] = args.input;
        return kernel(args).error();
    };
    using enum ErrorCode;
    check_error(passing(0), invalid_argument,
                {"residual[0] is at", "null is accepted, as convs[0] has no +sum."});
    check_error(
        passing(1), invalid_argument,
        {"residual[1] is at", "null is accepted, as convs[1] has +sum(in), which adds the input itself."});
    check_error(passing(2), invalid_argument,
                {"residual[2] is at", "null is accepted, as the chain has 2 convolutions."});
}

TEST_CASE("API errors: larger buffers than needed are fine") {
    Fixture f;
    f.args.input_bytes += 100;
    f.args.output_bytes += 100;
    CHECK(f.kernel.run(0, 1, f.args, f.call.scratch()).ok());
}

TEST_CASE("API errors: weights that are missing, empty or another kernel's") {
    Fixture f;
    f.args.weights = nullptr;
    check_error(f.run(), ErrorCode::invalid_argument, {"weights is null or empty", "pack()"});
    const PackedWeights empty;
    CHECK(empty.bytes() == 0);
    f.args.weights = &empty;
    check_error(f.run(), ErrorCode::invalid_argument, {"weights is null or empty"});
    Fixture other;
    other.pair.second().out_channels = 10;
    const Kernel kernel = *f.context.dispatch(other.pair);
    GuardedCall call(*make_problem(other.pair), kernel);
    f.args.weights = &call.weights();
    check_error(f.run(), ErrorCode::invalid_argument,
                {"weights were packed for another kernel", "1x8x6x5:dw3"});
}

TEST_CASE("API errors: scratch that is too small, misaligned or null") {
    Fixture f;
    const std::span<std::byte> scratch = f.call.scratch();
    REQUIRE(scratch.size() > 64);
    check_error(f.kernel.run(0, 1, f.args, scratch.first(scratch.size() - 1)).error(),
                ErrorCode::buffer_too_small, {"scratch has", "at least", "are needed"});
    check_error(f.kernel.run(0, 1, f.args, {}).error(), ErrorCode::buffer_too_small, {"scratch has 0 bytes"});
    std::vector<std::byte> memory(scratch.size() + 128);
    auto* aligned = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64);
    CHECK(f.kernel.run(0, 1, f.args, {aligned, scratch.size()}).ok());
    check_error(f.kernel.run(0, 1, f.args, {aligned + 32, scratch.size()}).error(),
                ErrorCode::invalid_argument, {"scratch is at", "64 bytes"});
    check_error(f.kernel.run(0, 1, f.args, {static_cast<std::byte*>(nullptr), scratch.size()}).error(),
                ErrorCode::invalid_argument, {"scratch is at", "64 bytes"});
}

TEST_CASE("API errors: parts outside of their number") {
    Fixture f;
    check_error(f.run(1, 1), ErrorCode::invalid_argument, {"part is 1 of nparts 1", "0 <= part < nparts"});
    check_error(f.run(-1, 4), ErrorCode::invalid_argument, {"part is -1 of nparts 4"});
    check_error(f.run(0, 0), ErrorCode::invalid_argument, {"nparts 0"});
    check_error(f.run(0, -3), ErrorCode::invalid_argument, {"nparts -3"});
    const int most = std::numeric_limits<int>::max();
    CHECK(f.kernel.run(most - 1, most, f.args, f.call.scratch()).ok());  // empty: past the tiles
}

TEST_CASE("API errors: packing checks every span") {
    Fixture f;
    const std::vector<float> zeros(1000);
    const auto with = [&](auto change) {
        auto stages = f.stages();
        change(stages);
        return f.kernel.pack(stages).error();
    };
    const std::span<const float> some(zeros);
    using enum ErrorCode;
    check_error(with([&](auto& s) { s[0].weights = some.first(71); }), invalid_argument,
                {"stages[0].weights has 71 elements", "72 are needed"});
    check_error(with([&](auto& s) { s[0].weights = some.first(73); }), invalid_argument,
                {"stages[0].weights has 73 elements"});
    check_error(with([&](auto& s) { s[0].bias = {}; }), invalid_argument,
                {"stages[0].bias has 0 elements", "8 are needed"});
    check_error(with([&](auto& s) { s[0].prelu = some.first(8); }), invalid_argument,
                {"stages[0].prelu has 8 elements", "0 are needed"});
    check_error(with([&](auto& s) { s[1].weights = {}; }), invalid_argument,
                {"stages[1].weights has 0 elements (null)", "72 are needed"});
    check_error(with([&](auto& s) { s[1].bias = some.first(8); }), invalid_argument,
                {"stages[1].bias has 8 elements", "9 are needed"});
    check_error(with([&](auto& s) { s[1].prelu = {}; }), invalid_argument,
                {"stages[1].prelu has 0 elements", "9 are needed"});
    check_error(with([&](auto& s) { s[1].scale = some.first(10); }), invalid_argument,
                {"stages[1].scale has 10 elements", "9 are needed"});
    check_error(with([&](auto& s) {
                    s[1].scale = {static_cast<const float*>(nullptr), 9};
                }),
                invalid_argument, {"stages[1].scale", "null"});
    check_error(with([&](auto& s) { s.pop_back(); }), invalid_argument, {"1 stages", "2 are needed"});
    check_error(f.kernel.pack(some.first(72), some.first(8), some.first(72), some.first(9)).error(),
                invalid_argument, {"stages[1].prelu"});
    const Kernel single = *f.context.dispatch(*ConvChain::parse("1x8x6x5:dw3"));
    check_error(single.pack(f.stages()).error(), invalid_argument, {"2 stages", "1 are needed"});
    const StageWeights wrong{some.first(5), {}, {}, {}};
    check_error(single.pack({&wrong, 1}).error(), invalid_argument,
                {"stages[0].weights has 5 elements", "72 are needed"});
}

TEST_CASE("API errors: tensors of other data types are checked in their own bytes") {
    struct Case {
        DataType dtype;
        const char *input, *output, *alignment;
    };
    for (const Case& c :
         {Case{DataType::bf16, "480", "540", "2 bytes"}, Case{DataType::f16, "480", "540", "2 bytes"},
          Case{DataType::u8, "240", "270", ""}}) {
        ConvPair pair = *ConvPair::parse("1x8x6x5:dw3+bias+sum:conv1o9");
        pair.dtype = c.dtype;
        CAPTURE(to_string(c.dtype));
        Context context;
        const Kernel kernel = *context.dispatch(pair);
        CHECK(kernel.input_dtype() == c.dtype);
        CHECK(kernel.output_dtype() == c.dtype);
        CHECK(kernel.residual_dtype(0) == c.dtype);
        GuardedCall call(*make_problem(pair), kernel);
        CHECK(call.run().ok());
        const auto with = [&](auto change) {
            Args args = call.args();
            change(args);
            return kernel(args).error();
        };
        using enum ErrorCode;
        check_error(with([](Args& a) { a.input = nullptr; }), invalid_argument, {"input is null", c.input});
        check_error(with([](Args& a) { --a.output_bytes; }), buffer_too_small, {"output_bytes is", c.output});
        check_error(with([](Args& a) { --a.residual_bytes[0]; }), buffer_too_small,
                    {"residual[0]_bytes is", c.input});
        if (!is_quantized(c.dtype))
            check_error(with([](Args& a) { a.input = static_cast<const char*>(a.input) - 1; }),
                        invalid_argument, {"input is at", c.alignment});
    }
}

TEST_CASE("API errors: packing a quantised kernel takes integers and scales, and checks them") {
    ConvPair pair = *ConvPair::parse("1x8x6x5:dw3+bias:conv1o9+sum");
    pair.dtype = DataType::u8;
    pair.output_dtypes[0] = DataType::s8;
    Context context;
    const Kernel kernel = *context.dispatch(pair);
    const VerificationData data = make_verification_data(*make_problem(pair), DataKind::random, 1);
    const std::vector<float> floats(100, 1.0f);
    const std::span<const float> some(floats);
    const auto with = [&](auto change) {
        std::vector<StageWeights> stages = data.views(2);
        Quantization input = data.input_quantization;
        change(stages, input);
        return kernel.pack(stages, input).error();
    };
    CHECK(kernel.pack(data.views(2), data.input_quantization).ok());
    using enum ErrorCode;
    check_error(with([&](auto& s, auto&) { s[0].weights = some.first(72); }), invalid_argument,
                {"stages[0].weights has 72 elements", "0 are needed"});
    check_error(with([&](auto& s, auto&) { s[0].quantized_weights = {}; }), invalid_argument,
                {"stages[0].quantized_weights has 0 elements", "72 are needed"});
    check_error(with([&](auto& s, auto&) { s[1].weight_scales = some.first(8); }), invalid_argument,
                {"stages[1].weight_scales has 8 elements", "9 are needed"});
    check_error(with([&](auto&, auto& input) { input.scale = 0; }), invalid_argument,
                {"input.scale is 0", "a positive number"});
    check_error(with([&](auto& s, auto&) { s[1].output.scale = HUGE_VALF; }), invalid_argument,
                {"stages[1].output.scale is inf", "a positive number"});
    check_error(with([&](auto&, auto& input) { input.zero_point = -1; }), invalid_argument,
                {"input.zero_point is -1", "0 to 255", "u8"});
    check_error(with([&](auto& s, auto&) { s[0].output.zero_point = 128; }), invalid_argument,
                {"stages[0].output.zero_point is 128", "-128 to 127", "s8"});
    check_error(with([&](auto& s, auto&) { s[1].residual.zero_point = 256; }), invalid_argument,
                {"stages[1].residual.zero_point is 256", "0 to 255", "u8"});
    check_error(kernel.pack(some.first(72), some.first(8), some.first(72), {}).error(), invalid_argument,
                {"stages[0].weights has 72 elements", "0 are needed"});
    pair.dtype = DataType::bf16;
    pair.output_dtypes[0] = {};
    const Kernel floating = *context.dispatch(pair);
    check_error(floating.pack(data.views(2)).error(), invalid_argument,
                {"stages[0].weights has 0 elements", "72 are needed"});
}

TEST_CASE("API errors: dispatch refuses data types that do not go together") {
    Context context;
    ConvPair pair = *ConvPair::parse("1x8x6x5:dw3:conv1o9");
    pair.output_dtypes[1] = DataType::u8;
    check_error(context.dispatch(pair).error(), ErrorCode::invalid_argument,
                {"descriptor.output_dtypes[1] is u8", "f32 is accepted where dtype is f32"});
    pair.dtype = DataType::u8;
    pair.output_dtypes[1] = {};
    pair.output_dtypes[0] = DataType::bf16;
    check_error(context.dispatch(pair).error(), ErrorCode::invalid_argument,
                {"descriptor.output_dtypes[0] is bf16", "u8 or s8 is accepted"});
    ConvChain single = *ConvChain::parse("1x8x6x5:dw3");
    single.dtype = static_cast<DataType>(9);
    check_error(context.dispatch(single).error(), ErrorCode::invalid_argument,
                {"descriptor.dtype is 9", "f32, bf16, f16, u8 or s8"});
}

TEST_CASE("API errors: an empty kernel says so everywhere") {
    const Kernel empty;
    CHECK_FALSE(static_cast<bool>(empty));
    check_error(empty({}).error(), ErrorCode::invalid_argument, {"kernel is empty", "dispatch()"});
    check_error(empty.run(0, 1, {}, {}).error(), ErrorCode::invalid_argument, {"kernel is empty"});
    check_error(empty.pack(std::span<const StageWeights>()).error(), ErrorCode::invalid_argument,
                {"kernel is empty"});
    CHECK(empty.scratch_bytes() == 0);
    CHECK(empty.tiles() == 0);
    CHECK(empty.code().empty());
    CHECK(empty.symbols().empty());
    CHECK(empty.name() == "empty kernel");
    CHECK_FALSE(empty.explain().empty());
    CHECK_FALSE(empty.fused());
    CHECK(empty.plan() == Plan());
    CHECK(empty.residual_shape(0) == TensorShape{0, 0, 0, 0});
}

TEST_CASE("API errors: dispatch refuses descriptors and options that are out of range") {
    Context context;
    ConvPair pair = *ConvPair::parse("1x8x6x5:dw3:conv1o9");
    pair.input.c = 0;
    check_error(context.dispatch(pair).error(), ErrorCode::invalid_argument, {"input.c", "0"});
    pair.input.c = 8;
    pair.second().out_channels = -1;
    check_error(context.dispatch(pair).error(), ErrorCode::invalid_argument, {"convs[1].out_channels", "-1"});
    pair.second().out_channels = 9;
    check_error(context.dispatch(pair, {.threads = 0}).error(), ErrorCode::invalid_argument,
                {"threads is 0", "1 to 4096"});
    Plan plan = context.dispatch(pair)->plan();
    plan.tile_w = 99;
    check_error(context.dispatch(pair, {.plan = std::make_shared<const Plan>(plan)}).error(),
                ErrorCode::invalid_argument, {"plan.tile_w is 99", "1 to 5"});
    ConvChain single = *ConvChain::parse("1x8x6x5:dw3");
    single.convs[0].stride.h = 0;
    check_error(context.dispatch(single).error(), ErrorCode::invalid_argument, {"stride", "0"});
}

TEST_CASE("API errors: error() of what is no error says so") {
    const Result<int> number = 7;
    check_error(number.error(), ErrorCode::internal, {"Not an error."});
    CHECK(*number == 7);
    check_error(Status().error(), ErrorCode::internal, {"Not an error."});
    CHECK(&Status().error() == &number.error());
    const Status failed = Error{ErrorCode::system, "no"};
    CHECK(failed.error().message == "no");
    CHECK(std::string(to_string(ErrorCode::internal)) == "internal");
}

TEST_CASE("API errors: an ISA that the machine lacks") {
    check_error(choose_isa(Isa::avx512, std::nullopt, Isa::avx2).error(), ErrorCode::unsupported,
                {"avx512", "avx2"});
    check_error(choose_isa(std::nullopt, "sse4", Isa::avx2).error(), ErrorCode::invalid_argument,
                {"TANDEM_ISA is 'sse4'", "avx2"});
    const bool has_avx512 = is_avx512(host_isas(DataType::f32).back());
    Context context;
    const auto kernel = context.dispatch(*ConvPair::parse("1x8x6x5:dw3:conv1o9"), {.isa = Isa::avx512});
    CHECK(kernel.ok() == has_avx512);
    if (!has_avx512) check_error(kernel.error(), ErrorCode::unsupported, {"avx512", "avx2"});
}

TEST_CASE("API errors: a kernel describes its tensors") {
    Fixture f;
    CHECK(f.kernel.input_shape() == TensorShape{1, 8, 6, 5});
    CHECK(f.kernel.output_shape() == TensorShape{1, 9, 6, 5});
    CHECK(f.kernel.residual_shape(0) == TensorShape{1, 8, 6, 5});
    CHECK(f.kernel.residual_shape(1) == TensorShape{1, 4, 6, 5});
    CHECK(f.kernel.residual_shape(2) == TensorShape{0, 0, 0, 0});
    CHECK(f.kernel.residual_shape(-1) == TensorShape{0, 0, 0, 0});
    CHECK(f.kernel.input_view() == TensorView(Layout::nhwc, 8, 40, 0, 240));
    CHECK_FALSE(f.kernel.fused());  // six rows of five pixels are one tile
    CHECK(f.kernel.name().starts_with("1x8x6x5:dw3+bias+sum:conv1o9"));
    for (const CodeSymbol& symbol : f.kernel.symbols())
        CHECK(symbol.offset + symbol.size <= f.kernel.code().size());
}
