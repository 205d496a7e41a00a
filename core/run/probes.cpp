#include "core/run/probes.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "core/plan/machine.hpp"
#include "core/run/measure.hpp"

namespace tandem {

namespace {

// Accumulators in flight: latency (4, Haswell 5) times pipes (2) is 10 at most. AVX2 has 16 registers, AVX-512 has 32.
constexpr int avx2_accumulators = 12;
constexpr int avx512_accumulators = 24;
constexpr std::size_t block_bytes = 1024;
constexpr std::size_t page_bytes = 4096;

#define TANDEM_FMA_Y(n) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #n "\n\t"
#define TANDEM_FMA_Z(n) "vfmadd231ps %%zmm30, %%zmm31, %%zmm" #n "\n\t"
#define TANDEM_ZERO_Y(n) "vxorps %%ymm" #n ", %%ymm" #n ", %%ymm" #n "\n\t"
#define TANDEM_ZERO_Z(n) "vpxord %%zmm" #n ", %%zmm" #n ", %%zmm" #n "\n\t"
#define TANDEM_12(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11)
#define TANDEM_24(op) TANDEM_12(op) op(12) op(13) op(14) op(15) op(16) op(17) op(18) op(19) op(20) op(21) op(22) op(23)

// Operands are neither 0 nor 1, so that the multipliers burn the power they burn in real work.
const float fma_operand = 0.37f;

__attribute__((target("avx2,fma"))) void run_fmas_avx2(std::int64_t iterations) noexcept {
    asm volatile("vbroadcastss %1, %%ymm14\n\t"
                 "vmovaps %%ymm14, %%ymm15\n\t" TANDEM_12(TANDEM_ZERO_Y)  //
                 "1:\n\t" TANDEM_12(TANDEM_FMA_Y)                         //
                 "dec %0\n\t"
                 "jnz 1b\n\t"
                 "vzeroupper"
                 : "+r"(iterations)
                 : "m"(fma_operand)
                 : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                   "xmm14", "xmm15");
}

__attribute__((target("avx512f"))) void run_fmas_avx512(std::int64_t iterations) noexcept {
    asm volatile("vbroadcastss %1, %%zmm30\n\t"
                 "vmovaps %%zmm30, %%zmm31\n\t" TANDEM_24(TANDEM_ZERO_Z)  //
                 "1:\n\t" TANDEM_24(TANDEM_FMA_Z)                         //
                 "dec %0\n\t"
                 "jnz 1b\n\t"
                 "vzeroupper"
                 : "+r"(iterations)
                 : "m"(fma_operand)
                 : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                   "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23",
                   "xmm30", "xmm31");
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

void run_fmas(Isa isa, std::int64_t iterations) noexcept {
    if (iterations <= 0) return;
    if (is_avx512(isa))
        run_fmas_avx512(iterations);
    else
        run_fmas_avx2(iterations);
}

double fma_flops_per_iteration(Isa isa) noexcept {
    return is_avx512(isa) ? 2.0 * 16 * avx512_accumulators : 2.0 * 8 * avx2_accumulators;
}

double fma_peak_gflops(Isa isa) {
    return fma_peak_gflops(isa, 1, [](const std::function<void(int)>& fn) { fn(0); });
}

double fma_peak_gflops(Isa isa, int threads, const ParallelFor& parallel) {
    // Longer bursts for several threads, so that starting and joining them does not count.
    const std::int64_t iterations = threads > 1 ? 5 * burst_iterations : burst_iterations;
    double best = 0;
    for (int i = 0; i < bursts; ++i) {
        const double start = now_seconds();
        parallel([&](int) { run_fmas(isa, iterations); });
        const double seconds = now_seconds() - start;
        best = std::max(best, fma_flops_per_iteration(isa) * static_cast<double>(iterations) * threads / seconds);
    }
    return best * 1e-9;
}

double read_bandwidth(Isa isa, std::size_t bytes) {
    bytes = std::max(block_bytes, bytes / block_bytes * block_bytes);
    void* const memory = std::aligned_alloc(page_bytes, (bytes + page_bytes - 1) / page_bytes * page_bytes);
    const std::unique_ptr<std::byte, decltype(&std::free)> buffer(static_cast<std::byte*>(memory), &std::free);
    if (!buffer) return 0;
    std::memset(buffer.get(), 1, bytes);
    const std::byte* const end = buffer.get() + bytes;
    const auto pass = [&] { is_avx512(isa) ? read_avx512(buffer.get(), end) : read_avx2(buffer.get(), end); };
    InterleaveOptions options;
    options.seconds = 0.02;
    options.min_rounds = 3;
    const std::vector<Series> series = interleave({pass}, options);
    return static_cast<double>(bytes) / series.front().fastest * 1e-9;
}

}  // namespace tandem
