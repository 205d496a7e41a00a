// fork() at random moments, while other threads dispatch, tune, run and forget.
#include "support/doctest.hpp"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "process/long_run.hpp"
#include "process/small_kernels.hpp"
#include "support/in_child.hpp"
#include "tandem/tandem.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

#ifdef TANDEM_TSAN
constexpr bool thread_sanitized = true;
#else
constexpr bool thread_sanitized = false;
#endif

// Another shape each time: nothing of it is in a cache.
std::string fresh_chain(int number) {
    return "1x16x" + std::to_string(3 + number % 60) + "x" + std::to_string(3 + number / 60 % 60) +
           ":dw3:conv1o16";
}

bool dispatches_and_runs(Context& context, const std::string& text, const DispatchOptions& options = {}) {
    const auto chain = ConvChain::parse(text);
    if (!chain) return false;
    const auto kernel = context.dispatch(*chain, options);
    if (!kernel) return false;
    SmallCall call(*kernel, *chain);
    return (*kernel)(call.args()).ok();
}

// Threads that use one context in every way, until they are told to stop.
class Load {
public:
    explicit Load(Context& context) : context_(context) {
        const auto every = [this](auto step) {
            threads_.emplace_back([this, step] {
                for (int i = 0; !stop_.load(); ++i)
                    step(i);
            });
        };
        every([this](int i) { dispatches_and_runs(context_, fresh_chain(i)); });
        every([this](int i) { dispatches_and_runs(context_, chains_of_all_kinds()[i % 10u]); });
        every([this](int i) { dispatches_and_runs(context_, fresh_chain(i), {.effort = Effort::measure}); });
        every([this](int) {
            context_.clear_cache();
            static_cast<void>(context_.wisdom_notes());
            static_cast<void>(context_.cache_stats());
        });
    }
    ~Load() {
        stop_ = true;
        for (std::thread& thread : threads_)
            thread.join();
    }

private:
    Context& context_;
    std::atomic<bool> stop_{false};
    std::vector<std::thread> threads_;
};

}  // namespace

TEST_CASE("children forked at any moment dispatch, tune and run") {
    if (thread_sanitized) {
        MESSAGE("skipped: the thread sanitizer knows no threads in children of processes that have several");
        return;
    }
    setenv("TANDEM_WISDOM", "", 1);
    Context context({.cache_capacity = 32});
    auto pool = ThreadPool::create({.threads = 2});
    REQUIRE(pool.ok());
    const Load load(context);
    const int forks = repetitions(40);  // TANDEM_LONG_RUN: 1,000
    for (int i = 0; i < forks; ++i) {
        std::this_thread::sleep_for(std::chrono::microseconds(i * 977 % 5000));
        const auto exit_code = in_child([&] {
            if (!dispatches_and_runs(context, fresh_chain(i))) return 1;  // perhaps half-made right now
            if (!dispatches_and_runs(context, chains_of_all_kinds()[i % 10u])) return 2;
            if (!dispatches_and_runs(Context::shared(), fresh_chain(i + 1))) return 3;
            context.clear_cache();
            if (i % 8 == 0 &&
                !dispatches_and_runs(context, "1x8x4x4:dw3:conv1o8", {.effort = Effort::measure}))
                return 4;
            return pool->parallel([](int) {}).ok() ? 0 : 5;
        });
        CAPTURE(i);
        REQUIRE(exit_code == 0);
    }
}
