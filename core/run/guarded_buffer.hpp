// GuardedBuffer: memory between two pages that fault on any access, to catch reads and writes outside of a
// tensor.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "tandem/result.hpp"

namespace tandem {

/// Which end of the buffer touches its guard page; only that end is exact to the byte.
enum class Placement : std::uint8_t {
    flush_start,
    flush_end,
    unguarded,  // no page faults
};

class GuardedBuffer {
public:
    /// `bytes` zero bytes. With flush_end the address is rounded down to a multiple of `alignment`, a power
    /// of two up to a page.
    static Result<GuardedBuffer> create(std::size_t bytes, Placement placement,
                                        std::size_t alignment = alignof(float)) {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        const std::size_t inner = (bytes + page - 1) / page * page;
        GuardedBuffer buffer;
        buffer.mapped_ = inner + 2 * page;
        void* map = mmap(nullptr, buffer.mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (map == MAP_FAILED)
            return Error{ErrorCode::system,
                         fmt::format("mmap of {} bytes for a guarded buffer failed", buffer.mapped_)};
        buffer.map_ = static_cast<std::byte*>(map);
        if (placement != Placement::unguarded && (mprotect(buffer.map_, page, PROT_NONE) != 0 ||
                                                  mprotect(buffer.map_ + page + inner, page, PROT_NONE) != 0))
            return Error{ErrorCode::system, "mprotect of a guard page failed"};
        const std::size_t slack = placement == Placement::flush_end ? (inner - bytes) & ~(alignment - 1) : 0;
        buffer.bytes_ = {buffer.map_ + page + slack, bytes};
        return buffer;
    }

    GuardedBuffer(GuardedBuffer&& other) noexcept
        : map_(std::exchange(other.map_, nullptr)), mapped_(other.mapped_),
          bytes_(std::exchange(other.bytes_, {})) {}
    GuardedBuffer& operator=(GuardedBuffer&& other) noexcept {
        std::swap(map_, other.map_);
        std::swap(mapped_, other.mapped_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~GuardedBuffer() {
        if (map_ != nullptr) munmap(map_, mapped_);
    }

    std::span<std::byte> bytes() const noexcept { return bytes_; }

private:
    GuardedBuffer() = default;

    std::byte* map_ = nullptr;
    std::size_t mapped_ = 0;
    std::span<std::byte> bytes_{};
};

}  // namespace tandem
