// Executor: walks the tiles of a part, fills each tile's row tables and runs it (tile_runner.hpp).
#pragma once

#include <span>

#include "core/run/kernel_code.hpp"

namespace tandem {

/// Computes the tiles of part `part` of `nparts`. The arguments must have been checked. Neither waits nor
/// allocates.
void run_part(const KernelImpl& kernel, int part, int nparts, const Args& args, const PackedData& packed,
              std::byte* scratch) noexcept;

}  // namespace tandem
