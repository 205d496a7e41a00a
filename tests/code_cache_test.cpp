// The cache of generated code: what counts as the same kernel, what is kept, and what is compiled once.
#include "core/run/code_cache.hpp"

#include "support/doctest.hpp"

#include <barrier>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <thread>

#include "core/plan/choice.hpp"
#include "support/guarded_call.hpp"
#include "tandem/context.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

ConvPair pair_of(const char* text) { return *ConvPair::parse(text); }

/// Small problems that differ in their output channels.
ConvPair numbered_pair(std::int64_t number) {
    ConvPair pair = pair_of("1x8x4x4:dw3:conv1o1");
    pair.second().out_channels = number;
    return pair;
}

CacheKey key_of(const ConvPair& pair) {
    return {*make_problem(pair), Isa::avx2, 1, Effort::estimate, std::nullopt};
}

Result<std::shared_ptr<const KernelCode>> failing_compile() { return Error{ErrorCode::unsupported, "No."}; }

/// TANDEM_CACHE_CAPACITY while in scope.
class CapacityVariable {
public:
    explicit CapacityVariable(const char* value) {
        if (const char* before = std::getenv(name)) before_ = before;
        setenv(name, value, 1);
    }
    ~CapacityVariable() { before_ ? setenv(name, before_->c_str(), 1) : unsetenv(name); }

private:
    static constexpr const char* name = "TANDEM_CACHE_CAPACITY";
    std::optional<std::string> before_;
};

template <class Work>
void run_at_once(int count, const Work& work) {
    std::barrier start(count);
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i)
        threads.emplace_back([&, i] {
            start.arrive_and_wait();
            work(i);
        });
    for (std::thread& thread : threads)
        thread.join();
}

}  // namespace

TEST_CASE("code cache: the second dispatch is a hit and shares the code") {
    Context context;
    const ConvPair pair = pair_of("1x20x8x8:dw3+bias+relu6:conv1o24+bias");
    const auto first = context.dispatch(pair), second = context.dispatch(pair);
    REQUIRE(first.ok());
    REQUIRE(second.ok());
    CHECK(first->code().data() == second->code().data());
    const CacheStats stats = context.cache_stats();
    CHECK(stats.misses == 1);
    CHECK(stats.hits == 1);
    CHECK(stats.entries == 1);
    CHECK(stats.evictions == 0);
    CHECK(stats.failures == 0);
    CHECK(stats.code_bytes == first->code().size());
    CHECK(stats.emission_seconds > 0);
}

TEST_CASE(
    "code cache: another spelling of a problem is the same key, another layout, ISA, thread count or plan is "
    "not") {
    Context context;
    ConvPair pair = pair_of("1x20x8x8:dw3:conv1o24");
    const auto kernel = context.dispatch(pair);
    REQUIRE(kernel.ok());
    REQUIRE(context.dispatch(pair_of("1x20x8x8:dw3p1:conv1o24")).ok());
    CHECK(context.cache_stats().misses == 1);
    REQUIRE(context.dispatch(pair, {.threads = 2}).ok());
    CHECK(context.cache_stats().misses == 2);
    REQUIRE(context.dispatch(pair, {.plan = std::make_shared<const Plan>(kernel->plan())}).ok());
    CHECK(context.cache_stats().misses == 3);
    REQUIRE(context.dispatch(pair, {.plan = std::make_shared<const Plan>(kernel->plan())}).ok());
    CHECK(context.cache_stats().misses == 3);
    pair.layout = Layout::nchw16c;
    REQUIRE(context.dispatch(pair).ok());
    CHECK(context.cache_stats().misses == 4);
    REQUIRE(context.dispatch(stage_of(pair, 0)).ok());
    CHECK(context.cache_stats().misses == 5);
    const Isa best = host_isas(DataType::f32).back();
    for (const Isa isa : host_isas(DataType::f32))
        REQUIRE(context.dispatch(pair, {.isa = isa}).ok());
    if (!std::getenv("TANDEM_ISA"))
        CHECK(context.dispatch(pair, {.isa = best})->code().data() == context.dispatch(pair)->code().data());
    CHECK(context.cache_stats().misses == 5 + host_isas(DataType::f32).size() - 1);
}

TEST_CASE("code cache: ISAs that differ in one feature are different keys") {
    CodeCache cache({.kernels = 8, .bytes = std::size_t{1} << 30});
    CacheKey key = key_of(numbered_pair(16));
    int compiles = 0;
    const auto compile = [&] {
        ++compiles;
        return KernelCode::create(key.problem, choose_plan(key.problem, Machine{}, 1), "a test", {});
    };
    const Isa vnni = Isa::avx512_vnni;
    for (const Isa isa : {vnni, vnni.with(IsaFeature::vbmi), vnni.with(IsaFeature::fp16), vnni}) {
        key.isa = isa;
        REQUIRE(cache.get(key, key.problem, compile).ok());
    }
    CHECK(compiles == 3);
}

TEST_CASE("code cache: the batch size is not part of the key") {
    Context context;
    ConvPair pair = pair_of("1x20x8x8:dw3:conv1o24");
    const auto one = context.dispatch(pair);
    pair.input.n = 5;
    const auto five = context.dispatch(pair);
    REQUIRE(five.ok());
    CHECK(one->code().data() == five->code().data());
    CHECK(one->output_shape().n == 1);
    CHECK(five->output_shape().n == 5);
    CHECK(five->tiles() == 5 * one->tiles());
    CHECK(five->name() != one->name());
    CHECK(context.cache_stats().misses == 1);
    CHECK(context.cache_stats().hits == 1);
}

TEST_CASE("code cache: beyond its capacity the entry used longest ago goes") {
    Context context({.cache_capacity = 3});
    for (int i = 1; i <= 3; ++i)
        REQUIRE(context.dispatch(numbered_pair(i)).ok());
    REQUIRE(context.dispatch(numbered_pair(1)).ok());
    REQUIRE(context.dispatch(numbered_pair(4)).ok());  // 2 goes
    CHECK(context.cache_stats().entries == 3);
    CHECK(context.cache_stats().evictions == 1);
    CHECK(context.cache_stats().misses == 4);
    for (const int kept : {1, 3, 4})
        REQUIRE(context.dispatch(numbered_pair(kept)).ok());
    CHECK(context.cache_stats().misses == 4);
    REQUIRE(context.dispatch(numbered_pair(2)).ok());
    CHECK(context.cache_stats().misses == 5);
    CHECK(context.cache_stats().evictions == 2);
}

TEST_CASE("code cache: TANDEM_CACHE_CAPACITY is the capacity where the options leave it open") {
    const auto entries_of = [](const ContextOptions& options) {
        Context context(options);
        for (int i = 1; i <= 4; ++i)
            REQUIRE(context.dispatch(numbered_pair(i)).ok());
        return context.cache_stats().entries;
    };
    const CapacityVariable two("2");
    CHECK(entries_of({}) == 2);
    CHECK(entries_of({.cache_capacity = 3}) == 3);
    const CapacityVariable empty("");
    CHECK(entries_of({}) == 4);
}

TEST_CASE("code cache: many threads that ask at once compile once") {
    constexpr int threads = 8;
    for (int round = 0; round < 20; ++round) {
        Context context;
        const ConvPair pair = pair_of("1x40x12x12:dw3+bias+relu6:conv1o50+bias+hswish");
        const std::byte* code[threads] = {};
        run_at_once(threads, [&](int i) {
            if (const auto kernel = context.dispatch(pair)) code[i] = kernel->code().data();
        });
        const CacheStats stats = context.cache_stats();
        CHECK(stats.misses == 1);
        CHECK(stats.hits == threads - 1);
        CHECK(stats.entries == 1);
        for (const std::byte* each : code)
            CHECK(each == code[0]);
        CHECK(code[0] != nullptr);
    }
}

TEST_CASE("code cache: threads that dispatch, evict, clear and count at once") {
    Context context({.cache_capacity = 4});
    std::atomic<int> failures{0};
    run_at_once(6, [&](int i) {
        for (int round = 0; round < (i == 5 ? 20 : 100); ++round) {
            const auto kernel = context.dispatch(numbered_pair(1 + (round * 7 + i) % 9));
            if (!kernel) ++failures;
            if (i == 5) context.clear_cache();
            if (context.cache_stats().entries > 4 + 6) ++failures;  // entries that others are compiling count
        }
    });
    CHECK(failures == 0);
    const CacheStats stats = context.cache_stats();
    CHECK(stats.hits + stats.misses == 5 * 100 + 20);
    CHECK(stats.entries <= 4);
}

TEST_CASE("code cache: a failed compile is told to all who wait and is not kept") {
    CodeCache cache({.kernels = 8, .bytes = std::size_t{1} << 30});
    const ConvPair pair = numbered_pair(3);
    std::atomic<int> errors{0};
    run_at_once(4, [&](int) {
        const auto kernel = cache.get(key_of(pair), *make_problem(pair), failing_compile);
        if (!kernel && kernel.error().message == "No.") ++errors;
    });
    CHECK(errors == 4);
    CHECK(cache.stats().entries == 0);
    CHECK(cache.stats().failures >= 1);
    CHECK(cache.stats().misses == 0);
    CHECK(cache.stats().hits == 0);
    Context context;
    Plan impossible = context.dispatch(pair)->plan();
    impossible.tile_h = 1000;
    const DispatchOptions options{.plan = std::make_shared<const Plan>(impossible)};
    for (int i = 0; i < 2; ++i)
        CHECK_FALSE(context.dispatch(pair, options).ok());
    CHECK(context.cache_stats().failures == 2);
    CHECK(context.cache_stats().entries == 1);
}

TEST_CASE("code cache: a kernel outlives its eviction, a cleared cache and its context") {
    const ConvPair pair = pair_of("1x20x8x8:dw3+bias+relu6:conv1o24+bias");
    std::optional<Context> context(ContextOptions{.cache_capacity = 1});
    auto dispatched = context->dispatch(pair);
    REQUIRE(dispatched.ok());
    Kernel kernel = *dispatched;
    dispatched = Error{};
    GuardedCall call(*make_problem(pair), kernel);
    const auto output = [&] {
        call.clear();
        REQUIRE(call.run().ok());
        return call.output();
    };
    const std::vector<float> expected = output();
    REQUIRE(context->dispatch(numbered_pair(2)).ok());
    CHECK(context->cache_stats().evictions == 1);
    CHECK(bitwise_difference(output(), expected) == "");
    context->clear_cache();
    CHECK(context->cache_stats().entries == 0);
    CHECK(context->cache_stats().code_bytes == 0);
    CHECK(bitwise_difference(output(), expected) == "");
    context.reset();
    CHECK(bitwise_difference(output(), expected) == "");
    CHECK(kernel.name().starts_with("1x20x8x8:"));
    CHECK_FALSE(kernel.explain().empty());
    std::fill_n(static_cast<std::byte*>(call.args().output), call.args().output_bytes, std::byte{0xff});
    REQUIRE(kernel(call.args()).ok());
    CHECK(bitwise_difference(call.output(), expected) == "");
}

TEST_CASE("code cache: clearing forgets entries, not counts; a moved context keeps its cache") {
    Context context;
    REQUIRE(context.dispatch(numbered_pair(1)).ok());
    context.clear_cache();
    CHECK(context.cache_stats().misses == 1);
    CHECK(context.cache_stats().evictions == 0);
    REQUIRE(context.dispatch(numbered_pair(1)).ok());
    CHECK(context.cache_stats().misses == 2);
    Context moved = std::move(context);
    REQUIRE(moved.dispatch(numbered_pair(1)).ok());
    CHECK(moved.cache_stats().hits == 1);
    CHECK(&Context::shared() == &Context::shared());
}
