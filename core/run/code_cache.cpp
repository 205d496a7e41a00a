#include "core/run/code_cache.hpp"

#include <exception>
#include <mutex>

#include <fmt/format.h>

namespace tandem {
namespace {

// The same code at another batch size.
std::shared_ptr<const KernelImpl> at_batch(std::shared_ptr<const KernelImpl> kernel, const Problem& problem) {
    if (kernel->problem.input.n == problem.input.n) return kernel;
    return KernelImpl::create(problem, kernel->code);
}

}  // namespace

std::size_t CodeCache::KeyHash::operator()(const CacheKey& key) const noexcept {
    std::size_t h = hash_value(key.problem) ^ static_cast<std::size_t>(key.threads) * 0x9e3779b97f4a7c15u ^
                    static_cast<std::size_t>(key.isa) << 40 ^ static_cast<std::size_t>(key.effort) << 44;
    if (key.plan) h = h * 31 + hash_value(*key.plan);
    return h;
}

std::uint64_t CodeCache::next_id() noexcept {
    static std::atomic<std::uint64_t> next{1};
    return next.fetch_add(1, std::memory_order_relaxed);
}

void CodeCache::count_hit(Entry& entry) noexcept {
    static std::atomic<std::size_t> threads{0};
    thread_local const std::size_t thread = threads.fetch_add(1, std::memory_order_relaxed);
    hits_[thread % shard_count].hits.fetch_add(1, std::memory_order_relaxed);
    entry.last_used.store(clock_.load(std::memory_order_relaxed), std::memory_order_relaxed);
}

std::shared_ptr<const KernelImpl> CodeCache::touch(const std::weak_ptr<Entry>& entry,
                                                   const std::weak_ptr<const KernelImpl>& kernel) noexcept {
    const auto live = entry.lock();
    if (!live) return nullptr;
    auto found = kernel.lock();
    if (found) count_hit(*live);
    return found;
}

Result<CodeCache::Found> CodeCache::get(const CacheKey& key, const Problem& problem, const Compile& compile) {
    Shard& shard = shard_of(key);
    std::shared_ptr<Entry> entry;
    bool mine = false;
    {
        const std::shared_lock lock(shard.mutex);
        if (const auto it = shard.entries.find(key); it != shard.entries.end()) entry = it->second;
    }
    if (entry) {
        if (auto kernel = entry->kernel.load(std::memory_order_acquire)) {
            count_hit(*entry);
            return Found{at_batch(std::move(kernel), problem), std::move(entry)};
        }
    } else {
        const std::unique_lock lock(shard.mutex);
        auto& slot = shard.entries[key];
        if (!slot) {
            slot = std::make_shared<Entry>();
            mine = true;
        }
        entry = slot;
    }
    auto kernel = mine ? compile_into(shard, key, *entry, problem, compile) : wait(*entry);
    if (!kernel) return kernel.error();
    if (!mine) count_hit(*entry);
    return Found{at_batch(std::move(*kernel), problem), std::move(entry)};
}

Result<std::shared_ptr<const KernelImpl>> CodeCache::wait(Entry& entry) {
    std::unique_lock lock(entry.mutex);
    entry.ready.wait(lock, [&] { return entry.done; });
    if (entry.error) return *entry.error;
    return entry.kernel.load(std::memory_order_acquire);
}

Result<std::shared_ptr<const KernelImpl>> CodeCache::compile_into(Shard& shard, const CacheKey& key,
                                                                  Entry& entry, const Problem& problem,
                                                                  const Compile& compile) {
    auto code = [&]() -> Result<std::shared_ptr<const KernelCode>> {
        try {
            return compile();
        } catch (const std::exception& e) {  // memory; thrown past here it would leave those who wait waiting
            return Error{ErrorCode::system, fmt::format("Compiling the kernel failed: {}.", e.what())};
        }
    }();
    std::shared_ptr<const KernelImpl> kernel;
    if (code) kernel = KernelImpl::create(problem, *code);
    if (!code) {
        failures_.fetch_add(1, std::memory_order_relaxed);
        const std::unique_lock lock(shard.mutex);
        if (const auto it = shard.entries.find(key); it != shard.entries.end() && it->second.get() == &entry)
            shard.entries.erase(it);
    } else {
        misses_.fetch_add(1, std::memory_order_relaxed);
        emission_ns_.fetch_add(static_cast<std::uint64_t>((*code)->emission_seconds * 1e9),
                               std::memory_order_relaxed);
        entry.last_used.store(clock_.fetch_add(1, std::memory_order_relaxed) + 1, std::memory_order_relaxed);
        entry.kernel.store(kernel, std::memory_order_release);
    }
    {
        const std::unique_lock lock(entry.mutex);
        entry.done = true;
        if (!code) entry.error = code.error();
    }
    entry.ready.notify_all();
    if (!code) return code.error();
    evict_beyond_capacity();
    return kernel;
}

// Drops the entry used longest ago. The clock ticks at each compile, so recency is counted in compiles, not
// in hits.
void CodeCache::evict_beyond_capacity() {
    for (;;) {
        std::size_t entries = 0;
        Shard* oldest_shard = nullptr;
        CacheKey oldest_key;
        std::uint64_t oldest = ~std::uint64_t{0};
        for (Shard& shard : shards_) {
            const std::shared_lock lock(shard.mutex);
            entries += shard.entries.size();
            for (const auto& [key, entry] : shard.entries) {
                const std::uint64_t used = entry->last_used.load(std::memory_order_relaxed);
                if (used == 0 || used >= oldest) continue;  // 0: still compiling
                oldest = used;
                oldest_shard = &shard;
                oldest_key = key;
            }
        }
        if (entries <= capacity_ || oldest_shard == nullptr) return;
        const std::unique_lock lock(oldest_shard->mutex);
        if (oldest_shard->entries.erase(oldest_key) > 0) evictions_.fetch_add(1, std::memory_order_relaxed);
    }
}

void CodeCache::erase(const CacheKey& key) {
    Shard& shard = shard_of(key);
    const std::unique_lock lock(shard.mutex);
    const auto it = shard.entries.find(key);
    if (it != shard.entries.end() && it->second->kernel.load() != nullptr) shard.entries.erase(it);
}

CacheStats CodeCache::stats() const {
    CacheStats stats;
    for (const HitCount& count : hits_)
        stats.hits += count.hits.load(std::memory_order_relaxed);
    for (const Shard& shard : shards_) {
        const std::shared_lock lock(shard.mutex);
        stats.entries += shard.entries.size();
        for (const auto& [key, entry] : shard.entries)
            if (const auto kernel = entry->kernel.load(std::memory_order_acquire))
                stats.code_bytes += kernel->code->bytes().size();
    }
    stats.misses = misses_.load(std::memory_order_relaxed);
    stats.evictions = evictions_.load(std::memory_order_relaxed);
    stats.failures = failures_.load(std::memory_order_relaxed);
    stats.emission_seconds = static_cast<double>(emission_ns_.load(std::memory_order_relaxed)) * 1e-9;
    return stats;
}

void CodeCache::clear() {
    for (Shard& shard : shards_) {
        const std::unique_lock lock(shard.mutex);
        std::erase_if(shard.entries, [](const auto& item) { return item.second->kernel.load() != nullptr; });
    }
}

}  // namespace tandem
