#include "core/run/measured_rates.hpp"

#include <algorithm>
#include <map>
#include <mutex>

#include "core/run/probes.hpp"

namespace tandem {
namespace {

constexpr std::size_t largest_probe = std::size_t{1} << 27;  // 128 MB: filling it takes 50 ms

MachineRates measure(const Machine& machine) {
    MachineRates rates = default_rates(machine);
    const CacheSizes& caches = machine.caches;
    for (const Dot dot : all_dots)
        if (const double found = has_dot(machine.isa, dot) ? dot_peak_gflops(dot, machine.isa) : 0; found > 0)
            rates.dot_gflops[static_cast<std::size_t>(dot)] = found;
    rates.gflops = rates.peak(Dot::f32);
    const std::size_t bytes[level_count] = {caches.l1 / 2, caches.l2 / 2,
                                            std::max(caches.l2 * 2, caches.l3 / 4),
                                            std::min(largest_probe, std::max(caches.l3, caches.l2) * 3)};
    for (std::size_t i = 0; i < level_count; ++i) {
        // A probe that failed (no memory) or that saw a disturbance leaves at most what the nearer level
        // gives.
        const double found = read_bandwidth(machine.isa, bytes[i]);
        rates.gb_per_s[i] = found > 0 ? found : rates.gb_per_s[i];
        if (i > 0) rates.gb_per_s[i] = std::min(rates.gb_per_s[i], rates.gb_per_s[i - 1]);
    }
    rates.measured = true;
    return rates;
}

}  // namespace

const MachineRates& measured_rates(const Machine& machine) {
    static std::mutex mutex;
    static std::map<Isa, MachineRates> known;  // nodes stay where they are
    const std::lock_guard lock(mutex);
    const auto found = known.find(machine.isa);
    if (found != known.end()) return found->second;
    return known.emplace(machine.isa, measure(machine)).first->second;
}

}  // namespace tandem
