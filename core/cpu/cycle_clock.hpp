// CycleClock: how long a cycle is at this moment, where nobody lets us read the counters that know.
//
// A chain of dependent adds takes a cycle each. Timed beside every sample it turns seconds into cycles, at
// the clock of that moment, whatever the machine does with its frequency.
#pragma once

#include "core/cpu/figure.hpp"
#include "jit/probe_loop.hpp"

namespace tandem {

class CycleClock {
public:
    static Result<CycleClock> create();
    /// Seconds a cycle, by a chain of some 5 microseconds.
    double cycle_seconds() const noexcept;
    /// What reading the time costs, included in every difference of two readings.
    double reading_seconds() const noexcept { return reading_; }

private:
    CycleClock(jit::ProbeLoop chain);
    jit::ProbeLoop chain_;
    double reading_ = 0;
};

/// Page-aligned memory with numbers as jit/probe_loop.hpp wants them, or zeros.
class ProbeMemory {
public:
    enum class Pages : std::uint8_t { usual, huge, small };  // huge: where the system gives them
    static Result<ProbeMemory> create(std::size_t bytes, Pages pages = Pages::usual);
    std::byte* data() const noexcept { return memory_.get(); }
    std::size_t bytes() const noexcept { return memory_.get_deleter().bytes; }
    void fill(std::uint32_t bits) noexcept;

private:
    struct Unmap {
        std::size_t bytes = 0;
        void operator()(std::byte* memory) const noexcept;
    };
    explicit ProbeMemory(std::byte* memory, std::size_t bytes) : memory_(memory, Unmap{bytes}) {}
    std::unique_ptr<std::byte, Unmap> memory_;
};

/// Something to time: `run` does it `iterations` times, each worth `units`.
struct CpuProbe {
    std::function<void(std::int64_t iterations)> run;
    double units = 1;
};
/// A loop on memory that outlives the probe.
CpuProbe probe_of(jit::ProbeLoop loop, const ProbeMemory& memory, std::size_t bytes = 0);

struct SampleOptions {
    int passes = 7;   // over all probes, so that each is seen at several moments
    int samples = 3;  // of a probe in a pass
    double sample_seconds = 40e-6;
    double seconds = 1e9;  // then no further pass begins
    std::function<void(double fraction)> progress{};
};

struct ClockedSamples {
    std::vector<double> seconds{};          // of a unit
    std::vector<double> before{}, after{};  // seconds a cycle
    int dropped = 0;
    double steal = 0;

    /// Of a unit.
    Figure in_seconds() const;
    Figure in_cycles() const;
};

/// Times every probe in turn, with the clock beside each sample. The calling thread runs them.
std::vector<ClockedSamples> sample_in_turn(const std::vector<CpuProbe>& probes, const CycleClock& clock,
                                           const SampleOptions& options);

/// Share of the CPU time that went to other guests since the last call, of all CPUs; 0 where the system does
/// not say.
class StealMeter {
public:
    StealMeter();
    double since_last();

private:
    double stolen_ = 0, total_ = 0;
};

}  // namespace tandem
