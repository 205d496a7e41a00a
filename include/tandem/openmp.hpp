// Kernels on the caller's OpenMP team: compile with -fopenmp.
//
//   tandem::with_openmp::run(kernel, args);   // or tandem::run(), where tbb.hpp is not included
//
// Outside of a parallel region the call forks a team of omp_get_max_threads() (or `threads`), which each
// compute parts; inside of one, unless nested parallelism is on, OpenMP gives a team of one, so the calling
// thread computes all of it. Any number of threads may call at once. Nothing is thrown.
#pragma once

#ifndef _OPENMP
#error "tandem/openmp.hpp needs OpenMP: compile with -fopenmp."
#endif

#include <omp.h>

#include "tandem/parts.hpp"

namespace tandem {
inline namespace with_openmp {

/// Computes the whole output. `threads`: the most that take part; 0: as many as OpenMP gives. Errors are
/// those of Kernel::run_step(), and out of memory for scratch.
inline Status run(const Kernel& kernel, const Args& args, int threads = 0) noexcept {
    const bool alone = omp_get_active_level() >= omp_get_max_active_levels();
    const int most = threads > 0 ? threads : alone ? 1 : omp_get_max_threads();
    PartsOf call(kernel, args, most);
    for (int step = 0; call.ok() && step < call.steps(); ++step) {
        // The team may be smaller than asked for, so parts are dealt out.
#pragma omp parallel for schedule(static, 1) num_threads(call.parts())
        for (int part = 0; part < call.parts(); ++part)
            call.run(step, part);
    }
    return call.status();
}

}  // namespace with_openmp
}  // namespace tandem
