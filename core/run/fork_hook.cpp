#include "core/run/fork_hook.hpp"

#include <pthread.h>

#include <mutex>

namespace tandem {
namespace {

// Both are trivially destructible: pools may be destroyed in any order at exit.
constinit std::mutex hooks_mutex;
constinit ForkHook* first_hook = nullptr;

}  // namespace

ForkHook::ForkHook(Function in_child, void* context) noexcept : in_child_(in_child), context_(context) {
    register_once();
    const std::lock_guard lock(hooks_mutex);
    next_ = first_hook;
    if (next_) {
        next_->previous_ = this;
    }
    first_hook = this;
}

ForkHook::~ForkHook() {
    const std::lock_guard lock(hooks_mutex);
    (previous_ ? previous_->next_ : first_hook) = next_;
    if (next_) {
        next_->previous_ = previous_;
    }
}

void ForkHook::register_once() noexcept {
    // Fails only where there is no memory for a few pointers; then children must not use their parent's
    // pools.
    static const int registered = pthread_atfork([] { hooks_mutex.lock(); }, [] { hooks_mutex.unlock(); },
                                                 [] {
                                                     call_all();
                                                     hooks_mutex.unlock();
                                                 });
    static_cast<void>(registered);
}

void ForkHook::call_all() noexcept {
    for (ForkHook* hook = first_hook; hook; hook = hook->next_) {
        hook->in_child_(hook->context_);
    }
}

}  // namespace tandem
