#include "jit/code_block.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

namespace tandem::jit {
namespace {

// Most kernels take 8-60 KB. Untouched pages of the staging buffer cost nothing.
constexpr std::size_t first_staging_bytes = 1u << 20;
constexpr std::size_t last_staging_bytes = 1u << 26;

Error system_error(const char* what, std::size_t bytes) {
    return {ErrorCode::system,
            fmt::format("{} of {} bytes for generated code failed: {}; a process that may map executable "
                        "memory is needed.",
                        what, bytes, std::strerror(errno))};
}

}  // namespace

Result<std::shared_ptr<const ExecutableMemory>> ExecutableMemory::create(std::span<const std::byte> code) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t mapped = (code.size() + page - 1) / page * page;
    void* base = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return system_error("mmap", mapped);
    std::memcpy(base, code.data(), code.size());
    if (mprotect(base, mapped, PROT_READ | PROT_EXEC) != 0) {
        Error error = system_error("mprotect(PROT_READ | PROT_EXEC)", mapped);
        munmap(base, mapped);
        return error;
    }
    return std::shared_ptr<const ExecutableMemory>(new ExecutableMemory(base, code.size(), mapped));
}

ExecutableMemory::~ExecutableMemory() { munmap(base_, mapped_); }

Address CodeBlock::constant_line(const std::array<std::uint32_t, 16>& words) {
    for (const Constant& c : constants_)
        if (c.words == words) return ptr[rip + *c.label];
    constants_.push_back({words, std::make_unique<Label>()});
    return ptr[rip + *constants_.back().label];
}

Address CodeBlock::constant_bits(std::uint32_t bits) {
    std::array<std::uint32_t, 16> words;
    words.fill(bits);
    return constant_line(words);
}

Address CodeBlock::constant(float value) { return constant_bits(std::bit_cast<std::uint32_t>(value)); }

Address CodeBlock::lane_mask(int lanes) {
    std::array<std::uint32_t, 16> words{};
    std::fill_n(words.begin(), lanes, 0xffffffffu);
    return constant_line(words);
}

void CodeBlock::emit_constants() {
    if (constants_.empty()) return;
    align(64);
    note("constants");
    for (const Constant& c : constants_) {
        L(*c.label);
        for (const std::uint32_t word : c.words)
            dd(word);
    }
}

Result<EmittedCode> emit_code(const std::function<void(CodeBlock&)>& emit) {
    for (std::size_t size = first_staging_bytes;; size *= 4) {
        void* staging =
            mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (staging == MAP_FAILED) return system_error("mmap", size);
        const std::unique_ptr<void, std::function<void(void*)>> release(staging,
                                                                        [size](void* p) { munmap(p, size); });
        try {
            CodeBlock code(staging, size);
            emit(code);
            code.emit_constants();
            auto memory = ExecutableMemory::create({static_cast<const std::byte*>(staging), code.getSize()});
            if (!memory) return memory.error();
            return EmittedCode{std::move(*memory), code.take_labels()};
        } catch (const Xbyak::Error& e) {
            if (static_cast<int>(e) == Xbyak::ERR_CODE_IS_TOO_BIG && size < last_staging_bytes) continue;
            return Error{ErrorCode::unsupported,
                         fmt::format("Emitting the kernel failed in the assembler: {}.", e.what())};
        } catch (const std::exception& e) {
            return Error{ErrorCode::unsupported, fmt::format("Emitting the kernel failed: {}.", e.what())};
        }
    }
}

}  // namespace tandem::jit
