#include "core/run/aligned_buffer.hpp"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "core/plan/as_result.hpp"

namespace tandem {

void AlignedBuffer::Free::operator()(std::byte* p) const noexcept { std::free(p); }

Result<AlignedBuffer> AlignedBuffer::create(std::size_t bytes, std::size_t in_page) noexcept {
    AlignedBuffer buffer;
    if (bytes == 0) return buffer;
    if (bytes <= SIZE_MAX - in_page - 2 * page_bytes) {
        const std::size_t pages = (in_page + bytes + page_bytes - 1) / page_bytes * page_bytes;
        buffer.memory_.reset(static_cast<std::byte*>(std::aligned_alloc(page_bytes, pages)));
    }
    if (!buffer.memory_)
        return as_result([&]() -> Result<AlignedBuffer> {
            return Error{ErrorCode::out_of_memory,
                         fmt::format("Allocating {} bytes failed; less memory is available.", bytes)};
        });
    buffer.in_page_ = in_page;
    buffer.size_ = (bytes + 63) / 64 * 64;
    std::memset(buffer.data(), 0, buffer.size_);
    return buffer;
}

Result<std::span<std::byte>> Scratch::reserve(std::size_t bytes) noexcept {
    if (bytes > buffer_.size()) {
        buffer_ = {};
        Result<AlignedBuffer> grown = AlignedBuffer::create(bytes, in_page_);
        if (!grown) return as_result([&] { return Result<std::span<std::byte>>(grown.error()); });
        buffer_ = std::move(*grown);
    }
    return std::span<std::byte>(buffer_.data(), buffer_.size());
}

}  // namespace tandem
