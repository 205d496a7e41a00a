// Every single allocation of every kind of call fails, one after the other: an Error each time, never an
// exception, an abort or a wait; and afterwards the same call works.
#include "support/doctest.hpp"

#include <cstdlib>
#include <functional>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "process/failing_allocations.hpp"
#include "process/long_run.hpp"
#include "process/small_kernels.hpp"
#include "tandem/tandem.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

#ifdef TANDEM_SANITIZED
constexpr int least_errors = 0;  // sanitizers have a malloc of their own, which does not fail
#else
constexpr int least_errors = 10;
#endif

// What a call left behind; kept out of doctest's sight until allocations work again.
struct Outcome {
    bool ok = false, worded = false;
    ErrorCode code = ErrorCode::internal;
    std::int64_t allocations = 0;
};

Outcome outcome_of(const std::function<Status()>& call, std::int64_t nth, bool forever,
                   Allocator allocator = Allocator::any) {
    Outcome outcome;
    const FailingAllocations failing(nth, forever, allocator);
    const Status status = call();
    outcome.ok = status.ok();
    outcome.allocations = failing.count();
    if (!status.ok()) outcome.code = status.error().code;
    outcome.worded = status.ok() || !status.error().message.empty();
    return outcome;
}

constexpr std::int64_t none = std::numeric_limits<std::int64_t>::max();

// Calls `call` with one after the other of its allocations failing, or all behind it, too; of many every
// so many-th. `after` has to work each time. Some allocations are not needed: the call may succeed all the
// same. Returns how many Errors there were.
int fail_each(const std::string& what, const std::function<Status()>& call,
              const std::function<bool()>& after, Allocator allocator = Allocator::any) {
    const std::int64_t all = outcome_of(call, none, false, allocator).allocations;
    const std::int64_t step = 1 + all / repetitions(40);
    int errors = 0;
    for (const bool forever : {false, true}) {
        for (std::int64_t nth = 0; nth < all; nth += step) {
            const Outcome outcome = outcome_of(call, nth, forever, allocator);
            CAPTURE(what);
            CAPTURE(nth);
            CHECK(outcome.worded);
            CAPTURE(std::string(to_string(outcome.code)));
            if (!outcome.ok)
                CHECK((outcome.code == ErrorCode::out_of_memory || outcome.code == ErrorCode::system));
            errors += outcome.ok ? 0 : 1;
            REQUIRE(after());
        }
    }
    MESSAGE(what << ": " << all << " allocations, " << errors << " Errors");
    return errors;
}

template <class T>
Status to_status(const Result<T>& result) {
    if (result) return {};
    return Error{result.error().code, result.error().message.empty() ? "" : "there is one"};  // no allocation
}

}  // namespace

TEST_CASE("parse, dispatch, pack and run with every allocation failing") {
    setenv("TANDEM_WISDOM", "", 1);
    for (const std::string& text : chains_of_all_kinds()) {
        CAPTURE(text);
        const auto chain = ConvChain::parse(text);
        REQUIRE(chain.ok());
        fail_each(
            "parse", [&] { return to_status(ConvChain::parse(text)); },
            [&] { return ConvChain::parse(text).ok(); });
        Context context;
        const auto fresh = [&] {
            context.clear_cache();
            return to_status(context.dispatch(*chain));
        };
        REQUIRE(fresh().ok());
        CHECK(fail_each("dispatch", fresh, [&] { return context.dispatch(*chain).ok(); }) >= least_errors);
        const auto kernel = context.dispatch(*chain);
        REQUIRE(kernel.ok());
        const SmallWeights weights(*chain);
        const auto pack = [&] {
            return to_status(kernel->pack(weights.stages()));
        };
        CHECK(fail_each("pack", pack, [&] { return pack().ok(); }) >= least_errors);
        SmallCall call(*kernel, *chain);
        const Args args = call.args();
        const auto run = [&] {
            return (*kernel)(args);
        };
        fail_each("run", run, [&] { return run().ok(); });
    }
}

TEST_CASE("contexts, pools and profiles with every allocation failing") {
    setenv("TANDEM_WISDOM", "", 1);
    const auto chain = ConvChain::parse("1x16x8x8:dw3:conv1o16");
    REQUIRE(chain.ok());
    const auto own_context = [&] {
        const Status status = to_status(Context().dispatch(*chain));
        const bool empty = !status && status.error().code == ErrorCode::invalid_argument;
        return empty ? Status(Error{ErrorCode::out_of_memory, "no context"}) : status;
    };
    CHECK(fail_each("a new context", own_context, [&] { return own_context().ok(); }) >= least_errors);

    const auto pool = [] {
        return to_status(ThreadPool::create({.threads = 2}));
    };
    REQUIRE(pool().ok());
    // hwloc does not survive that its own allocations fail while it looks at the machine.
    CHECK(fail_each(
              "a pool", pool, [&] { return pool().ok(); }, Allocator::cpp) >= least_errors);

    const auto profile = [] {
        return to_status(MachineProfile::of_this_machine());
    };
    fail_each("a profile", profile, [&] { return profile().ok(); });

    Context context;
    const auto prewarm = [&] {
        context.clear_cache();
        return context.prewarm({&*chain, 1}, {}, 1);
    };
    CHECK(fail_each("prewarm", prewarm, [&] { return prewarm().ok(); }) >= least_errors);
}

// What a thread keeps is made at its first call.
TEST_CASE("a thread's first calls with every allocation failing") {
    const auto chain = ConvChain::parse("1x16x8x8:dw3:conv1o16");
    REQUIRE(chain.ok());
    Context context;
    const auto kernel = context.dispatch(*chain);
    REQUIRE(kernel.ok());
    SmallCall call(*kernel, *chain);
    const Args args = call.args();
    for (std::int64_t nth = 0; nth < 8; ++nth) {
        bool worked = false;
        std::thread([&] {
            static_cast<void>(outcome_of([&] { return (*kernel)(args); }, nth, false));
            static_cast<void>(outcome_of([&] { return to_status(context.dispatch(*chain)); }, nth, true));
            worked = (*kernel)(args).ok() && context.dispatch(*chain).ok();
        }).join();
        CHECK(worked);
    }
}

TEST_CASE("tuning with allocations failing") {
    setenv("TANDEM_WISDOM", "", 1);
    const auto chain = ConvChain::parse("1x8x4x4:conv1o8");
    REQUIRE(chain.ok());
    Context context;
    const auto tune = [&] {
        context.clear_cache();
        return to_status(context.dispatch(*chain, {.effort = Effort::measure}));
    };
    for (std::int64_t nth = 100; nth < 100000; nth = nth * 7 / 2) {
        static_cast<void>(outcome_of(tune, nth, false));
        static_cast<void>(outcome_of(tune, nth, true));
        CHECK(tune().ok());
    }
}
