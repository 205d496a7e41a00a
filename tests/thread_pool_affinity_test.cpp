// Where the parts of a run are: not on the core of its caller.
#include "support/doctest.hpp"
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>
#include <vector>

#include "core/run/topology.hpp"
#include "support/in_child.hpp"
#include "tandem/thread_pool.hpp"

using namespace tandem;
using tandem::test::in_child;

namespace {

ThreadPool make_pool(int threads, Pinning pinning = Pinning::avoid_caller) {
    auto pool = ThreadPool::create({.threads = threads, .pinning = pinning});
    REQUIRE_MESSAGE(pool.ok(), (pool.ok() ? "" : pool.error().message));
    return std::move(*pool);
}

cpu_set_t own_affinity() {
    cpu_set_t set;
    CPU_ZERO(&set);
    REQUIRE(sched_getaffinity(0, sizeof set, &set) == 0);
    return set;
}

/// Gives the calling thread back the affinity that it has now.
class OwnAffinity {
public:
    OwnAffinity() : before_(own_affinity()) {}
    ~OwnAffinity() { sched_setaffinity(0, sizeof before_, &before_); }
    OwnAffinity(const OwnAffinity&) = delete;
    OwnAffinity& operator=(const OwnAffinity&) = delete;

    void narrow_to(int cpu) const {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        REQUIRE(sched_setaffinity(0, sizeof set, &set) == 0);
    }

private:
    cpu_set_t before_;
};

/// This machine's, as far as this process may use them.
class Cores {
public:
    Cores() {
        const auto topology = load_topology();
        REQUIRE(topology.ok());
        for (const Cpuset& core : place_on_host(topology->get(), 0).cores) {
            cpu_set_t set;
            CPU_ZERO(&set);
            for (int cpu = 0; cpu <= hwloc_bitmap_last(core.get()); ++cpu)
                if (hwloc_bitmap_isset(core.get(), static_cast<unsigned>(cpu)) != 0) CPU_SET(cpu, &set);
            sets_.push_back(set);
        }
    }

    /// Is there one for a worker beside the caller's?
    bool spare_one() const { return sets_.size() >= 2; }
    std::vector<int> cpus() const {
        std::vector<int> list;
        for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
            if (CPU_COUNT(core_of(cpu)) > 0) list.push_back(cpu);
        return list;
    }
    /// The CPUs of the core that has this one.
    const cpu_set_t* core_of(int cpu) const {
        static const cpu_set_t empty{};
        for (const cpu_set_t& set : sets_)
            if (CPU_ISSET(cpu, &set)) return &set;
        return &empty;
    }

private:
    std::vector<cpu_set_t> sets_;
};

bool overlap(const cpu_set_t& a, const cpu_set_t& b) {
    cpu_set_t both;
    CPU_AND(&both, &a, &b);
    return CPU_COUNT(&both) > 0;
}

/// One run: is every other part, from its first instruction to its last, off the core of `caller_cpu`, and
/// may not go there?
bool workers_keep_off(ThreadPool& pool, const Cores& cores, int caller_cpu) {
    const cpu_set_t core = *cores.core_of(caller_cpu);
    std::atomic<bool> off{true};
    const auto ran = pool.parallel([&](int part) {
        if (part == 0) return;
        const int begin = sched_getcpu();
        for (const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(20);
             std::chrono::steady_clock::now() < end;) {
        }
        if (CPU_ISSET(begin, &core) || CPU_ISSET(sched_getcpu(), &core) || overlap(own_affinity(), core))
            off = false;
    });
    return ran.ok() && off;
}

/// Of worker 1 of a pool of two.
cpu_set_t worker_affinity(Pinning pinning) {
    ThreadPool pool = make_pool(2, pinning);
    std::optional<cpu_set_t> affinity;
    REQUIRE(pool.parallel([&](int part) {
        cpu_set_t set;
        CPU_ZERO(&set);
        if (part == 1 && sched_getaffinity(0, sizeof set, &set) == 0) affinity = set;
    }));
    REQUIRE(affinity);
    return *affinity;
}

}  // namespace

TEST_CASE("the caller's affinity is never changed") {
    const cpu_set_t before = own_affinity();
    for (const Pinning pinning : {Pinning::none, Pinning::avoid_caller, Pinning::one_core}) {
        ThreadPool pool = make_pool(2, pinning);
        REQUIRE(pool.parallel([](int) {}));
        const cpu_set_t after = own_affinity();
        CHECK(CPU_EQUAL(&before, &after));
    }
}

TEST_CASE("workers may run on: the creator's CPUs, the same without the caller's core, one CPU") {
    const cpu_set_t own = own_affinity();
    const cpu_set_t inherited = worker_affinity(Pinning::none);
    CHECK(CPU_EQUAL(&own, &inherited));
    const Cores cores;
    if (cores.spare_one()) {
        const cpu_set_t avoiding = worker_affinity(Pinning::avoid_caller);
        CHECK(CPU_COUNT(&avoiding) >= 1);
        CHECK(CPU_COUNT(&avoiding) < CPU_COUNT(&own));
        const cpu_set_t pinned = worker_affinity(Pinning::one_core);
        CHECK(CPU_COUNT(&pinned) == 1);
    }
}

TEST_CASE("no part of a worker runs on the core that the caller is on") {
    const Cores cores;
    if (!cores.spare_one()) return;
    for (const Pinning pinning : {Pinning::avoid_caller, Pinning::one_core}) {
        ThreadPool all = make_pool(0, pinning), two = make_pool(2, pinning);
        const OwnAffinity restored;
        for (int round = 0; round < 20; ++round) {
            for (const int cpu : cores.cpus()) {
                CAPTURE(cpu);
                restored.narrow_to(cpu);
                CHECK(workers_keep_off(all, cores, cpu));
                CHECK(workers_keep_off(two, cores, cpu));
            }
            if (round % 4 == 3) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // they sleep too
        }
    }
}

// It could not do so itself: where the kernel lets the caller run on, it waits behind it.
TEST_CASE("a worker that ran where the caller is now has been moved when the caller's part begins") {
    const Cores cores;
    if (!cores.spare_one()) return;
    ThreadPool pool = make_pool(2);
    const OwnAffinity restored;
    for (int round = 0; round < 20; ++round) {
        int worker_cpu = -1;
        pid_t worker = 0;
        REQUIRE(pool.parallel([&](int part) {
            if (part == 0) return;
            worker_cpu = sched_getcpu();
            worker = gettid();
        }));
        restored.narrow_to(worker_cpu);
        cpu_set_t seen;
        CPU_ZERO(&seen);
        REQUIRE(pool.parallel([&](int part) {
            if (part == 0) sched_getaffinity(worker, sizeof seen, &seen);
        }));
        CHECK(CPU_COUNT(&seen) > 0);
        CHECK(!overlap(seen, *cores.core_of(worker_cpu)));
    }
}

TEST_CASE("callers on different cores take turns, and none has a worker on its own") {
    const Cores cores;
    if (!cores.spare_one()) return;
    ThreadPool pool = make_pool(0);
    std::atomic<int> crowded{0};
    std::vector<std::thread> callers;
    for (const int cpu : cores.cpus()) {
        callers.emplace_back([&, cpu] {
            const OwnAffinity own;
            own.narrow_to(cpu);
            for (int i = 0; i < 50; ++i)
                crowded += workers_keep_off(pool, cores, cpu) ? 0 : 1;
        });
    }
    for (auto& caller : callers)
        caller.join();
    CHECK(crowded == 0);
}

TEST_CASE("workers of two pools keep off their own callers' cores") {
    const Cores cores;
    if (!cores.spare_one()) return;
    const int here = cores.cpus().front(), there = cores.cpus().back();
    const auto works = [&](ThreadPool& pool, int cpu) {
        const OwnAffinity own;
        own.narrow_to(cpu);
        bool ok = true;
        for (int i = 0; i < 100; ++i)
            ok = ok && workers_keep_off(pool, cores, cpu);
        return ok;
    };
    ThreadPool a = make_pool(2), b = make_pool(2);
    bool b_ok = false;
    std::thread other([&] { b_ok = works(b, there); });
    const bool a_ok = works(a, here);
    other.join();
    CHECK(a_ok);
    CHECK(b_ok);
}

#ifndef TANDEM_TSAN

TEST_CASE("a forked child's workers keep off its core, wherever that is") {
    const Cores cores;
    if (!cores.spare_one()) return;
    ThreadPool pool = make_pool(0);
    for (const int cpu : cores.cpus()) {
        const auto code = in_child([&] {
            const OwnAffinity own;
            own.narrow_to(cpu);
            return workers_keep_off(pool, cores, cpu) && workers_keep_off(pool, cores, cpu) ? 0 : 1;
        });
        CHECK(code == 0);
    }
}

#endif
