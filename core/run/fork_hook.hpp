// ForkHook: calls a function in the child after fork(), while the child still has one thread only.
#pragma once

namespace tandem {

/// Registered from construction to destruction; both may happen on any thread. fork() waits for one that is
/// under way, so a child finds either a complete hook or none. Not called by vfork() and bare clone(2).
class ForkHook {
public:
    using Function = void (*)(void* context) noexcept;

    ForkHook(Function in_child, void* context) noexcept;
    ~ForkHook();
    ForkHook(const ForkHook&) = delete;
    ForkHook& operator=(const ForkHook&) = delete;

private:
    static void call_all() noexcept;
    static void register_once() noexcept;

    Function in_child_;
    void* context_;
    ForkHook* previous_ = nullptr;  // the list of all hooks
    ForkHook* next_ = nullptr;
};

}  // namespace tandem
