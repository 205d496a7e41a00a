#include "core/run/parallel_indices.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "core/run/signal_block.hpp"

namespace tandem {
namespace {

constexpr int max_workers = 64;

struct Work {
    std::size_t count;
    const std::function<void(std::size_t)>& fn;
    std::atomic<std::size_t> next{0};

    void take_all() {
        for (std::size_t i = 0; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;)
            fn(i);
    }
};

void* work_on(void* work) {
    static_cast<Work*>(work)->take_all();
    return nullptr;
}

}  // namespace

void for_each_index(std::size_t count, int workers, const std::function<void(std::size_t)>& fn) noexcept {
    Work work{count, fn};
    std::array<pthread_t, max_workers> threads;
    int started = 0;
    const int wanted = static_cast<int>(std::min<std::size_t>(count, std::clamp(workers, 1, max_workers)));
    {
        const SignalBlock block;
        while (started + 1 < wanted && pthread_create(&threads[started], nullptr, &work_on, &work) == 0)
            ++started;
    }
    work.take_all();
    for (int i = 0; i < started; ++i)
        pthread_join(threads[i], nullptr);
}

int usable_cpus() noexcept {
    cpu_set_t cpus;
    const bool known = sched_getaffinity(0, sizeof cpus, &cpus) == 0;  // not so beyond 1024 CPUs
    return known ? std::max(1, CPU_COUNT(&cpus)) : 1;
}

}  // namespace tandem
