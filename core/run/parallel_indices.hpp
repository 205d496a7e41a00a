// Work that is done once in a while, on threads that live as long as it does.
#pragma once

#include <cstddef>
#include <functional>

namespace tandem {

/// Calls fn(i) once for each i below `count`, in order of beginning, on the calling thread and up to
/// `workers` - 1 others, as many as the system gives; returns when all have returned. No signal is delivered
/// to the others. fn must not throw.
void for_each_index(std::size_t count, int workers, const std::function<void(std::size_t)>& fn) noexcept;

/// CPUs that the calling thread may run on.
int usable_cpus() noexcept;

}  // namespace tandem
