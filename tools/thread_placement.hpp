// Both sides of a comparison on the same cores: where Tandem's pool puts its workers, oneDNN's threads are
// put too.
//
// Left alone, the kernel's scheduler sometimes keeps two OpenMP threads on one core for seconds, which
// costs oneDNN a factor of 2 to 10 on layers of 0.1 ms; and OpenMP's own binding (OMP_PROC_BIND) would also
// bind the thread that Tandem runs on.
#pragma once

#include <sys/types.h>

#include <set>
#include <vector>

#include "tandem/result.hpp"

namespace tandem::tool {

class ThreadPlacement {
public:
    /// Finds the cores that a pool of `threads` gets and binds the calling thread to the first. To be
    /// called after the pool has started its workers and before oneDNN starts its own.
    static Result<ThreadPlacement> create(int threads);

    /// Binds every thread that has appeared since create() to the second, third, ... core in the order of
    /// their ids. Cheap.
    void bind_new_threads();

private:
    std::vector<int> cpus_;  // one a worker; -1: not to be bound
    std::set<pid_t> known_;
    std::size_t next_ = 1;
};

}  // namespace tandem::tool
