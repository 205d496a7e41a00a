#include "core/run/code_cache.hpp"

#include <algorithm>

#include "core/plan/as_result.hpp"
#include "core/run/thread_state.hpp"

namespace tandem {
namespace {

// The same code at another batch size.
std::shared_ptr<const KernelImpl> at_batch(std::shared_ptr<const KernelImpl> kernel, const Problem& problem) {
    if (kernel->problem.input.n == problem.input.n) return kernel;
    return KernelImpl::create(problem, kernel->code);
}

CodeCache::Made wait_for(CodeCache::Entry& entry) {
    std::unique_lock lock(entry.mutex);
    entry.ready.wait(lock, [&] { return entry.made.has_value(); });
    return *entry.made;
}

}  // namespace

std::size_t CodeCache::KeyHash::operator()(const CacheKey& key) const noexcept {
    std::size_t h = hash_value(key.problem) ^ static_cast<std::size_t>(key.threads) * 0x9e3779b97f4a7c15u ^
                    static_cast<std::size_t>(key.isa.bits()) * 0xff51afd7ed558ccdu ^
                    static_cast<std::size_t>(key.effort) << 44;
    if (key.plan) h = h * 31 + hash_value(*key.plan);
    return h;
}

std::uint64_t CodeCache::next_id() noexcept {
    static std::atomic<std::uint64_t> next{1};
    return next.fetch_add(1, std::memory_order_relaxed);
}

void CodeCache::count_hit(Entry& entry) noexcept {
    hits_[thread_number() % shard_count].hits.fetch_add(1, std::memory_order_relaxed);
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

// What the thread that compiled an entry in a parent process would have brought is made anew.
CodeCache::Asked CodeCache::ask(const CacheKey& key) {
    Shard& shard = shard_of(key);
    std::shared_ptr<Entry> abandoned;  // ends behind the lock
    const std::lock_guard lock(shard.mutex);
    const auto found = shard.entries.find(key);
    if (found == shard.entries.end()) {
        auto entry = std::make_shared<Entry>();
        shard.entries.emplace(key, entry);
        entries_.fetch_add(1, std::memory_order_relaxed);
        return {std::move(entry), nullptr, true};
    }
    std::shared_ptr<Entry>& entry = found->second;
    if (entry->kernel || entry->generation == process_generation()) return {entry, entry->kernel, false};
    abandoned = std::exchange(entry, std::make_shared<Entry>());
    return {entry, nullptr, true};
}

Result<CodeCache::Found> CodeCache::get(const CacheKey& key, const Problem& problem, const Compile& compile) {
    Asked asked = ask(key);
    if (!asked.mine && !asked.kernel) {
        Made made = wait_for(*asked.entry);
        if (!made) return made.error();
        asked.kernel = std::move(*made);
    }
    if (asked.kernel) {
        count_hit(*asked.entry);
        return Found{at_batch(std::move(asked.kernel), problem), std::move(asked.entry)};
    }
    Made made = compile_into(key, asked.entry, problem, compile);
    if (!made) return made.error();
    return Found{std::move(*made), std::move(asked.entry)};
}

// Whatever happens, the entry is completed: there may be threads that wait for it.
CodeCache::Made CodeCache::compile_into(const CacheKey& key, const std::shared_ptr<Entry>& entry,
                                        const Problem& problem, const Compile& compile) {
    Made made = as_result([&]() -> Made {
        const auto code = compile();
        if (!code) return code.error();
        return KernelImpl::create(problem, *code);
    });
    Shard& shard = shard_of(key);
    if (made)
        keep(shard, key, *entry, *made);
    else
        drop(shard, key, *entry);
    const bool good = made.ok();
    {
        const std::lock_guard lock(entry->mutex);
        entry->made.emplace(std::move(made));
    }
    entry->ready.notify_all();
    if (good) evict_beyond_limits(*entry);
    return *entry->made;
}

// Where the cache was cleared meanwhile, or a child was forked, the entry is not among its own any more.
void CodeCache::keep(Shard& shard, const CacheKey& key, Entry& entry,
                     const std::shared_ptr<const KernelImpl>& kernel) noexcept {
    const KernelCode& code = *kernel->code;
    misses_.fetch_add(1, std::memory_order_relaxed);
    emission_ns_.fetch_add(static_cast<std::uint64_t>(code.emission_seconds * 1e9),
                           std::memory_order_relaxed);
    const std::lock_guard lock(shard.mutex);
    const auto at = shard.entries.find(key);
    if (at == shard.entries.end() || at->second.get() != &entry) return;
    entry.kernel = kernel;
    entry.code_bytes = code.bytes().size();
    entry.last_used.store(clock_.fetch_add(1, std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    code_bytes_.fetch_add(entry.code_bytes, std::memory_order_relaxed);
}

void CodeCache::drop(Shard& shard, const CacheKey& key, const Entry& entry) noexcept {
    failures_.fetch_add(1, std::memory_order_relaxed);
    Entries::node_type node;
    const std::lock_guard lock(shard.mutex);
    const auto at = shard.entries.find(key);
    if (at != shard.entries.end() && at->second.get() == &entry) node = take(shard, at);
}

// The caller lets the node end behind the lock: code is unmapped and observers are told with it.
CodeCache::Entries::node_type CodeCache::take(Shard& shard, Entries::const_iterator at) noexcept {
    entries_.fetch_sub(1, std::memory_order_relaxed);
    code_bytes_.fetch_sub(at->second->code_bytes, std::memory_order_relaxed);
    return shard.entries.extract(at);
}

void CodeCache::evict_beyond_limits(const Entry& newest) noexcept {
    while (entries_.load(std::memory_order_relaxed) > limits_.kernels ||
           code_bytes_.load(std::memory_order_relaxed) > limits_.bytes)
        if (!evict_oldest(newest)) return;
}

// Drops the entry used longest ago. The clock ticks at each compile, so recency is counted in compiles, not
// in hits. False where there is none to drop.
bool CodeCache::evict_oldest(const Entry& newest) noexcept {
    Shard* shard = nullptr;
    const Entry* oldest = nullptr;  // to be compared only
    std::uint64_t used = ~std::uint64_t{0};
    for (Shard& each : shards_) {
        const std::lock_guard lock(each.mutex);
        for (const auto& [key, entry] : each.entries) {
            const std::uint64_t last = entry->last_used.load(std::memory_order_relaxed);
            if (last == 0 || last >= used || entry.get() == &newest) continue;
            used = last;
            shard = &each;
            oldest = entry.get();
        }
    }
    if (!shard) return false;
    Entries::node_type node;
    const std::lock_guard lock(shard->mutex);
    const auto at =
        std::ranges::find(shard->entries, oldest, [](const auto& item) { return item.second.get(); });
    if (at == shard->entries.end() || !at->second->kernel) return true;  // somebody else was faster
    node = take(*shard, at);
    evictions_.fetch_add(1, std::memory_order_relaxed);
    return true;
}

void CodeCache::erase(const CacheKey& key) {
    Shard& shard = shard_of(key);
    Entries::node_type node;
    const std::lock_guard lock(shard.mutex);
    const auto at = shard.entries.find(key);
    if (at != shard.entries.end() && at->second->kernel) node = take(shard, at);
}

CacheStats CodeCache::stats() const {
    CacheStats stats;
    for (const HitCount& count : hits_)
        stats.hits += count.hits.load(std::memory_order_relaxed);
    stats.entries = entries_.load(std::memory_order_relaxed);
    stats.code_bytes = code_bytes_.load(std::memory_order_relaxed);
    stats.misses = misses_.load(std::memory_order_relaxed);
    stats.evictions = evictions_.load(std::memory_order_relaxed);
    stats.failures = failures_.load(std::memory_order_relaxed);
    stats.emission_seconds = static_cast<double>(emission_ns_.load(std::memory_order_relaxed)) * 1e-9;
    return stats;
}

// One at a time, as kernels must not end under the lock.
void CodeCache::clear() {
    const auto is_made = [](const auto& item) {
        return item.second->kernel != nullptr;
    };
    for (Shard& shard : shards_) {
        for (bool more = true; more;) {
            Entries::node_type node;
            const std::lock_guard lock(shard.mutex);
            const auto at = std::ranges::find_if(shard.entries, is_made);
            more = at != shard.entries.end();
            if (more) node = take(shard, at);
        }
    }
}

}  // namespace tandem
