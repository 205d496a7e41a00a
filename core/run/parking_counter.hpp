// ParkingCounter: a counter that threads wait on, spinning first and then asleep in the kernel (futex(2)).
#pragma once

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <climits>
#include <cstdint>

namespace tandem {

/// Wraps around; a waiter that would have to miss 2^32 steps does not exist. All members may be called at
/// once.
class ParkingCounter {
public:
    std::uint32_t load() const noexcept { return value_.load(std::memory_order_acquire); }

    /// Adds one and wakes whoever waits. What was written before is visible to those that see the new
    /// value.
    void advance() noexcept {
        value_.fetch_add(1, std::memory_order_seq_cst);
        // A waiter announces itself before the kernel compares the value once more, so one of the two sides
        // sees the other.
        if (sleepers_.load(std::memory_order_seq_cst) != 0) {
            futex(FUTEX_WAKE_PRIVATE, INT_MAX);
        }
    }

    /// Returns the value once it is no longer `seen`: spins for about `spin`, then sleeps.
    std::uint32_t wait_past(std::uint32_t seen, std::chrono::nanoseconds spin) noexcept {
        if (load() == seen && !spin_past(seen, spin)) {
            sleepers_.fetch_add(1, std::memory_order_seq_cst);
            while (value_.load(std::memory_order_seq_cst) == seen) {
                futex(FUTEX_WAIT_PRIVATE, seen);
            }
            sleepers_.fetch_sub(1, std::memory_order_relaxed);
        }
        return load();
    }

private:
    bool spin_past(std::uint32_t seen, std::chrono::nanoseconds spin) const noexcept {
        constexpr int pauses_per_clock_read = 16;  // ~0.3-2 us of PAUSE, against ~25 ns for the clock
        // After this long the awaited thread may be queued behind this one on a busy machine, and yielding
        // lets it run at once (two CPUs under load 4: 14 us an empty run instead of 45 to 250). Where
        // nobody is queued a yield is a short system call.
        constexpr std::chrono::microseconds without_yielding{5};
        if (spin.count() <= 0) {
            return false;
        }
        const auto begin = std::chrono::steady_clock::now();
        for (auto now = begin; now - begin < spin; now = std::chrono::steady_clock::now()) {
            for (int i = 0; i < pauses_per_clock_read; ++i) {
                __builtin_ia32_pause();
                if (load() != seen) {
                    return true;
                }
            }
            if (now - begin > without_yielding) {
                sched_yield();
            }
        }
        return false;
    }

    void futex(int operation, std::uint32_t value) noexcept {
        static_assert(sizeof value_ == sizeof(std::uint32_t) && decltype(value_)::is_always_lock_free);
        syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&value_), operation, value, nullptr, nullptr, 0);
    }

    alignas(64) std::atomic<std::uint32_t> value_{0};
    alignas(64) std::atomic<std::uint32_t> sleepers_{0};
};

}  // namespace tandem
