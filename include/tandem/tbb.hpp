// Kernels in the caller's oneTBB arena: link TBB::tbb.
//
//   tandem::with_tbb::run(kernel, args);   // or tandem::run(), where openmp.hpp is not included
//
// Parts are tasks of the arena that the caller is in, and the caller computes some of them; called from a
// task, too. While it waits it takes up no unrelated task (the call is isolated), so locks that the caller
// holds are safe. Any number of threads may call at once. Nothing is thrown.
#pragma once

#include <exception>
#include <new>

#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

#include "tandem/parts.hpp"

namespace tandem {
inline namespace with_tbb {

/// Computes the whole output. `threads`: the most parts at once; 0: the arena's concurrency. Errors are those
/// of Kernel::run_step(), and what oneTBB throws: out of memory, or a cancelled group of tasks.
inline Status run(const Kernel& kernel, const Args& args, int threads = 0) noexcept try {
    const int most = threads > 0 ? threads : ::oneapi::tbb::this_task_arena::max_concurrency();
    PartsOf call(kernel, args, most);
    ::oneapi::tbb::this_task_arena::isolate([&] {
        // A group of its own: one that the caller is in may be cancelled, and would leave parts out.
        for (int step = 0; call.ok() && step < call.steps(); ++step) {
            ::oneapi::tbb::task_group_context group(::oneapi::tbb::task_group_context::isolated);
            ::oneapi::tbb::parallel_for(
                0, call.parts(), [&](int part) { call.run(step, part); }, ::oneapi::tbb::simple_partitioner(),
                group);
        }
    });
    return call.status();
} catch (const std::bad_alloc&) {
    return Error{ErrorCode::out_of_memory, "Out of memory."};
} catch (...) {
    return Error{ErrorCode::system, "oneTBB threw."};
}

}  // namespace with_tbb
}  // namespace tandem
