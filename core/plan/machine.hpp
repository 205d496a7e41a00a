// Machine: what planning and emission need to know of the CPU, as a value. machine.cpp is the only file that asks the CPU.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "tandem/context.hpp"

namespace tandem {

/// Data caches in bytes. l2 is per core; l3 is the whole slice that the process's first core sees, l3_cores its sharers.
struct CacheSizes {
    std::size_t l1 = 32 * 1024, l2 = 1024 * 1024, l3 = 16 * 1024 * 1024;
    int l3_cores = 1;
    bool operator==(const CacheSizes&) const = default;
};

struct Machine {
    Isa isa = Isa::avx2;      // what to generate for
    CacheSizes caches{};
    std::string cpu_name{};     // brand string
    bool fast_ymm = false;    // a 256-bit FMA costs half a 512-bit one (AMD Zen 4 and kin)
    std::string core_kind{};    // hybrid processors: "core" or "atom", of the first core this process may use; else empty
    bool operator==(const Machine&) const = default;
};

/// ISAs that both the CPU and the OS (XCR0) offer, weakest first. Empty on a CPU without AVX2+FMA.
const std::vector<Isa>& host_isas();

/// The host as a Machine that generates for `isa`, or why it cannot. nullopt: TANDEM_ISA if set (an unknown or unavailable
/// value is an error that lists what would be accepted), else the best of host_isas().
Result<Machine> host_machine(std::optional<Isa> isa = std::nullopt);

}  // namespace tandem
