#include "tandem/thread_pool.hpp"

#include "support/doctest.hpp"
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "core/run/worker_team.hpp"
#include "support/in_child.hpp"

using tandem::ThreadPool;
using tandem::test::in_child;

namespace {

ThreadPool make_pool(int threads) {
    auto pool = ThreadPool::create({.threads = threads});
    REQUIRE_MESSAGE(pool.ok(), (pool.ok() ? "" : pool.error().message));
    return std::move(*pool);
}

/// Runs `rounds` times and checks that every part was called once a round.
bool counts_up(ThreadPool& pool, int rounds) {
    std::vector<int> counts(
        static_cast<std::size_t>(pool.threads()));  // plain: a missing happens-before shows under tsan
    const std::function<void(int)> fn = [&](int part) {
        ++counts[static_cast<std::size_t>(part)];
    };
    for (int round = 1; round <= rounds; ++round) {
        if (!pool.parallel(fn)) {
            return false;
        }
        for (const int count : counts) {
            if (count != round) {
                return false;
            }
        }
    }
    return true;
}

}  // namespace

TEST_CASE("every part runs once a round, whatever the number of threads") {
    for (const int threads : {1, 2, 3, 4, 9}) {
        CAPTURE(threads);
        ThreadPool pool = make_pool(threads);
        CHECK(pool.threads() == threads);
        CHECK(counts_up(pool, 2000));
    }
}

TEST_CASE("by default there is at least one worker") {
    ThreadPool pool = make_pool(0);
    CHECK(pool.threads() >= 1);
    CHECK(counts_up(pool, 100));
}

TEST_CASE("workers that went to sleep wake up again") {
    ThreadPool pool = make_pool(3);
    for (int i = 0; i < 20; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        REQUIRE(counts_up(pool, 1));
    }
}

TEST_CASE("the caller waits for a slow part, asleep") {
    ThreadPool pool = make_pool(2);
    std::atomic<bool> finished{false};
    REQUIRE(pool.parallel([&](int part) {
        if (part == 1) {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            finished = true;
        }
    }));
    CHECK(finished);
}

TEST_CASE("part 0 is the caller; the others are threads of their own, named, with signals blocked") {
    ThreadPool pool = make_pool(3);
    std::vector<std::thread::id> ids(3);
    std::vector<std::string> names(3);
    std::vector<int> blocks_sigint(3), blocks_sigsegv(3);
    REQUIRE(pool.parallel([&](int part) {
        const auto i = static_cast<std::size_t>(part);
        char name[16] = {};
        pthread_getname_np(pthread_self(), name, sizeof name);
        sigset_t mask;
        pthread_sigmask(SIG_SETMASK, nullptr, &mask);
        ids[i] = std::this_thread::get_id();
        names[i] = name;
        blocks_sigint[i] = sigismember(&mask, SIGINT);
        blocks_sigsegv[i] = sigismember(&mask, SIGSEGV);
    }));
    CHECK(ids[0] == std::this_thread::get_id());
    CHECK(ids[1] != ids[0]);
    CHECK(ids[2] != ids[1]);
    CHECK(names[1] == "tandem-1");
    CHECK(names[2] == "tandem-2");
    CHECK(blocks_sigint == std::vector<int>{0, 1, 1});
    CHECK(blocks_sigsegv == std::vector<int>{0, 0, 0});
}

TEST_CASE("a run from inside a part is an error, on every worker and for any pool") {
    ThreadPool pool = make_pool(2), other = make_pool(2);
    std::atomic<int> refused{0};
    REQUIRE(pool.parallel([&](int) {
        const auto own = pool.parallel([](int) {});
        const auto foreign = other.parallel([](int) {});
        refused +=
            !own.ok() && !foreign.ok() && own.error().message.find("inside a part") != std::string::npos;
    }));
    CHECK(refused == 2);
    CHECK(counts_up(pool, 10));
    CHECK(counts_up(other, 10));
}

TEST_CASE("a function that throws is an error, and the pool lives on") {
    ThreadPool pool = make_pool(3);
    const auto status = pool.parallel([](int part) {
        if (part > 0) {
            throw std::runtime_error("no luck");
        }
    });
    REQUIRE(!status.ok());
    CHECK(status.error().message.find("part 1") != std::string::npos);
    CHECK(status.error().message.find("no luck") != std::string::npos);
    CHECK(counts_up(pool, 10));
}

TEST_CASE("wrong options and arguments are errors") {
    for (const int threads : {-1, 1'000'000}) {
        const auto pool = ThreadPool::create({.threads = threads});
        REQUIRE(!pool.ok());
        CHECK(pool.error().message.find("threads is " + std::to_string(threads)) != std::string::npos);
    }
    ThreadPool pool = make_pool(1);
    CHECK(!pool.parallel({}).ok());
    CHECK(!pool.run(tandem::Kernel(), {}).ok());
}

TEST_CASE("scratch is aligned, grows, keeps what it has, and says when there is no memory") {
    tandem::Scratch scratch;
    CHECK(scratch.reserve(0).value().empty());
    std::byte* first = scratch.reserve(100).value().data();
    CHECK(reinterpret_cast<std::uintptr_t>(first) % 64 == 0);
    CHECK(scratch.reserve(50).value().data() == first);
    const auto large = scratch.reserve(1 << 20);
    REQUIRE(large.ok());
    CHECK(large->size() >= 1 << 20);
    std::memset(large->data(), 1, large->size());
    const auto impossible = scratch.reserve(SIZE_MAX);
    REQUIRE(!impossible.ok());
    CHECK(impossible.error().code == tandem::ErrorCode::out_of_memory);
    CHECK(scratch.reserve(64).ok());
}

TEST_CASE("a moved pool works, the one moved from says so") {
    ThreadPool first = make_pool(2);
    ThreadPool second = std::move(first);
    CHECK(counts_up(second, 100));
    CHECK(first.threads() == 0);
    CHECK(!first.parallel([](int) {}).ok());
    first = make_pool(3);
    CHECK(counts_up(first, 100));
    second = std::move(first);
    CHECK(second.threads() == 3);
    CHECK(counts_up(second, 100));
}

TEST_CASE("pools come and go, used or not") {
    for (int i = 0; i < 20; ++i) {
        ThreadPool pool = make_pool(1 + i % 4);
        if (i % 2 == 0) {
            CHECK(counts_up(pool, 5));
        }
    }
}

TEST_CASE("two pools work side by side") {
    ThreadPool a = make_pool(2), b = make_pool(2);
    bool b_ok = false;
    std::thread other([&] { b_ok = counts_up(b, 500); });
    const bool a_ok = counts_up(a, 500);
    other.join();
    CHECK(a_ok);
    CHECK(b_ok);
}

TEST_CASE("several callers at once take turns") {
    ThreadPool pool = make_pool(3);
    std::atomic<int> running{0};
    std::atomic<bool> overlapped{false}, all_ok{true};
    std::vector<std::thread> callers;
    for (int caller = 0; caller < 4; ++caller) {
        callers.emplace_back([&] {
            for (int i = 0; i < 200; ++i) {
                const auto status = pool.parallel([&](int) {
                    overlapped = overlapped || ++running > pool.threads();
                    --running;
                });
                all_ok = all_ok && status.ok();
            }
        });
    }
    for (auto& caller : callers) {
        caller.join();
    }
    CHECK(all_ok);
    CHECK(!overlapped);
}

#ifndef TANDEM_TSAN

TEST_CASE("a forked child starts its workers anew, and so does its own child") {
    ThreadPool pool = make_pool(3);
    REQUIRE(counts_up(pool, 10));
    const auto code = in_child([&] {
        const bool own = counts_up(pool, 100);
        return own && in_child([&] { return counts_up(pool, 100) ? 0 : 1; }) == 0 ? 0 : 1;
    });
    CHECK(code == 0);
    CHECK(counts_up(pool, 100));
}

TEST_CASE("a forked child may destroy the pool, used or not") {
    for (const bool use : {false, true}) {
        std::optional<ThreadPool> pool = make_pool(3);
        const auto code = in_child([&] {
            const bool ok = !use || counts_up(*pool, 10);
            pool.reset();
            return ok ? 0 : 1;
        });
        CHECK(code == 0);
    }
}

TEST_CASE("a child forked while another thread is running gets a working pool") {
    ThreadPool pool = make_pool(2);
    std::atomic<bool> stop{false};
    std::thread busy([&] {
        while (!stop) {
            counts_up(pool, 10);
        }
    });
    for (int i = 0; i < 20; ++i) {
        CHECK(in_child([&] { return counts_up(pool, 10) ? 0 : 1; }) == 0);
    }
    stop = true;
    busy.join();
}

#endif
