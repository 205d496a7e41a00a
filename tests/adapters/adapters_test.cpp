// The adapters to OpenMP and oneTBB: one call, many at once, calls from inside of teams and tasks, and
// errors.
#include "support/doctest.hpp"

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "tandem/parts.hpp"
#include "tandem/tandem.hpp"

#ifdef _OPENMP
#include "tandem/openmp.hpp"
#endif
#ifdef TANDEM_TEST_TBB
#include "tandem/tbb.hpp"

#include <oneapi/tbb/global_control.h>
#endif

using namespace tandem;

namespace {

/// A kernel with its operands, and what it computes on one thread.
struct Layer {
    Kernel kernel;
    std::vector<float> w1, b1, w2, b2, x, expected;
    PackedWeights weights;

    explicit Layer(const char* text)
        : kernel(*Context::shared().dispatch(*ConvChain::parse(text), {.threads = 4})) {
        const auto ramp = [](std::int64_t count) {
            std::vector<float> values;
            for (std::int64_t i = 0; i < count; ++i)
                values.push_back(static_cast<float>(i * 7 % 11 - 5) / 8);
            return values;
        };
        const TensorShape in = kernel.input_shape(), out = kernel.output_shape();
        w1 = ramp(in.c * 9), b1 = ramp(in.c), w2 = ramp(in.c * out.c), b2 = ramp(out.c);
        x = ramp(in.n * in.c * in.h * in.w);
        weights = *kernel.pack(w1, b1, w2, b2);
        expected.resize(static_cast<std::size_t>(out.n * out.c * out.h * out.w));
        REQUIRE(kernel(args(expected)).ok());
    }
    Args args(std::vector<float>& y) const {
        return {.input = x.data(), .output = y.data(), .weights = &weights};
    }

    /// `run` gives the same bits.
    template <class Run>
    bool same(Run run) const {
        std::vector<float> y(expected.size(), -1.0f);
        const Status status = run(kernel, args(y));
        return status.ok() && y == expected;
    }
};

const char* const shapes[] = {"2x32x28x28:dw3+bias+relu:conv1o64+bias", "1x64x7x7:dw3+bias:conv1o256+bias",
                              "1x8x1x1:dw3+bias:conv1o16+bias"};

/// What both adapters have to do.
template <class Run>
void check_adapter(Run run) {
    for (const char* shape : shapes) {
        CAPTURE(shape);
        const Layer layer(shape);
        for (const int threads : {0, 1, 2, 3, 16})
            CHECK(layer.same([&](const Kernel& k, const Args& a) { return run(k, a, threads); }));
        std::atomic<int> right{0};
        std::vector<std::thread> callers;
        for (int i = 0; i < 4; ++i)
            callers.emplace_back([&] {
                for (int round = 0; round < 20; ++round)
                    right += layer.same([&](const Kernel& k, const Args& a) { return run(k, a, 2); });
            });
        for (std::thread& caller : callers)
            caller.join();
        CHECK(right == 80);
    }
    CHECK(run(Kernel(), Args{}, 2).error().code == ErrorCode::invalid_argument);
    const Layer layer(shapes[0]);
    std::vector<float> y(layer.expected.size());
    Args args = layer.args(y);
    args.input = nullptr;
    CHECK(run(layer.kernel, args, 2).error().message.find("input is null") != std::string::npos);
}

/// A plan that stores its intermediate whole has two steps.
Layer stepped() { return Layer("1x256x14x14:dw3+bias+relu:conv1o512+bias"); }

}  // namespace

#ifdef _OPENMP
TEST_CASE("OpenMP: the caller's team, from outside and inside of parallel regions") {
    const auto run = [](const Kernel& k, const Args& a, int threads) {
        return with_openmp::run(k, a, threads);
    };
    check_adapter(run);
    const Layer layer = stepped();
    CHECK(layer.same([&](const Kernel& k, const Args& a) { return run(k, a, 0); }));
    for (const int levels : {1, 2}) {
        omp_set_max_active_levels(levels);
        int right = 0;
#pragma omp parallel for num_threads(3) reduction(+ : right)
        for (int i = 0; i < 12; ++i)
            right += layer.same([&](const Kernel& k, const Args& a) { return run(k, a, i % 3); });
        CHECK(right == 12);
    }
}
#else
TEST_CASE("OpenMP is not here: its adapter is not tested") { MESSAGE("skipped"); }
#endif

#ifdef TANDEM_TEST_TBB
TEST_CASE("oneTBB: the caller's arena, from outside and inside of tasks") {
    const auto run = [](const Kernel& k, const Args& a, int threads) {
        return with_tbb::run(k, a, threads);
    };
    const ::oneapi::tbb::global_control more(::oneapi::tbb::global_control::max_allowed_parallelism, 4);
    check_adapter(run);
    const Layer layer = stepped();
    std::atomic<int> right{0};
    ::oneapi::tbb::parallel_for(0, 24, [&](int i) {
        right += layer.same([&](const Kernel& k, const Args& a) { return run(k, a, i % 4); });
    });
    CHECK(right == 24);
    ::oneapi::tbb::task_arena arena(2);
    CHECK(arena.execute(
        [&] { return layer.same([&](const Kernel& k, const Args& a) { return run(k, a, 0); }); }));
}

TEST_CASE("oneTBB: a cancelled group of the caller's leaves no part out") {
    const Layer layer(shapes[0]);
    std::atomic<bool> right{false};
    ::oneapi::tbb::task_group_context group;
    ::oneapi::tbb::parallel_for(
        0, 1,
        [&](int) {
            group.cancel_group_execution();
            right = layer.same([](const Kernel& k, const Args& a) { return with_tbb::run(k, a, 4); });
        },
        group);
    CHECK(right);
}
#else
TEST_CASE("oneTBB is not here: its adapter is not tested") { MESSAGE("skipped; Debian: libtbb-dev"); }
#endif

TEST_CASE("PartsOf: no more parts than tiles, and a first error that is kept") {
    const Layer layer(shapes[2]);
    std::vector<float> y(layer.expected.size());
    const Args args = layer.args(y);
    PartsOf call(layer.kernel, args, 1000);
    CHECK(call.parts() <= layer.kernel.tiles());
    call.run(0, call.parts());  // one too many
    CHECK_FALSE(call.ok());
    call.run(7, 0);
    CHECK(call.status().error().message.find("part is") != std::string::npos);
}
