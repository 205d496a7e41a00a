#include "tools/cold_caches.hpp"

#include <span>

namespace tandem::tool {
namespace {

constexpr std::size_t line_bytes = 64;

// Four times L2, twice: caches that do not replace the oldest line keep some of a first pass.
constexpr std::size_t sizes = 4;
constexpr int passes = 2;

void touch(std::span<std::byte> lines) {
    for (int pass = 0; pass < passes; ++pass)
        for (std::size_t at = 0; at < lines.size(); at += line_bytes)
            *const_cast<volatile std::byte*>(&lines[at]) = std::byte{1};
}

}  // namespace

ColdCaches::ColdCaches(std::size_t l2, ThreadPool* pool)
    : pool_(pool),
      lines_(pool ? static_cast<std::size_t>(pool->threads()) : 1, std::vector<std::byte>(sizes * l2)) {}

void ColdCaches::evict() {
    if (!pool_) return touch(lines_.front());
    static_cast<void>(
        pool_->parallel([this](int worker) { touch(lines_[static_cast<std::size_t>(worker)]); }));
}

}  // namespace tandem::tool
