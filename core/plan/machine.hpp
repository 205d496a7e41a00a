// Machine: what planning and emission need to know of a CPU, as a value: this one's or any other's. Running
// what was emitted is what needs a CPU that has the ISA.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/plan/cpuid.hpp"
#include "tandem/descriptor.hpp"
#include "tandem/isa.hpp"

namespace tandem {

/// The least ISA with every instruction that Tandem would use for tensors of this type on `isa`: kernels
/// are named and kept by it. Features that CPUs bring together stay together, so that most are presets.
Isa least_isa(DataType dtype, Math math, Isa isa) noexcept;

/// Data caches in bytes. l2 is per core; l3 is the whole slice that the process's first core sees, l3_cores
/// its sharers.
struct CacheSizes {
    std::size_t l1 = 32 * 1024, l2 = 1024 * 1024, l3 = 16 * 1024 * 1024;
    int l3_cores = 1;
    bool operator==(const CacheSizes&) const = default;
};

struct CoreCounts {
    int cores = 1, threads_per_core = 1;
    bool operator==(const CoreCounts&) const = default;
};

struct MeasuredRates;

struct Machine {
    Isa isa = Isa::avx2;  // what to generate for, of `features`
    CacheSizes caches{};
    std::string cpu_name{};   // brand string
    bool slow_bf16 = false;   // vdpbf16ps multiplies at half the rate of f32 FMAs (Intel's server cores since
                              // Sapphire Rapids)
    std::string core_kind{};  // hybrid processors: "core" or "atom", of the first core this process may use;
                              // else empty
    Isa features = Isa::avx2;  // all that CPU and OS offer
    CpuIdentity identity{};
    CoreCounts cores{};                               // of the whole machine
    std::shared_ptr<const MeasuredRates> measured{};  // null: nothing was (core/plan/machine_rates.hpp)
    /// Of two measurements of a machine no two numbers are equal: this asks for the same one.
    bool operator==(const Machine&) const = default;
};

/// The presets that a machine with these features offers, weakest first, and behind them all that kernels
/// may use of the features where that is no preset.
std::vector<Isa> isas_of(Isa features);

/// The machine as one that generates for `isa`, which need not be among its features: what is known of its
/// kind (slow_bf16) is decided anew.
Machine machine_with(Machine machine, Isa isa);

/// isas_of() what the CPU and the OS (XCR0) offer here. Empty on a CPU without AVX2+FMA.
const std::vector<Isa>& host_isas();
/// The distinct least ISAs among them: those whose code differs for tensors of this type.
std::vector<Isa> host_isas(DataType dtype, Math math = Math::fast);
/// Code for `isa` can run here.
bool host_offers(Isa isa);

/// The host as a Machine that generates for `isa`, or why it cannot. nullopt: TANDEM_ISA if set (an unknown
/// or unavailable value is an error that lists what would be accepted), else the best of host_isas().
Result<Machine> host_machine(std::optional<Isa> isa = std::nullopt);
/// The host's caches, cores and name, but generating for `isa`, whether it has that or not: to look at code
/// and plans, not to run them.
Machine imagined_machine(Isa isa);

}  // namespace tandem
