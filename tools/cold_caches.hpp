// Cold caches: what `tandem bench --cold` does between calls, so that each finds tensors and weights in L3 or
// memory, as a network's layers find theirs.
#pragma once

#include <cstddef>
#include <vector>

#include "tandem/tandem.hpp"

namespace tandem::tool {

class ColdCaches {
public:
    /// Of the calling thread's core, which has `l2` bytes, or with a pool of every worker's. `pool` outlives
    /// this.
    ColdCaches(std::size_t l2, ThreadPool* pool);
    /// Fills L1 and L2 with lines that nobody needs, as they are in memory. Errors: the pool's.
    Status evict();

private:
    ThreadPool* pool_;
    std::vector<std::vector<std::byte>> lines_;  // a worker each
};

}  // namespace tandem::tool
