#include "core/run/thread_state.hpp"

#include <atomic>
#include <new>

namespace tandem {
namespace {

// All that Tandem has in static thread-local storage, of which every thread of the host pays for all. Only
// `owner` ends with the thread; the others stay readable.
constinit thread_local ThreadState* state = nullptr;
constinit thread_local bool ended = false;
constinit thread_local std::size_t number = 0;  // 0: none yet

struct Owner {
    ~Owner() {
        delete std::exchange(state, nullptr);
        ended = true;
    }
    void begin() const noexcept {}
};
thread_local Owner owner;

}  // namespace

ThreadState* thread_state() noexcept {
    if (state || ended) return state;
    state = new (std::nothrow) ThreadState;
    owner.begin();  // from here on it is destroyed at the thread's end
    return state;
}

std::size_t thread_number() noexcept {
    static constinit std::atomic<std::size_t> threads{0};
    if (number == 0) number = threads.fetch_add(1, std::memory_order_relaxed) + 1;
    return number;
}

}  // namespace tandem
