#include "core/plan/fork_hook.hpp"

#include <pthread.h>

#include <atomic>
#include <memory>

namespace tandem {
namespace {

// All are trivially destructible: pools and contexts may be destroyed in any order at exit.
constinit std::mutex hooks_mutex;
constinit ForkHook* first_hook = nullptr;
constinit bool registered = false;
constinit std::atomic<unsigned> generation{0};

}  // namespace

unsigned process_generation() noexcept { return generation.load(std::memory_order_relaxed); }

ForkHook::ForkHook(const ForkFunctions& functions, void* context) noexcept
    : functions_(functions), context_(context) {
    const std::lock_guard lock(hooks_mutex);
    register_once();
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

// Fails only where there is no memory for a few pointers; the next hook tries again.
void ForkHook::register_once() noexcept {
    if (registered) return;
    const auto before = [] {
        hooks_mutex.lock();
        call_all(&ForkFunctions::before);
    };
    const auto in_parent = [] {
        call_all(&ForkFunctions::in_parent);
        hooks_mutex.unlock();
    };
    const auto in_child = [] {
        generation.fetch_add(1, std::memory_order_relaxed);
        call_all(&ForkFunctions::in_child);
        hooks_mutex.unlock();
    };
    registered = pthread_atfork(before, in_parent, in_child) == 0;
}

void ForkHook::call_all(ForkFunctions::Function ForkFunctions::*which) noexcept {
    for (ForkHook* hook = first_hook; hook; hook = hook->next_)
        if (const ForkFunctions::Function function = hook->functions_.*which) function(hook->context_);
}

void TurnMutex::free_in_child(void* self) noexcept {
    std::construct_at(&static_cast<TurnMutex*>(self)->mutex_);
}

}  // namespace tandem
