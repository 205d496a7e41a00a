// Machine: what planning and emission need to know of the CPU, as a value. machine.cpp is the only file
// that asks the CPU.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "tandem/context.hpp"

namespace tandem {

/// zmm registers, masks and the 32 registers of EVEX.
constexpr bool is_avx512(Isa isa) noexcept { return isa >= Isa::avx512; }
constexpr bool has_vnni(Isa isa) noexcept { return isa == Isa::avx2_vnni || isa >= Isa::avx512_vnni; }
constexpr bool has_bf16(Isa isa) noexcept { return isa >= Isa::avx512_bf16; }
constexpr bool has_fp16(Isa isa) noexcept { return isa >= Isa::avx512_fp16; }
/// vpermb. Ice Lake and Zen 4 have it as well, but no ISA here tells them from Cooper Lake, which does not.
constexpr bool has_vbmi(Isa isa) noexcept { return isa >= Isa::avx512_fp16; }
constexpr bool has_amx(Isa isa) noexcept { return isa == Isa::amx; }

/// The least ISA with every instruction that Tandem would use for tensors of this type on `isa`: kernels
/// are named and kept by it.
Isa least_isa(DataType dtype, Math math, Isa isa) noexcept;

/// Data caches in bytes. l2 is per core; l3 is the whole slice that the process's first core sees, l3_cores
/// its sharers.
struct CacheSizes {
    std::size_t l1 = 32 * 1024, l2 = 1024 * 1024, l3 = 16 * 1024 * 1024;
    int l3_cores = 1;
    bool operator==(const CacheSizes&) const = default;
};

struct Machine {
    Isa isa = Isa::avx2;  // what to generate for
    CacheSizes caches{};
    std::string cpu_name{};   // brand string
    bool fast_ymm = false;    // a 256-bit FMA costs half a 512-bit one (AMD Zen 4 and kin)
    bool slow_bf16 = false;   // vdpbf16ps multiplies at half the rate of f32 FMAs (Intel's server cores since
                              // Sapphire Rapids)
    std::string core_kind{};  // hybrid processors: "core" or "atom", of the first core this process may use;
                              // else empty
    bool operator==(const Machine&) const = default;
};

/// ISAs that both the CPU and the OS (XCR0) offer, weakest first. Empty on a CPU without AVX2+FMA.
const std::vector<Isa>& host_isas();
/// The distinct least ISAs among them: those whose code differs for tensors of this type.
std::vector<Isa> host_isas(DataType dtype, Math math = Math::fast);

/// The host as a Machine that generates for `isa`, or why it cannot. nullopt: TANDEM_ISA if set (an unknown
/// or unavailable value is an error that lists what would be accepted), else the best of host_isas().
Result<Machine> host_machine(std::optional<Isa> isa = std::nullopt);

}  // namespace tandem
