// Eternal: what a process finds out once. There is no lock that a fork could leave locked, and nothing that
// ends before the last static destructor has run.
#pragma once

#include <atomic>
#include <memory>
#include <utility>

namespace tandem {

/// A value made at first use and never destroyed; for static storage. T may be const. Thread-safe: threads
/// that come at once may each make one, of which the first is kept; so making it has to give equal values,
/// without side effects.
template <class T>
class Eternal {
public:
    constexpr Eternal() = default;

    /// What make() throws is passed on; the next call tries again.
    template <class Make>
    T& get(Make&& make) {
        if (T* const value = value_.load(std::memory_order_acquire)) return *value;
        std::unique_ptr<T> made(new T(std::forward<Make>(make)()));
        T* there = nullptr;
        if (value_.compare_exchange_strong(there, made.get(), std::memory_order_acq_rel))
            return *made.release();
        return *there;
    }

    /// Null if there is none yet.
    T* find() const noexcept { return value_.load(std::memory_order_acquire); }

private:
    std::atomic<T*> value_{nullptr};
};

}  // namespace tandem
