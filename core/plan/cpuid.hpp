// What CPUID and XCR0 say of a CPU. The questions are a value, so that any CPU's answers can be tested.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tandem/isa.hpp"

namespace tandem {

struct CpuidRegisters {
    std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

struct CpuQueries {
    /// All zero where the CPU has no such leaf.
    std::function<CpuidRegisters(std::uint32_t leaf, std::uint32_t subleaf)> cpuid;
    /// The registers that the operating system saves; asked only where CPUID says that it can be.
    std::function<std::uint64_t()> xcr0;
};
/// Of the CPU that this runs on.
CpuQueries host_cpu();

/// Every feature that the CPU has and whose registers the operating system saves. nullopt: not even AVX2.
std::optional<Isa> detect_features(const CpuQueries& cpu);
/// The CPU has AMX, but the operating system does not save its tiles.
bool withholds_amx(const CpuQueries& cpu);

struct CpuIdentity {
    std::string vendor{};  // "AuthenticAMD"
    int family = 0, model = 0, stepping = 0;
    bool operator==(const CpuIdentity&) const = default;
};
CpuIdentity detect_identity(const CpuQueries& cpu);
/// The brand string, e.g. "AMD Ryzen 9 7950X 16-Core Processor".
std::string detect_name(const CpuQueries& cpu);

/// The hypervisor's signature, e.g. "KVMKVMKVM"; "unknown" where it has none, empty without a hypervisor.
std::string detect_hypervisor(const CpuQueries& cpu);
/// Bytes of the cache of instructions next to the core; 0: the CPU does not say.
std::size_t detect_l1_instructions(const CpuQueries& cpu);
/// XCR0: the registers that the operating system saves.
std::uint64_t detect_saved_state(const CpuQueries& cpu);
/// AMX's palettes: "palette 1: 8 tiles of 16 rows of 64 bytes".
std::vector<std::string> detect_tile_palettes(const CpuQueries& cpu);

}  // namespace tandem
