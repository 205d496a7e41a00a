// Makes allocations of the calling thread fail: this program's malloc and its relatives stand before the C
// library's. Not in sanitized builds, which have their own.
#pragma once

#include <cstdint>

namespace tandem::test {

/// Which allocations count: all, or those through operator new and with an alignment, as Tandem's own are.
enum class Allocator { any, cpp };

/// From now on allocation number `nth` of this thread fails, counted from 0, and all behind it if `forever`.
class FailingAllocations {
public:
    FailingAllocations(std::int64_t nth, bool forever, Allocator allocator = Allocator::any) noexcept;
    ~FailingAllocations();
    FailingAllocations(const FailingAllocations&) = delete;
    FailingAllocations& operator=(const FailingAllocations&) = delete;

    /// Allocations so far, those that failed included.
    std::int64_t count() const noexcept;
};

}  // namespace tandem::test
