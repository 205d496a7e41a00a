#include "core/cpu/memory_timing.hpp"

#include <unistd.h>

#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include "core/run/amx_permission.hpp"
#include "jit/memory_loop.hpp"

namespace tandem {
namespace {

using Pages = ProbeMemory::Pages;

constexpr std::size_t kb = 1024, mb = kb * kb, line_bytes = 64;
constexpr std::size_t stream_step = 2048;
constexpr std::size_t largest = 512 * mb;  // filling it takes some 0.1 s
constexpr std::uint32_t numbers = 0x3ebd3ebd;

double in_kb(std::size_t bytes) { return static_cast<double>(bytes) / kb; }

struct LevelSize {
    const char* name;
    std::size_t bytes;  // of one thread
};

std::vector<LevelSize> level_sizes(const MemorySizes& sizes, std::size_t threads) {
    const CacheSizes& caches = sizes.caches;
    const auto whole = [](std::size_t bytes) {
        return bytes / stream_step * stream_step;
    };
    const std::size_t memory = std::min(sizes.most, std::max(caches.l3, caches.l2) * 4);
    return {{"L1", whole(caches.l1 / 2)},
            {"L2", whole(caches.l2 / 2)},
            {"L3", whole(std::max(caches.l2 * 2, std::min(caches.l3, sizes.most) / 4 / threads))},
            {"memory", whole(std::max(caches.l2 * 4, memory / threads))}};
}

Result<CpuProbe> stream_probe(jit::Stream stream, Isa isa, std::size_t bytes) {
    Result<jit::ProbeLoop> loop = jit::stream_loop(stream, isa);
    if (!loop) return loop.error();
    Result<ProbeMemory> memory = ProbeMemory::create(bytes);
    if (!memory) return memory.error();
    memory->fill(numbers);
    const auto kept = std::make_shared<const ProbeMemory>(std::move(*memory));
    CpuProbe probe = probe_of(std::move(*loop), *kept, bytes);
    probe.units = static_cast<double>(bytes);
    probe.run = [kept, run = std::move(probe.run)](std::int64_t iterations) {
        run(iterations);
    };
    return probe;
}

Result<LoadFigures> run_stream(jit::Stream stream, Isa isa, std::size_t bytes, std::span<const int> cpus,
                               const CycleClock& clock, double seconds) {
    return run_load(
        cpus, [&](int) { return stream_probe(stream, isa, bytes); }, clock, seconds);
}

/// Every line points to the next of jit::next_line()'s order.
void link_lines(const ProbeMemory& memory, std::size_t bytes) {
    const std::uint64_t lines = bytes / line_bytes;
    for (std::uint64_t line = 0; line < lines; ++line)
        *reinterpret_cast<std::byte**>(memory.data() + line * line_bytes) =
            memory.data() + jit::next_line(line, lines) * line_bytes;
}

ClockedSamples chase(const jit::ProbeLoop& loop, const ProbeMemory& memory, std::size_t bytes,
                     const CycleClock& clock) {
    constexpr std::size_t visited_whole = 8 * mb;  // larger ones take too long, and few of their lines stay
    link_lines(memory, bytes);
    const CpuProbe probe = probe_of(loop, memory, bytes);
    if (bytes <= visited_whole)
        probe.run(static_cast<std::int64_t>(static_cast<double>(bytes / line_bytes) / probe.units) + 1);
    SampleOptions options;
    options.passes = 15;
    options.samples = 1;
    options.sample_seconds = 300e-6;
    return sample_in_turn({probe}, clock, options).front();
}

std::vector<std::size_t> latency_sizes(const MemorySizes& sizes) {
    std::vector<std::size_t> list;
    for (std::size_t bytes = 4 * kb; bytes <= sizes.most; bytes *= 2)
        list.push_back(bytes);
    return list;
}

}  // namespace

MemorySizes memory_sizes(const CacheSizes& caches) {
    const long pages = sysconf(_SC_AVPHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
    const std::size_t spare = pages > 0 && bytes > 0
                                  ? static_cast<std::size_t>(pages) * static_cast<std::size_t>(bytes) / 4
                                  : 16 * mb;
    return {caches, std::bit_floor(std::clamp(spare, 16 * mb, largest))};
}

Result<ReportTable> time_bandwidth(Isa isa, StreamChoice streams, const MemorySizes& sizes,
                                   std::span<const int> cpus, std::span<const int> counts,
                                   const CycleClock& clock, double seconds_each) {
    ReportTable table{"bandwidth", "GB/s", "KB a thread", {}};
    for (const jit::Stream stream : {jit::Stream::read, jit::Stream::write, jit::Stream::copy}) {
        if (streams == StreamChoice::reads && stream != jit::Stream::read) continue;
        for (const int count : counts) {
            const auto threads = static_cast<std::size_t>(count);
            for (const LevelSize& level : level_sizes(sizes, threads)) {
                const Result<LoadFigures> figures =
                    run_stream(stream, isa, level.bytes, cpus.first(threads), clock, seconds_each);
                if (!figures) return figures.error();
                table.readings.push_back({fmt::format("{} {}", to_string(stream), level.name),
                                          in_kb(level.bytes), count, scaled(figures->rate, 1e-9)});
            }
        }
    }
    return table;
}

Result<ReportTable> time_read_sizes(Isa isa, const MemorySizes& sizes, int cpu, const CycleClock& clock,
                                    double seconds_each) {
    ReportTable table{"read_by_size", "GB/s", "KB", {}};
    const std::vector<int> cpus{cpu};
    for (std::size_t octave = 8 * kb; octave <= sizes.most; octave *= 2) {
        for (const std::size_t bytes : {octave, octave / 2 * 3}) {
            if (bytes > sizes.most) continue;
            const Result<LoadFigures> figures =
                run_stream(jit::Stream::read, isa, bytes, cpus, clock, seconds_each);
            if (!figures) return figures.error();
            table.readings.push_back({"read", in_kb(bytes), 1, scaled(figures->rate, 1e-9)});
        }
    }
    return table;
}

Result<std::vector<ReportTable>> time_latency(const MemorySizes& sizes, const CycleClock& clock,
                                              const std::function<void(double)>& progress) {
    const Result<jit::ProbeLoop> loop = jit::chase_loop();
    if (!loop) return loop.error();
    ReportTable ns{"memory_latency", "ns", "KB", {}}, cycles{"memory_latency_cycles", "cycles", "KB", {}};
    const std::vector<std::size_t> list = latency_sizes(sizes);
    for (const Pages pages : {Pages::small, Pages::huge}) {
        const char* const name = pages == Pages::small ? "small pages" : "huge pages";
        const Result<ProbeMemory> memory = ProbeMemory::create(sizes.most, pages);
        if (!memory) return memory.error();
        for (const std::size_t bytes : list) {
            const ClockedSamples samples = chase(*loop, *memory, bytes, clock);
            ns.readings.push_back({name, in_kb(bytes), 1, scaled(samples.in_seconds(), 1e9)});
            cycles.readings.push_back({name, in_kb(bytes), 1, samples.in_cycles()});
            if (progress)
                progress(static_cast<double>(ns.readings.size()) / (2.0 * static_cast<double>(list.size())));
        }
    }
    return std::vector{std::move(ns), std::move(cycles)};
}

Result<ReportTable> time_prefetch(const MemorySizes& sizes, const CycleClock& clock) {
    Result<ProbeMemory> memory = ProbeMemory::create(sizes.most, Pages::huge);
    if (!memory) return memory.error();
    memory->fill(0);
    std::vector<CpuProbe> probes;
    const std::vector<int> distances{0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48};
    for (const int distance : distances) {
        Result<jit::ProbeLoop> loop = jit::prefetch_loop(distance);
        if (!loop) return loop.error();
        probes.push_back(probe_of(std::move(*loop), *memory, sizes.most));
    }
    SampleOptions options;
    options.sample_seconds = 300e-6;
    const std::vector<ClockedSamples> samples = sample_in_turn(probes, clock, options);
    ReportTable table{"prefetch", "ns", "steps ahead", {}};
    for (std::size_t i = 0; i < samples.size(); ++i)
        table.readings.push_back(
            {"line", static_cast<double>(distances[i]), 1, scaled(samples[i].in_seconds(), 1e9)});
    return table;
}

Result<ReportTable> time_tile_loads(Isa isa, const MemorySizes& sizes, const CycleClock& clock) {
    ReportTable table{"tile_loads", "cycles", "bytes between rows", {}};
    if (!has_amx(isa) || !request_amx()) return table;
    for (const LevelSize& level : level_sizes(sizes, 1)) {
        if (level.bytes > 64 * mb) continue;
        Result<ProbeMemory> memory = ProbeMemory::create(level.bytes);
        if (!memory) return memory.error();
        memory->fill(numbers);
        for (const std::int64_t stride : {64, 256, 1024, 4096}) {
            const auto block = static_cast<std::size_t>(16 * stride);
            const std::size_t bytes = level.bytes / block * block;
            if (bytes == 0) continue;
            Result<jit::ProbeLoop> loop = jit::tile_stream_loop(stride, isa);
            if (!loop) return loop.error();
            CpuProbe probe = probe_of(std::move(*loop), *memory, bytes);
            probe.units = static_cast<double>(bytes) / 1024;
            const ClockedSamples samples =
                sample_in_turn({probe}, clock, {.passes = 9, .samples = 1}).front();
            table.readings.push_back({level.name, static_cast<double>(stride), 1, samples.in_cycles()});
        }
    }
    return table;
}

}  // namespace tandem
