#include "core/run/thread_state.hpp"

#include <pthread.h>

#include <atomic>
#include <new>
#include <utility>

namespace tandem {
namespace {

// All that Tandem has in static thread-local storage, of which every thread of the host pays for all.
constinit thread_local ThreadState* state = nullptr;
constinit thread_local bool ended = false;
constinit thread_local std::size_t number = 0;  // 0: none yet

void end(void*) noexcept {
    delete std::exchange(state, nullptr);
    ended = true;
}

// Has end() called when a thread ends. Not a thread_local object's destructor: registering one ends the
// process where there is no memory for that. Goes with the library, by dlclose() or at exit; the states of
// other threads that live on are then left alone, as they may be in a call.
class Key {
public:
    Key() noexcept : made_(pthread_key_create(&key_, &end) == 0) {}
    ~Key() {
        if (made_) pthread_key_delete(key_);
        end(nullptr);
    }
    bool set(const void* value) const noexcept { return made_ && pthread_setspecific(key_, value) == 0; }

private:
    pthread_key_t key_{};
    bool made_ = false;
};
const Key key;

}  // namespace

ThreadState* thread_state() noexcept {
    if (state || ended) return state;
    ThreadState* const made = new (std::nothrow) ThreadState;
    if (made && !key.set(made)) {
        delete made;
        return nullptr;
    }
    return state = made;
}

std::size_t thread_number() noexcept {
    static constinit std::atomic<std::size_t> threads{0};
    if (number == 0) number = threads.fetch_add(1, std::memory_order_relaxed) + 1;
    return number;
}

}  // namespace tandem
