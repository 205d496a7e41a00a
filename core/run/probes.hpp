// Probes: what this machine can do at best right now, measured beside everything else so that a result can be judged.
// Written in assembly, so that an unoptimised or sanitised build measures the machine and not itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "tandem/context.hpp"

namespace tandem {

/// Runs `fn(part)` for every part at once, e.g. ThreadPool::parallel.
using ParallelFor = std::function<void(const std::function<void(int)>&)>;

/// f32 FMAs from registers only, on the calling thread; `isa` must be one of host_isas().
/// One iteration is fma_flops_per_iteration(isa) operations; a multiplication and an addition count as two.
void run_fmas(Isa isa, std::int64_t iterations) noexcept;
double fma_flops_per_iteration(Isa isa) noexcept;

/// Best of a few bursts of some hundred microseconds, in GFLOP/s: of one thread, or of `threads` at once.
double fma_peak_gflops(Isa isa);
double fma_peak_gflops(Isa isa, int threads, const ParallelFor& parallel);

/// GB/s (1e9 bytes) of one thread that reads a buffer of `bytes` bytes (rounded to whole blocks of 1 KB) again and again.
double read_bandwidth(Isa isa, std::size_t bytes);

}  // namespace tandem
