// Fork: what keeps its state over fork(). Who owns what in the child, which has the forking thread only:
//
//   data behind a mutex held for moments    HeldOverFork: fork() waits for it; parent and child go on
//   work that takes long, one at a time     TurnMutex: free in the child, whoever held it
//   a result that a vanished thread was     tagged with the process_generation() of who makes it; the child
//   to bring (a half-made cache entry)      makes it anew
//   what is found out once                  Eternal (core/plan/eternal.hpp): has no lock
//   threads                                 ForkHook: forgotten, and started anew (thread_pool.cpp)
//   executable memory                       ForkHook: never written where the other process runs it
//                                           (jit/executable_memory.cpp)
//   a thread's own memory                   of the forking thread: its child's; of others: leaked, once a
//   fork
//
// No mutex that is held over fork is ever held while waiting for another one, and no kernel ends under one.
#pragma once

#include <mutex>

namespace tandem {

/// What to call around fork(): `before` and `in_parent` in the forking thread, `in_child` while the child
/// still has one thread only. Each may be null.
struct ForkFunctions {
    using Function = void (*)(void* context) noexcept;
    Function before = nullptr, in_parent = nullptr, in_child = nullptr;
};

/// Registered from construction to destruction; both may happen on any thread. fork() waits for one that is
/// under way, so a child finds either a complete hook or none. Not called by vfork() and bare clone(2).
class ForkHook {
public:
    ForkHook(const ForkFunctions& functions, void* context) noexcept;
    ~ForkHook();
    ForkHook(const ForkHook&) = delete;
    ForkHook& operator=(const ForkHook&) = delete;

private:
    static void call_all(ForkFunctions::Function ForkFunctions::*which) noexcept;
    static void register_once() noexcept;

    ForkFunctions functions_;
    void* context_;
    ForkHook* previous_ = nullptr;  // the list of all hooks
    ForkHook* next_ = nullptr;
};

/// One more in each generation of children. What carries another number was begun by a process that is not
/// this one, by a thread that this one lacks.
unsigned process_generation() noexcept;

/// Lets fork() wait for any number of mutexes, each held for moments only.
template <class Owner>
class HeldOverFork {
public:
    /// Calls each(mutex) for all mutexes of `owner`.
    explicit HeldOverFork(Owner& owner) noexcept
        : hook_(
              {[](void* of) noexcept { static_cast<Owner*>(of)->for_each_mutex([](auto& m) { m.lock(); }); },
               &unlock, &unlock},
              &owner) {}

private:
    static void unlock(void* of) noexcept {
        static_cast<Owner*>(of)->for_each_mutex([](auto& mutex) { mutex.unlock(); });
    }
    ForkHook hook_;
};

/// A mutex held for as long as work takes; a forked child finds it free. What it guards is consistent at any
/// moment. For static storage.
class TurnMutex {
public:
    void lock() { mutex_.lock(); }
    void unlock() noexcept { mutex_.unlock(); }

private:
    static void free_in_child(void* self) noexcept;

    std::mutex mutex_;
    ForkHook hook_{{.in_child = &free_in_child}, this};
};

}  // namespace tandem
