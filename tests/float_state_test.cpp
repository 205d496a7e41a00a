// Callers' rounding modes, FTZ, DAZ and traps change no bit of code, packed weights, outputs and texts, and
// are found as they were after every call.
#include "core/plan/float_state.hpp"

#include "support/doctest.hpp"

#include <fenv.h>
#include <immintrin.h>

#include <array>
#include <bit>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "core/plan/arithmetic.hpp"
#include "core/plan/machine.hpp"
#include "core/run/verification.hpp"
#include "support/guarded_call.hpp"
#include "support/temporary_file.hpp"
#include "tandem/context.hpp"
#include "tandem/machine_profile.hpp"
#include "tandem/thread_pool.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

constexpr std::uint32_t ftz = 0x8000, daz = 0x0040, denormal_mask = 0x0100, sticky_flags = 0x3f;

struct FloatState {
    const char* name;
    int rounding = FE_TONEAREST;
    std::uint32_t set = 0, cleared = 0;  // in MXCSR
    int traps = 0;
};

constexpr std::array states{
    FloatState{"upward", FE_UPWARD},
    FloatState{"downward", FE_DOWNWARD},
    FloatState{"toward zero", FE_TOWARDZERO},
    FloatState{"FTZ", FE_TONEAREST, ftz},
    FloatState{"DAZ", FE_TONEAREST, daz},
    FloatState{"FTZ and DAZ", FE_TONEAREST, ftz | daz},
    FloatState{"all traps", FE_TONEAREST, 0, denormal_mask, FE_ALL_EXCEPT},
    FloatState{"upward, FTZ, DAZ, all traps", FE_UPWARD, ftz | daz, denormal_mask, FE_ALL_EXCEPT},
};

std::uint16_t x87_control() {
    std::uint16_t control = 0;
    __asm__ volatile("fnstcw %0" : "=m"(control));
    return control;
}

/// The calling thread's, as a caller has it; the default again at the end.
class CallersState {
public:
    explicit CallersState(const FloatState& state) {
        fegetenv(&before_);
        feclearexcept(FE_ALL_EXCEPT);
        fesetround(state.rounding);
        feenableexcept(state.traps);
        _mm_setcsr((_mm_getcsr() | state.set) & ~state.cleared);
        mxcsr_ = _mm_getcsr();
        x87_ = x87_control();
    }
    ~CallersState() { fesetenv(&before_); }
    CallersState(const CallersState&) = delete;
    CallersState& operator=(const CallersState&) = delete;
    /// Flags included: what Tandem computes is not the caller's.
    bool unchanged() const { return _mm_getcsr() == mxcsr_ && x87_control() == x87_; }

private:
    fenv_t before_;
    std::uint32_t mxcsr_ = 0;
    std::uint16_t x87_ = 0;
};

std::vector<std::byte> copy(std::span<const std::byte> bytes) { return {bytes.begin(), bytes.end()}; }

/// All that a kernel's way through the API gives.
struct Products {
    std::vector<std::byte> code, weights;
    std::vector<float> output, steps;
    bool operator==(const Products& other) const {
        return code == other.code && weights == other.weights &&
               bitwise_difference(output, other.output).empty() &&
               bitwise_difference(steps, other.steps).empty();
    }
};

/// With numbers that denormals, roundings and traps matter for, where the type has them.
VerificationData awkward_data(const Problem& problem) {
    VerificationData data = make_verification_data(problem, DataKind::random, 3);
    if (problem.quantized()) return data;
    constexpr float denormal = 3e-39f, nan = std::numeric_limits<float>::quiet_NaN(),
                    infinity = std::numeric_limits<float>::infinity();
    const std::array<float, 4> numbers{denormal, nan, infinity, 60000.0f};
    for (std::size_t i = 0; i < numbers.size(); ++i)
        data.input[i * 31 % data.input.size()] = rounded(problem.dtype, numbers[i]);
    for (std::size_t i = 0; i < data.stages[0].bias.size(); i += 5)
        data.stages[0].bias[i] = denormal;
    for (std::size_t i = 0; i < data.stages[0].weights.size(); i += 7)
        data.stages[0].weights[i] = denormal;
    return data;
}

Products make_products(const ConvChain& chain, const Problem& problem, Isa isa, const VerificationData& data,
                       const std::function<void(const char*)>& after) {
    Products products;
    Context context;
    const Result<Kernel> kernel = context.dispatch(chain, {.isa = isa});
    after("dispatch");
    if (!kernel) return products;
    GuardedCall call(problem, *kernel, data);
    after("pack");
    call.clear();
    const bool ran = call.run().ok();
    after("run");
    products.code = copy(kernel->code());
    products.weights = copy(call.weights().memory());
    if (ran) products.output = call.output();
    call.clear();
    Result<ThreadPool> pool = ThreadPool::create({.threads = 2});  // whose worker has this thread's state
    if (pool && pool->run(*kernel, call.args())) products.steps = call.output();
    after("a pool's run");
    return products;
}

// As descriptors.
constexpr std::array chains{
    "1x20x9x9:dw3+bias+gelu_erf:conv1o24+bias+hswish",
    "1x32x12x12:conv3o32+bias+sigmoid:conv1o40+bias+swish",
    "1x16x8x8:conv1o48+bias+mish:dw3+bias+tanh:conv1o16+bias+elu(0.7)+sum(in)",
    "1x20x9x9:dw3+bias+gelu_tanh:conv1o24+bias+hsigmoid/nhwc/bf16",
    "1x32x9x9:conv3o32+bias+swish:conv1o24+bias+leaky(0.1)/nchw16c/bf16",
    "1x20x9x9:dw3+bias+gelu_erf:conv1o24+bias+hswish/nhwc/f16",
    "1x20x9x9:dw3+bias+hswish:conv1o24+bias+sigmoid/nhwc/u8",
    "1x32x9x9:conv3o32+bias+gelu_erf:conv1o24+bias/nhwc/s8",
};

/// What differs first; empty: nothing.
std::string difference(const ConvChain& chain) {
    const Result<Problem> problem = make_problem(chain);
    if (!problem) return problem.error().message;
    const VerificationData data = awkward_data(*problem);
    for (const Isa isa : host_isas(chain.dtype)) {
        const Products expected = make_products(chain, *problem, isa, data, [](const char*) {});
        if (expected.output.empty() || expected.steps.empty()) return "the kernel does not run";
        for (const FloatState& state : states) {
            const char* changed = nullptr;
            Products products;
            {
                const CallersState callers(state);
                products = make_products(chain, *problem, isa, data, [&](const char* call) {
                    if (!callers.unchanged() && !changed) changed = call;
                });
            }
            const std::string where = to_string(isa) + ", " + state.name + ": ";
            if (changed) return where + "the caller's state after " + changed;
            if (products.code != expected.code) return where + "code";
            if (products.weights != expected.weights) return where + "packed weights";
            if (!(products == expected)) return where + "output";
        }
    }
    return {};
}

}  // namespace

TEST_CASE("float state: kernels of every type and ISA give the same bits whatever the caller's is") {
    for (const char* text : chains) {
        const auto chain = ConvChain::parse(text);
        CAPTURE(text);
        REQUIRE(chain.ok());
        CHECK(difference(*chain) == "");
    }
}

TEST_CASE("float state: calls that end in an Error leave the caller's as it was") {
    Context context;
    const auto chain = ConvChain::parse(chains[0]);
    const auto kernel = context.dispatch(*chain);
    REQUIRE(kernel.ok());
    for (const FloatState& state : states) {
        std::array<bool, 5> refused{}, unchanged{};
        {
            const CallersState callers(state);
            refused[0] = !context.dispatch(*chain, {.threads = -1}).ok();
            unchanged[0] = callers.unchanged();
            refused[1] = !kernel->pack({}).ok();
            unchanged[1] = callers.unchanged();
            refused[2] = !(*kernel)(Args{}).ok();
            unchanged[2] = callers.unchanged();
            refused[3] = !ConvChain::parse("1x2x3").ok();
            unchanged[3] = callers.unchanged();
            refused[4] = !reference(*chain, {}).ok();
            unchanged[4] = callers.unchanged();
        }
        CAPTURE(state.name);
        for (std::size_t i = 0; i < refused.size(); ++i) {
            CAPTURE(i);
            CHECK(refused[i]);
            CHECK(unchanged[i]);
        }
    }
}

TEST_CASE("float state: the reference and verify() are the same whatever the caller's is") {
    for (const char* text : {chains[0], chains[3], chains[6]}) {
        const ConvChain chain = *ConvChain::parse(text);
        const Problem problem = *make_problem(chain);
        const VerificationData data = make_verification_data(problem, DataKind::random, 1);
        const auto stages = data.views(problem.stage_count);
        const auto expected = reference(chain, data.reference_args(stages));
        REQUIRE(expected.ok());
        Context context;
        for (const FloatState& state : states) {
            std::optional<Result<std::vector<double>>> computed;
            std::optional<Result<VerifyReport>> report;
            {
                const CallersState callers(state);
                computed = reference(chain, data.reference_args(stages));
                report = verify(context, chain);
            }
            CAPTURE(text);
            CAPTURE(state.name);
            REQUIRE(computed->ok());
            CHECK(**computed == *expected);
            CHECK(report->ok());
        }
    }
}

TEST_CASE("float state: texts and files mean the same numbers, and the same numbers are written") {
    const std::string text = "1x8x9x9:dw3+clip(-0.3,0.7)+leaky(0.1):conv1o8+elu(0.33333334)";
    const ConvChain expected = *ConvChain::parse(text);
    const std::string profile = TANDEM_SOURCE_DIR "/docs/machines/emerald-rapids.json";
    const TemporaryFile plain("float_state_plain.json"), other("float_state_other.json");
    REQUIRE(MachineProfile::load(profile)->save(plain.path()).ok());
    for (const FloatState& state : states) {
        std::string written;
        bool equal = false, saved = false;
        {
            const CallersState callers(state);
            const Result<ConvChain> chain = ConvChain::parse(text);
            if (chain) written = to_string(*chain);
            const Result<MachineProfile> loaded = MachineProfile::load(profile);
            saved = loaded && loaded->save(other.path()).ok();
            const DefaultFloatState comparing;
            equal = chain && *chain == expected;
        }
        CAPTURE(state.name);
        CHECK(equal);
        CHECK(written == to_string(expected));
        CHECK(saved);
        CHECK(other.text() == plain.text());
    }
}

TEST_CASE("float state: conversions of single numbers") {
    std::vector<float> numbers;
    for (std::uint32_t bits = 0; bits < 0x7f900000; bits += 0x3571)
        numbers.push_back(std::bit_cast<float>(bits));
    for (const std::uint32_t bits :
         {0x33000000u, 0x33000001u, 0x32ffffffu, 0x33800000u, 0x33c00000u, 0x387fffffu})
        numbers.push_back(std::bit_cast<float>(bits));
    const auto convert = [&numbers](std::vector<std::byte>& bytes) {
        std::size_t at = 0;
        for (const DataType type : {DataType::f32, DataType::bf16, DataType::f16, DataType::u8, DataType::s8})
            for (std::size_t i = 0; i < numbers.size(); ++i, at += 4)
                store_element(type, bytes.data() + at, 0, numbers[i]);
    };
    std::vector<std::byte> expected(numbers.size() * 20), bytes(numbers.size() * 20);
    convert(expected);
    for (const FloatState& state : states) {
        bool unchanged = false;
        {
            const CallersState callers(state);
            convert(bytes);
            unchanged = callers.unchanged();
        }
        CAPTURE(state.name);
        CHECK(unchanged);
        CHECK((bytes == expected));
    }
}

TEST_CASE("float state: where the caller's is the default its flags are those of arithmetic") {
    const std::uint32_t before = _mm_getcsr();
    {
        const DefaultFloatState state;
        CHECK((_mm_getcsr() & ~sticky_flags) == 0x1f80);
        CHECK(x87_control() == 0x37f);
    }
    CHECK((_mm_getcsr() & ~sticky_flags) == (before & ~sticky_flags));
}
