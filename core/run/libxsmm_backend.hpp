// LIBXSMM as the source of batch-reduce kernels. Only libxsmm_backend.cpp knows LIBXSMM; a build without it
// has none of this, and available() is false.
//
// Kernels come from LIBXSMM's generator, not from libxsmm_smmdispatch_*: that one keeps every kernel for
// the life of the process, and its registry knows no ISA but the process-wide LIBXSMM_TARGET. The generator
// takes the ISA with each kernel, needs no libxsmm_init(), and its code belongs to the Kernel it was
// generated for, like Tandem's own. LIBXSMM_TARGET has no effect. Kernel::code() shows Tandem's part only.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/plan/machine.hpp"
#include "core/run/batch_reduce.hpp"

namespace tandem::libxsmm {

struct GeneratedKernels {
    std::shared_ptr<const jit::ExecutableMemory> memory;  // holds all of them
    std::vector<BatchReduceKernel> kernels;               // as the shapes asked for
};

/// LIBXSMM is part of this build.
bool available() noexcept;
/// "LIBXSMM 1.17", or what to install.
std::string version();

/// Generates kernels for `isa`, which the host must have. Thread-safe. An error names the shape that
/// LIBXSMM refused.
Result<GeneratedKernels> generate(std::span<const BatchReduceShape> shapes, Isa isa);

}  // namespace tandem::libxsmm
