// A cache that lives for weeks: bounded by kernels and by bytes, whatever is asked of it by however many.
#include "support/doctest.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "process/long_run.hpp"
#include "process/small_kernels.hpp"
#include "tandem/tandem.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

std::int64_t lines_of_maps() {
    std::ifstream maps("/proc/self/maps");
    std::int64_t lines = 0;
    for (std::string line; std::getline(maps, line);)
        ++lines;
    return lines;
}

std::int64_t resident_kilobytes() {
    std::ifstream file("/proc/self/status");
    for (std::string word; file >> word;)
        if (word == "VmRSS:") {
            std::int64_t kilobytes = 0;
            file >> kilobytes;
            return kilobytes;
        }
    return -1;
}

// One of millions.
ConvChain distinct_chain(int number) {
    const std::string size = std::to_string(1 + number % 97) + "x" + std::to_string(1 + number / 97 % 89);
    const std::string channels = std::to_string(8 + number / (97 * 89));
    return *ConvChain::parse("1x8x" + size + ":dw3:conv1o" + channels);
}

}  // namespace

TEST_CASE("distinct shapes through a small cache leave memory and mappings flat") {
    Context context({.cache_capacity = 16});
    const int warm = 200, all = repetitions(1500);  // TANDEM_LONG_RUN=700: a million
    std::int64_t maps = 0, kilobytes = 0;
    for (int i = 0; i < all; ++i) {
        if (i == warm) {
            maps = lines_of_maps();
            kilobytes = resident_kilobytes();
        }
        REQUIRE(context.dispatch(distinct_chain(i)).ok());
    }
    CHECK(context.cache_stats().entries == 16);
    CHECK(context.cache_stats().evictions == static_cast<std::uint64_t>(all - 16));
    CHECK(lines_of_maps() < maps + 20);
    CHECK(resident_kilobytes() < kilobytes + 8192);
}

TEST_CASE("a cache is bounded by bytes of code, too") {
    Context reference;
    REQUIRE(reference.dispatch(distinct_chain(0)).ok());
    const std::uint64_t one = reference.cache_stats().code_bytes;
    Context context({.cache_bytes = 20 * one});
    for (int i = 0; i < 40; ++i) {
        REQUIRE(context.dispatch(distinct_chain(i)).ok());
        CHECK(context.cache_stats().code_bytes <= 20 * one);
    }
    CHECK(context.cache_stats().entries > 1);
    CHECK(context.cache_stats().entries < 40);
    Context tiny({.cache_bytes = 1});  // the latest kernel is kept all the same
    for (int i = 0; i < 3; ++i)
        REQUIRE(tiny.dispatch(distinct_chain(i)).ok());
    CHECK(tiny.cache_stats().entries == 1);
    tiny.clear_cache();
    CHECK(tiny.cache_stats().entries == 0);
    CHECK(tiny.cache_stats().code_bytes == 0);
}

TEST_CASE("64 threads dispatch, run and evict at once") {
    Context context({.cache_capacity = 8});
    std::atomic<bool> stop{false};
    std::atomic<std::int64_t> calls{0}, failures{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 64; ++t)
        threads.emplace_back([&, t] {
            for (int i = t; !stop.load(); i += 3) {
                const ConvChain chain = distinct_chain(i % 24);
                const auto kernel = context.dispatch(chain);
                if (!kernel) {
                    ++failures;
                    continue;
                }
                SmallCall call(*kernel, chain);
                failures += (*kernel)(call.args()).ok() ? 0 : 1;
                ++calls;
                if (i % 1000 == 0) context.clear_cache();
            }
        });
    std::this_thread::sleep_for(std::chrono::seconds(repetitions(1)));  // TANDEM_LONG_RUN=60: a minute
    stop = true;
    for (std::thread& thread : threads)
        thread.join();
    CHECK(failures == 0);
    CHECK(calls > 100);
    CHECK(context.cache_stats().entries <= 8);
    CHECK(context.cache_stats().evictions > 0);
}

TEST_CASE("prewarm compiles on several threads what dispatch then finds") {
    Context context;
    std::vector<ConvChain> chains;
    for (int i = 0; i < 20; ++i)
        chains.push_back(distinct_chain(i));
    REQUIRE(context.prewarm(chains, {}, 4).ok());
    CHECK(context.cache_stats().misses == 20);
    for (const ConvChain& chain : chains)
        REQUIRE(context.dispatch(chain).ok());
    CHECK(context.cache_stats().misses == 20);
    CHECK(context.prewarm({}, {}).ok());

    chains[3].input.h = chains[7].input.h = 0;
    const Status status = context.prewarm(chains);
    REQUIRE(!status.ok());
    CHECK(status.error().code == ErrorCode::invalid_argument);
    CHECK(status.error().message.starts_with("chain 4: "));
    CHECK(context.prewarm(chains, {}, -1).error().message ==
          "workers is -1; 1 to 4096 is accepted, or 0 for one per CPU.");
}
