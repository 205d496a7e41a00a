#include "core/run/libxsmm_backend.hpp"

#include <libxsmm.h>

#include <limits>
#include <mutex>

#include <fmt/format.h>

#include "core/plan/fork_hook.hpp"

namespace tandem::libxsmm {
namespace {

// What LIBXSMM's own dispatcher allows a kernel.
// LIBXSMM does not say that its generator is reentrant.
TurnMutex generator;

constexpr std::size_t max_kernel_bytes = 131072;
constexpr std::size_t kernel_alignment = 64;

// AVX512_CORE is what every CPU with F, CD, DQ, BW and VL runs; later ids only add instructions for other
// data types.
unsigned int target(Isa isa) noexcept { return is_avx512(isa) ? LIBXSMM_X86_AVX512_CORE : LIBXSMM_X86_AVX2; }

Error refused(const BatchReduceShape& s, const std::string& why) {
    return {ErrorCode::unsupported,
            fmt::format("plan.backend is libxsmm, whose generator refused a batch-reduce kernel of m={} n={} "
                        "k={} lda={} ldb={} ldc={}: {}; "
                        "plan.backend tandem is accepted.",
                        s.m, s.n, s.k, s.lda, s.ldb, s.ldc, why)};
}

// Strides and extents are 32-bit in LIBXSMM's code, in bytes.
bool fits(const BatchReduceShape& s) noexcept {
    constexpr auto most = static_cast<double>(std::numeric_limits<std::int32_t>::max());
    const auto bytes = [](std::int64_t columns, std::int64_t stride) {
        return 4.0 * static_cast<double>(columns) * static_cast<double>(stride);
    };
    return bytes(s.k, s.lda) <= most && bytes(s.n, s.ldb) <= most && bytes(s.n, s.ldc) <= most;
}

// Appends the kernel's bytes to `code`.
Status append_kernel(const BatchReduceShape& shape, Isa isa, std::vector<std::byte>& code) {
    if (!fits(shape)) return refused(shape, "an offset exceeds 32 bits");
    libxsmm_descriptor_blob blob;
    const auto dim = [](std::int64_t value) {
        return static_cast<libxsmm_blasint>(value);
    };
    const libxsmm_gemm_descriptor* descriptor = libxsmm_gemm_descriptor_dinit(
        &blob, LIBXSMM_GEMM_PRECISION_F32, dim(shape.m), dim(shape.n), dim(shape.k), dim(shape.lda),
        dim(shape.ldb), dim(shape.ldc), 1, shape.accumulate ? 1 : 0, LIBXSMM_GEMM_FLAG_BATCH_REDUCE_ADDRESS,
        LIBXSMM_GEMM_PREFETCH_NONE);
    if (descriptor == nullptr) return refused(shape, "it has no descriptor for it");
    const std::size_t begin = (code.size() + kernel_alignment - 1) / kernel_alignment * kernel_alignment;
    code.resize(begin + max_kernel_bytes);
    libxsmm_generated_code generated{};
    generated.generated_code = code.data() + begin;
    generated.buffer_size = max_kernel_bytes;
    generated.code_type = 2;  // binary
    generated.arch = target(isa);
    libxsmm_generator_gemm_kernel(&generated, descriptor);
    if (generated.last_error != 0) return refused(shape, libxsmm_strerror(generated.last_error));
    code.resize(begin + generated.code_size);
    return {};
}

}  // namespace

bool available() noexcept { return true; }
std::string version() { return fmt::format("LIBXSMM {}.{}", LIBXSMM_VERSION_MAJOR, LIBXSMM_VERSION_MINOR); }

Result<GeneratedKernels> generate(std::span<const BatchReduceShape> shapes, Isa isa) {
    const std::lock_guard lock(generator);
    std::vector<std::byte> code;
    std::vector<std::size_t> offsets;
    for (const BatchReduceShape& shape : shapes) {
        const std::size_t begin = (code.size() + kernel_alignment - 1) / kernel_alignment * kernel_alignment;
        if (auto status = append_kernel(shape, isa, code); !status) return status.error();
        offsets.push_back(begin);
    }
    auto memory = jit::ExecutableMemory::create(code);
    if (!memory) return memory.error();
    GeneratedKernels result{std::move(*memory), {}};
    for (const std::size_t offset : offsets)
        result.kernels.push_back(reinterpret_cast<BatchReduceKernel>(
            reinterpret_cast<std::uintptr_t>(result.memory->bytes().data()) + offset));
    return result;
}

}  // namespace tandem::libxsmm
