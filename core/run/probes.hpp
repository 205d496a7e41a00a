// Probes: what this machine can do at best right now, measured beside everything else so that a result can
// be judged. Written in assembly, so that an unoptimised or sanitised build measures the machine and not
// itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "core/plan/plan.hpp"

namespace tandem {

/// Runs `fn(part)` for every part at once, e.g. ThreadPool::parallel.
using ParallelFor = std::function<void(const std::function<void(int)>&)>;

/// The multiplications and additions of a dot (core/plan/arithmetic.hpp) from registers only, on the
/// calling thread. `isa` must be one of host_isas() and have the dot; AMX: only after request_amx() went
/// well. Tiles are configured and released inside. One iteration is dot_ops_per_iteration() operations; a
/// multiplication and an addition count as two, and x3 and x6 count what they are worth in f32: a third and
/// a sixth of the products.
void run_dots(Dot dot, Isa isa, std::int64_t iterations) noexcept;
double dot_ops_per_iteration(Dot dot, Isa isa) noexcept;
/// "vdpbf16ps"; "tdpbf16ps/3" for x3.
const char* dot_instruction(Dot dot) noexcept;

/// Best of a few bursts of some hundred microseconds, in GFLOP/s (1e9 operations a second): of one thread,
/// or of `threads` at once. 0: the operating system refuses the use of AMX.
double dot_peak_gflops(Dot dot, Isa isa);
double dot_peak_gflops(Dot dot, Isa isa, int threads, const ParallelFor& parallel);

/// Seconds of a cycle: of an addition that waits for the one before it. 0: there is no memory for code.
double cycle_seconds();

/// GB/s (1e9 bytes) of one thread that reads a buffer of `bytes` bytes (rounded to whole blocks of 1 KB)
/// again and again.
double read_bandwidth(Isa isa, std::size_t bytes);

}  // namespace tandem
