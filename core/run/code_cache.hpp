// CodeCache: generated code by shape. A key is compiled once however many threads ask at once, outside
// every lock; hits take a shared lock on one shard. Entries are reference-counted: a kernel outlives its
// eviction. A failed compile is not kept.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <unordered_map>

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

class CodeCache {
public:
    using Compile = std::function<Result<std::shared_ptr<const KernelCode>>()>;
    struct Entry;
    struct Found {
        std::shared_ptr<const KernelImpl> kernel;
        std::shared_ptr<Entry> entry;
    };

    explicit CodeCache(std::size_t capacity) : capacity_(capacity) {}

    /// The kernel for `key` at batch size `problem.input.n`; compiled by the first to ask, others wait for
    /// it.
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
        std::atomic<std::shared_ptr<const KernelImpl>>
            kernel;  // of the batch size asked for first; null while compiling
        std::atomic<std::uint64_t> last_used{0};
        std::mutex mutex;
        std::condition_variable ready;
        bool done = false;
        std::optional<Error> error;
    };

private:
    struct KeyHash {
        std::size_t operator()(const CacheKey& key) const noexcept;
    };
    struct alignas(64) Shard {
        mutable std::shared_mutex mutex;
        std::unordered_map<CacheKey, std::shared_ptr<Entry>, KeyHash> entries;
    };
    static constexpr std::size_t shard_count = 16;

    Shard& shard_of(const CacheKey& key) noexcept { return shards_[KeyHash{}(key) >> 7 & (shard_count - 1)]; }
    static std::uint64_t next_id() noexcept;
    void count_hit(Entry& entry) noexcept;
    Result<std::shared_ptr<const KernelImpl>> wait(Entry& entry);
    Result<std::shared_ptr<const KernelImpl>> compile_into(Shard& shard, const CacheKey& key, Entry& entry,
                                                           const Problem& problem, const Compile& compile);
    void evict_beyond_capacity();

    const std::size_t capacity_;
    const std::uint64_t id_ = next_id();
    struct alignas(64) HitCount {
        std::atomic<std::uint64_t> hits{0};
    };
    std::array<Shard, shard_count> shards_;
    std::array<HitCount, shard_count> hits_;  // by thread, so that hits do not meet
    std::atomic<std::uint64_t> clock_{0}, misses_{0}, evictions_{0}, failures_{0}, emission_ns_{0};
};

}  // namespace tandem
