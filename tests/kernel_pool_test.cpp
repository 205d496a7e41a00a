// A thread pool computes the bits that one thread computes.
#include "support/doctest.hpp"

#include "core/plan/machine.hpp"
#include "support/guarded_call.hpp"
#include "tandem/context.hpp"
#include "tandem/thread_pool.hpp"

using namespace tandem;
using namespace tandem::test;

TEST_CASE("thread pool: a kernel's output has the same bits on any number of threads") {
    Context context;
    for (int threads = 1; threads <= 4; ++threads) {
        auto pool = ThreadPool::create({.threads = threads});
        REQUIRE(pool.ok());
        REQUIRE(pool->threads() == threads);
        for (const char* text :
             {"1x40x15x13:dw3+bias+relu6:conv1o50+bias+swish", "3x17x9x9:dw5s2+prelu:conv1o20+sum",
              "1x9x12x12:conv3o33+bias+elu(1):conv3o18s2", "1x64x1x1:dw3:conv1o40"})
            for (const Isa isa : host_isas(DataType::f32)) {
                const ConvPair pair = *ConvPair::parse(text);
                const auto kernel = context.dispatch(pair, {.isa = isa});
                REQUIRE(kernel.ok());
                CAPTURE(kernel->name());
                CAPTURE(threads);
                GuardedCall call(*make_problem(pair), *kernel);
                call.clear();
                REQUIRE((*kernel)(call.args()).ok());
                const std::vector<float> expected = call.output();
                for (int round = 0; round < 3; ++round) {
                    call.clear();
                    const Status status = pool->run(*kernel, call.args());
                    REQUIRE_MESSAGE(status.ok(), status.error().message);
                    CHECK(bitwise_difference(call.output(), expected) == "");
                }
            }
    }
}

TEST_CASE("thread pool: the errors of a kernel's call come back") {
    auto pool = ThreadPool::create({.threads = 2});
    REQUIRE(pool.ok());
    CHECK(pool->run(Kernel(), {}).error().message.find("kernel is empty") != std::string::npos);
    const ConvPair pair = *ConvPair::parse("1x8x6x6:dw3:conv1o9");
    Context context;
    const Kernel kernel = *context.dispatch(pair);
    GuardedCall call(*make_problem(pair), kernel);
    Args args = call.args();
    args.input = nullptr;
    const Status status = pool->run(kernel, args);
    REQUIRE_FALSE(status.ok());
    CHECK(status.error().code == ErrorCode::invalid_argument);
    CHECK(status.error().message.starts_with("input is null"));
    CHECK(pool->run(kernel, call.args()).ok());
}
