#include "core/run/probes.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "core/plan/arithmetic.hpp"
#include "core/run/amx_permission.hpp"
#include "core/run/measure.hpp"
#include "jit/probe_loop.hpp"

namespace tandem {

namespace {

// Accumulators in flight: latency (4, Haswell and integer products 5) times pipes (2) is 10 at most; an AMX
// product takes 52 cycles, one starts every 16. AVX2 has 16 registers, AVX-512 has 32, AMX 8.
constexpr int avx2_accumulators = 12;
constexpr int avx512_accumulators = 24;
constexpr int amx_accumulators = 4;
constexpr std::size_t block_bytes = 1024;
constexpr std::size_t page_bytes = 4096;

// Two bf16 of 0.37, nearly that as f32, two f16 of 1.7, and two and four integers: neither 0 nor 1 as
// anything, so that the multipliers burn the power they burn in real work.
constexpr std::uint32_t operand = 0x3ebd3ebd;

#define TANDEM_CLOBBERS_12                                                                                  \
    "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", \
        "xmm13", "xmm14", "xmm15"
#define TANDEM_CLOBBERS_24                                                                               \
    TANDEM_CLOBBERS_12, "xmm12", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", \
        "xmm29", "xmm30", "xmm31"

// A loop of `instructions` for each accumulator ymm\n; operands in ymm14 and ymm15, ymm13 is free.
#define TANDEM_PROBE_Y(name, features, instructions)                                \
    __attribute__((target(features))) void name(std::int64_t iterations) noexcept { \
        asm volatile(                                                               \
            "vbroadcastss %1, %%ymm14\n\t"                                          \
            "vmovaps %%ymm14, %%ymm15\n\t"                                          \
            ".irp n,0,1,2,3,4,5,6,7,8,9,10,11\n\t"                                  \
            "vxorps %%ymm\\n, %%ymm\\n, %%ymm\\n\n\t.endr\n"                        \
            "1:\n\t.irp n,0,1,2,3,4,5,6,7,8,9,10,11\n\t" instructions               \
            "\n\t.endr\n\t"                                                         \
            "dec %0\n\tjnz 1b\n\tvzeroupper"                                        \
            : "+r"(iterations)                                                      \
            : "m"(operand)                                                          \
            : TANDEM_CLOBBERS_12);                                                  \
    }
// The same with zmm30 and zmm31, and zmm29 free.
#define TANDEM_PROBE_Z(name, features, instructions)                                                      \
    __attribute__((target(features))) void name(std::int64_t iterations) noexcept {                       \
        asm volatile(                                                                                     \
            "vbroadcastss %1, %%zmm30\n\t"                                                                \
            "vmovaps %%zmm30, %%zmm31\n\t"                                                                \
            ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23\n\t"                    \
            "vpxord %%zmm\\n, %%zmm\\n, %%zmm\\n\n\t.endr\n"                                              \
            "1:\n\t.irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23\n\t" instructions \
            "\n\t.endr\n\t"                                                                               \
            "dec %0\n\tjnz 1b\n\tvzeroupper"                                                              \
            : "+r"(iterations)                                                                            \
            : "m"(operand)                                                                                \
            : TANDEM_CLOBBERS_24);                                                                        \
    }

TANDEM_PROBE_Y(f32_avx2, "avx2,fma", "vfmadd231ps %%ymm14, %%ymm15, %%ymm\\n")
TANDEM_PROBE_Z(f32_avx512, "avx512f", "vfmadd231ps %%zmm30, %%zmm31, %%zmm\\n")
TANDEM_PROBE_Z(bf16_avx512, "avx512f,avx512bf16", "vdpbf16ps %%zmm30, %%zmm31, %%zmm\\n")
TANDEM_PROBE_Z(f16_avx512, "avx512fp16", "vfmadd231ph %%zmm30, %%zmm31, %%zmm\\n")
TANDEM_PROBE_Y(int8_avx2, "avx2,avxvnni", "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm\\n")
TANDEM_PROBE_Z(int8_avx512, "avx512f,avx512vnni", "vpdpbusd %%zmm30, %%zmm31, %%zmm\\n")
TANDEM_PROBE_Y(signed_int8_avx2, "avx2", "vpdpbssd %%ymm14, %%ymm15, %%ymm\\n")
TANDEM_PROBE_Y(int16_avx2, "avx2", "vpmaddwd %%ymm14, %%ymm15, %%ymm13\n\tvpaddd %%ymm13, %%ymm\\n, %%ymm\\n")
TANDEM_PROBE_Z(int16_avx512, "avx512f,avx512bw",
               "vpmaddwd %%zmm30, %%zmm31, %%zmm29\n\tvpaddd %%zmm29, %%zmm\\n, %%zmm\\n")

// Palette 1, all tiles of 16 rows of 64 bytes.
struct alignas(64) TileConfig {
    std::uint8_t palette = 1, start_row = 0, reserved_2[14] = {};
    std::uint16_t row_bytes[8] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t reserved_32[16] = {}, rows[8] = {16, 16, 16, 16, 16, 16, 16, 16}, reserved_56[8] = {};
};
static_assert(sizeof(TileConfig) == 64);
const TileConfig tile_config;
alignas(64) const std::array<std::uint32_t, 16> tile_row = [] {
    std::array<std::uint32_t, 16> row;
    row.fill(operand);
    return row;
}();

// Two tiles of pixels by two of weights, as kernels multiply them.
#define TANDEM_PROBE_T(name, features, product)                                                          \
    __attribute__((target(features))) void name(std::int64_t iterations) noexcept {                      \
        asm volatile(                                                                                    \
            "ldtilecfg %1\n\t"                                                                           \
            ".irp n,4,5,6,7\n\ttileloadd (%2,%3,1), %%tmm\\n\n\t.endr\n\t"                               \
            ".irp n,0,1,2,3\n\ttilezero %%tmm\\n\n\t.endr\n"                                             \
            "1:\n\t" product " %%tmm6, %%tmm4, %%tmm0\n\t" product " %%tmm7, %%tmm4, %%tmm1\n\t" product \
            " %%tmm6, %%tmm5, %%tmm2\n\t" product                                                        \
            " %%tmm7, %%tmm5, %%tmm3\n\t"                                                                \
            "dec %0\n\tjnz 1b\n\ttilerelease"                                                            \
            : "+r"(iterations)                                                                           \
            : "m"(tile_config), "r"(tile_row.data()), "r"(std::int64_t{0}), "m"(tile_row)                \
            : "cc");                                                                                     \
    }
TANDEM_PROBE_T(bf16_amx, "amx-tile,amx-bf16", "tdpbf16ps")
TANDEM_PROBE_T(f16_amx, "amx-tile", "tdpfp16ps")
TANDEM_PROBE_T(int8_amx, "amx-tile,amx-int8", "tdpbusd")

struct Probe {
    const char* instruction;
    void (*run)(std::int64_t iterations) noexcept;
};

Probe probe_of(Dot dot, Isa isa) noexcept {
    const bool wide = is_avx512(isa);
    switch (dot) {
        case Dot::f32:
        case Dot::wide_bf16:
        case Dot::wide_f16: break;
        case Dot::bf16: return {"vdpbf16ps", bf16_avx512};
        case Dot::f16: return {"vfmadd231ph", f16_avx512};
        case Dot::int8: return {"vpdpbusd", wide ? int8_avx512 : int8_avx2};
        case Dot::int16: return {"vpmaddwd", wide ? int16_avx512 : int16_avx2};
        case Dot::signed_int8: return {"vpdpbssd", signed_int8_avx2};
        case Dot::amx_f16: return {"tdpfp16ps", f16_amx};
        case Dot::amx_int8: return {"tdpbusd", int8_amx};
        case Dot::amx_bf16: return {"tdpbf16ps", bf16_amx};
        case Dot::amx_x3: return {"tdpbf16ps/3", bf16_amx};
        case Dot::amx_x6: return {"tdpbf16ps/6", bf16_amx};
    }
    return {"vfmadd231ps", wide ? f32_avx512 : f32_avx2};
}

#define TANDEM_LOAD_Y(n) "vmovups " #n "*32(%0), %%ymm" #n "\n\t"
#define TANDEM_LOAD_Z(n) "vmovups " #n "*64(%0), %%zmm" #n "\n\t"
#define TANDEM_8(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7)
#define TANDEM_LOAD_CLOBBERS "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7"

__attribute__((target("avx2"))) void read_avx2(const std::byte* from, const std::byte* end) noexcept {
    asm volatile("1:\n\t" TANDEM_8(TANDEM_LOAD_Y) "add $256, %0\n\tcmp %1, %0\n\tjb 1b\n\tvzeroupper"
                 : "+r"(from)
                 : "r"(end)
                 : TANDEM_LOAD_CLOBBERS);
}

__attribute__((target("avx512f"))) void read_avx512(const std::byte* from, const std::byte* end) noexcept {
    asm volatile("1:\n\t" TANDEM_8(TANDEM_LOAD_Z) "add $512, %0\n\tcmp %1, %0\n\tjb 1b\n\tvzeroupper"
                 : "+r"(from)
                 : "r"(end)
                 : TANDEM_LOAD_CLOBBERS);
}

constexpr int bursts = 7;                         // the first ones raise the clock
constexpr std::int64_t burst_iterations = 20000;  // 240,000 to 480,000 FMAs: some 0.1 ms

}  // namespace

void run_dots(Dot dot, Isa isa, std::int64_t iterations) noexcept {
    if (iterations > 0) probe_of(dot, isa).run(iterations);
}

double dot_ops_per_iteration(Dot dot, Isa isa) noexcept {
    constexpr double per_tile = amx_rows * amx_rows * amx_row_bytes / 4;
    const double groups = uses_amx(dot)    ? amx_accumulators * per_tile
                          : is_avx512(isa) ? 16 * avx512_accumulators
                                           : 8 * avx2_accumulators;
    const std::int64_t parts = dot_parts(dot), products = parts * (parts + 1) / 2;
    return 2 * static_cast<double>(dot_channels(dot)) * groups / static_cast<double>(products);
}

const char* dot_instruction(Dot dot) noexcept { return probe_of(dot, Isa::avx2).instruction; }

double dot_peak_gflops(Dot dot, Isa isa) {
    return dot_peak_gflops(dot, isa, 1, [](const std::function<void(int)>& fn) { fn(0); });
}

double dot_peak_gflops(Dot dot, Isa isa, int threads, const ParallelFor& parallel) {
    if (uses_amx(dot) && !request_amx()) return 0;
    // Longer bursts for several threads, so that starting and joining them does not count.
    const std::int64_t iterations = threads > 1 ? 5 * burst_iterations : burst_iterations;
    double best = 0;
    for (int i = 0; i < bursts; ++i) {
        const double start = now_seconds();
        parallel([&](int) { run_dots(dot, isa, iterations); });
        const double seconds = now_seconds() - start;
        best = std::max(
            best, dot_ops_per_iteration(dot, isa) * static_cast<double>(iterations) * threads / seconds);
    }
    return best * 1e-9;
}

double cycle_seconds() {
    constexpr std::int64_t iterations = 1000;
    const Result<jit::ProbeLoop> chain = jit::add_chain_loop();
    double best = 0;
    for (int i = 0; chain && i < bursts; ++i) {
        const double start = now_seconds();
        chain->run(iterations, nullptr);
        const double cycle = (now_seconds() - start) / (static_cast<double>(iterations) * chain->units());
        best = i == 0 ? cycle : std::min(best, cycle);
    }
    return best;
}

double read_bandwidth(Isa isa, std::size_t bytes) {
    bytes = std::max(block_bytes, bytes / block_bytes * block_bytes);
    void* const memory = std::aligned_alloc(page_bytes, (bytes + page_bytes - 1) / page_bytes * page_bytes);
    const std::unique_ptr<std::byte, decltype(&std::free)> buffer(static_cast<std::byte*>(memory),
                                                                  &std::free);
    if (!buffer) return 0;
    std::memset(buffer.get(), 1, bytes);
    const std::byte* const end = buffer.get() + bytes;
    const auto pass = [&] {
        is_avx512(isa) ? read_avx512(buffer.get(), end) : read_avx2(buffer.get(), end);
    };
    InterleaveOptions options;
    options.seconds = 0.02;
    options.min_rounds = 3;
    const std::vector<Series> series = interleave({pass}, options);
    return static_cast<double>(bytes) / series.front().fastest * 1e-9;
}

}  // namespace tandem
