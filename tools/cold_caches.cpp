#include "tools/cold_caches.hpp"

#include <span>

namespace tandem::tool {
namespace {

constexpr std::size_t line_bytes = 64;

// Four times L2, twice: caches that do not replace the oldest line keep some of a first pass.
constexpr std::size_t sizes = 4;
constexpr int passes = 2;

// Reads: lines written would be written back later, at the expense of the call that is timed.
void touch(std::span<const std::byte> lines) {
    unsigned sum = 0;
    for (int pass = 0; pass < passes; ++pass)
        for (std::size_t at = 0; at < lines.size(); at += line_bytes)
            sum += std::to_integer<unsigned>(*static_cast<const volatile std::byte*>(&lines[at]));
    [[maybe_unused]] volatile unsigned sink = sum;
}

}  // namespace

// Filled with ones, so that every page is one of its own and not the page of zeros that all may share.
ColdCaches::ColdCaches(std::size_t l2, ThreadPool* pool)
    : pool_(pool), lines_(pool ? static_cast<std::size_t>(pool->threads()) : 1,
                          std::vector<std::byte>(sizes * l2, std::byte{1})) {}

Status ColdCaches::evict() {
    if (pool_)
        return pool_->parallel([this](int worker) { touch(lines_[static_cast<std::size_t>(worker)]); });
    touch(lines_.front());
    return {};
}

}  // namespace tandem::tool
