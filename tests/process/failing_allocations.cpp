#include "process/failing_allocations.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <new>

extern "C" {
// The C library's own, by the names that glibc exports them under.
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
}

namespace tandem::test {
namespace {

// Of the calling thread.
struct Plan {
    bool armed = false, forever = false;
    std::int64_t nth = 0, count = 0;
    Allocator allocator = Allocator::any;
};
constinit thread_local Plan plan;

bool fails() noexcept {
    if (!plan.armed) return false;
    const std::int64_t number = plan.count++;
    if (plan.forever ? number < plan.nth : number != plan.nth) return false;
    errno = ENOMEM;
    return true;
}

bool c_fails() noexcept { return plan.allocator == Allocator::any && fails(); }

}  // namespace

FailingAllocations::FailingAllocations(std::int64_t nth, bool forever, Allocator allocator) noexcept {
    plan = {.armed = true, .forever = forever, .nth = nth, .allocator = allocator};
}
FailingAllocations::~FailingAllocations() { plan.armed = false; }
std::int64_t FailingAllocations::count() const noexcept { return plan.count; }

}  // namespace tandem::test

#ifndef TANDEM_SANITIZED
using tandem::test::c_fails;
using tandem::test::fails;

extern "C" {
void* malloc(std::size_t bytes) { return c_fails() ? nullptr : __libc_malloc(bytes); }
void* calloc(std::size_t count, std::size_t bytes) {
    return c_fails() ? nullptr : __libc_calloc(count, bytes);
}
void* realloc(void* old, std::size_t bytes) { return c_fails() ? nullptr : __libc_realloc(old, bytes); }
void* memalign(std::size_t alignment, std::size_t bytes) {
    return fails() ? nullptr : __libc_memalign(alignment, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) { return memalign(alignment, bytes); }
int posix_memalign(void** memory, std::size_t alignment, std::size_t bytes) {
    void* const found = memalign(alignment, bytes);
    if (!found) return ENOMEM;
    *memory = found;
    return 0;
}
}

void* operator new(std::size_t bytes) {
    void* const memory = fails() ? nullptr : __libc_malloc(bytes);
    if (!memory) throw std::bad_alloc();
    return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
#endif
