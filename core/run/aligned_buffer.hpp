// AlignedBuffer: the memory of packed weights and scratch, and where in a page each begins.
//
// CPUs compare the low twelve bits of a load's address with those of stores on their way, and pick cache sets
// by them. Tensors that callers allocate begin on a page or right behind (docs/tensors.md); what the library
// allocates therefore begins elsewhere, each kind at a place of its own.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "tandem/result.hpp"

namespace tandem {

inline constexpr std::size_t page_bytes = 4096;
/// Where in a page: odd numbers of lines, about a quarter of a page apart.
inline constexpr std::size_t weights_in_page = 17 * 64, scratch_in_page = 33 * 64, shared_in_page = 49 * 64;

/// 64-byte aligned bytes, zeroed by whoever creates them, whose node they are then local to.
class AlignedBuffer {
public:
    AlignedBuffer() = default;
    /// `in_page`: a multiple of 64 below a page.
    static Result<AlignedBuffer> create(std::size_t bytes, std::size_t in_page = 0) noexcept;
    std::byte* data() const noexcept { return memory_ ? memory_.get() + in_page_ : nullptr; }
    std::size_t size() const noexcept { return size_; }

private:
    struct Free {
        void operator()(std::byte* p) const noexcept;
    };
    std::unique_ptr<std::byte, Free> memory_;  // whole pages
    std::size_t in_page_ = 0;
    std::size_t size_ = 0;
};

/// A buffer that grows.
class Scratch {
public:
    explicit Scratch(std::size_t in_page = scratch_in_page) noexcept : in_page_(in_page) {}
    /// At least `bytes` bytes, contents undefined. Errors: out of memory.
    Result<std::span<std::byte>> reserve(std::size_t bytes) noexcept;

private:
    AlignedBuffer buffer_;
    std::size_t in_page_;
};

}  // namespace tandem
