// CodeCache: generated code by shape. A key is compiled once however many threads ask at once, outside
// every lock; hits take the lock of one shard for a moment. Entries are reference-counted: a kernel outlives
// its eviction. A failed compile is not kept.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "core/plan/fork_hook.hpp"
#include "core/run/kernel_code.hpp"
#include "tandem/context.hpp"

namespace tandem {

/// What a dispatch asks for. The batch size is not part of it.
struct CacheKey {
    Problem problem;  // batch 1
    Isa isa = Isa::avx2;
    int threads = 1;
    Effort effort = Effort::estimate;  // part of the key: a kernel that nothing was measured for does not
                                       // answer who asks to measure
    std::optional<Plan> plan;          // the caller's own
    bool operator==(const CacheKey&) const = default;
};

/// What a cache may hold. The latest kernel is kept however large it is.
struct CacheLimits {
    std::size_t kernels = 0;
    std::size_t bytes = 0;  // of machine code
};

class CodeCache {
public:
    using Compile = std::function<Result<std::shared_ptr<const KernelCode>>()>;
    using Made = Result<std::shared_ptr<const KernelImpl>>;
    struct Entry;
    struct Found {
        std::shared_ptr<const KernelImpl> kernel;
        std::shared_ptr<Entry> entry;
    };

    explicit CodeCache(const CacheLimits& limits) : limits_(limits) {}

    /// The kernel for `key` at batch size `problem.input.n`; compiled by the first to ask, others wait for
    /// it. May throw for want of memory; what is compiled then is still found by the next who asks.
    Result<Found> get(const CacheKey& key, const Problem& problem, const Compile& compile);
    /// A kernel found before, counted as a hit; null if the entry was dropped since.
    std::shared_ptr<const KernelImpl> touch(const std::weak_ptr<Entry>& entry,
                                            const std::weak_ptr<const KernelImpl>& kernel) noexcept;
    /// Unlike an address, never that of another cache.
    std::uint64_t id() const noexcept { return id_; }

    /// Forgets one kernel, unless it is being compiled.
    void erase(const CacheKey& key);

    CacheStats stats() const;
    void clear();

    struct Entry {
        const unsigned generation = process_generation();  // of who compiles it
        std::atomic<std::uint64_t> last_used{0};           // 0: still compiling

        // Guarded by the shard's mutex.
        std::shared_ptr<const KernelImpl>
            kernel{};  // of the batch size asked for first; null while compiling
        std::size_t code_bytes = 0;

        // For those who wait.
        std::mutex mutex{};
        std::condition_variable ready{};
        std::optional<Made> made{};
    };

private:
    struct KeyHash {
        std::size_t operator()(const CacheKey& key) const noexcept;
    };
    using Entries = std::unordered_map<CacheKey, std::shared_ptr<Entry>, KeyHash>;
    struct alignas(64) Shard {
        mutable std::mutex mutex;
        Entries entries;
    };
    static constexpr std::size_t shard_count = 16;
    struct Asked {
        std::shared_ptr<Entry> entry;
        std::shared_ptr<const KernelImpl> kernel{};  // null: to be waited for, or compiled
        bool mine = false;                           // to be compiled by who asked
    };
    friend class HeldOverFork<CodeCache>;
    template <class Each>
    void for_each_mutex(Each each) {
        for (Shard& shard : shards_)
            each(shard.mutex);
    }

    Shard& shard_of(const CacheKey& key) noexcept { return shards_[KeyHash{}(key) >> 7 & (shard_count - 1)]; }
    static std::uint64_t next_id() noexcept;
    void count_hit(Entry& entry) noexcept;
    Asked ask(const CacheKey& key);
    Made compile_into(const CacheKey& key, const std::shared_ptr<Entry>& entry, const Problem& problem,
                      const Compile& compile);
    void keep(Shard& shard, const CacheKey& key, Entry& entry,
              const std::shared_ptr<const KernelImpl>& kernel) noexcept;
    void drop(Shard& shard, const CacheKey& key, const Entry& entry) noexcept;
    Entries::node_type take(Shard& shard, Entries::const_iterator at) noexcept;
    void evict_beyond_limits(const Entry& newest) noexcept;
    bool evict_oldest(const Entry& newest) noexcept;

    const CacheLimits limits_;
    const std::uint64_t id_ = next_id();
    struct alignas(64) HitCount {
        std::atomic<std::uint64_t> hits{0};
    };
    std::array<Shard, shard_count> shards_;
    std::array<HitCount, shard_count> hits_;  // by thread, so that hits do not meet
    std::atomic<std::size_t> entries_{0}, code_bytes_{0};
    std::atomic<std::uint64_t> clock_{0}, misses_{0}, evictions_{0}, failures_{0}, emission_ns_{0};
    HeldOverFork<CodeCache> held_over_fork_{*this};  // the last member
};

}  // namespace tandem
