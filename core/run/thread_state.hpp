// ThreadState: what a thread keeps between calls, made when it first needs it and freed when it ends.
#pragma once

#include <cstddef>

#include "core/run/aligned_buffer.hpp"
#include "core/run/dispatch_memo.hpp"

namespace tandem {

struct ThreadState {
    Scratch scratch;  // of calls that bring none
    DispatchMemo memo;
};

/// The calling thread's; null where it has ended already, as in static destructors of the main thread, or
/// there is no memory. What is called then does without.
ThreadState* thread_state() noexcept;

/// Small, and hardly ever that of another thread.
std::size_t thread_number() noexcept;

}  // namespace tandem
