// Executor: walks the tiles of a part, fills each tile's row tables and runs it (tile_runner.hpp).
#pragma once

#include <span>

#include "core/run/kernel_code.hpp"

namespace tandem {

/// Computes the tiles of part `part` of `nparts`. The arguments must have been checked. Neither waits nor
/// allocates.
void run_part(const KernelImpl& kernel, int part, int nparts, const Args& args, const PackedData& packed,
              std::byte* scratch) noexcept;

/// The same of one segment alone, which reads and writes the tensors between segments in `shared`:
/// KernelImpl::shared_bytes() bytes that all parts of all steps are given.
void run_step(const KernelImpl& kernel, int step, int part, int nparts, const Args& args,
              const PackedData& packed, std::byte* scratch, std::byte* shared) noexcept;

}  // namespace tandem
