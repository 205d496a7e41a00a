// Memory timing: bandwidth by level, operation and threads, latency by size and by kind of pages, and how far
// ahead a prefetch has to be.
#pragma once

#include <span>

#include "core/cpu/load_run.hpp"
#include "core/cpu/report.hpp"

namespace tandem {

enum class StreamChoice : std::uint8_t { reads, all };

struct MemorySizes {
    CacheSizes caches{};
    std::size_t most = std::size_t{256} << 20;  // that may be taken at once, all threads together
};
/// As much as this machine can spare.
MemorySizes memory_sizes(const CacheSizes& caches);

/// GB/s of reads, writes and copies (what is read and what is written together) in each level.
Result<ReportTable> time_bandwidth(Isa isa, StreamChoice streams, const MemorySizes& sizes,
                                   std::span<const int> cpus, std::span<const int> counts,
                                   const CycleClock& clock, double seconds_each);
/// GB/s that one thread reads, by KB.
Result<ReportTable> time_read_sizes(Isa isa, const MemorySizes& sizes, int cpu, const CycleClock& clock,
                                    double seconds_each);
/// ns and cycles (two tables) of a load that waits for the one before, by KB, on small and on huge pages.
Result<std::vector<ReportTable>> time_latency(const MemorySizes& sizes, const CycleClock& clock,
                                              const std::function<void(double)>& progress);
/// ns of a line from memory whose address waits for the line before, by the steps that its prefetch is ahead.
Result<ReportTable> time_prefetch(const MemorySizes& sizes, const CycleClock& clock);
/// Cycles of tileloadd by level and by bytes between rows. Empty without AMX.
Result<ReportTable> time_tile_loads(Isa isa, const MemorySizes& sizes, const CycleClock& clock);

}  // namespace tandem
