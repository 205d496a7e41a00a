// DispatchMemo: a thread's own table of what it dispatched lately, in front of the cache. A hit compares
// plain descriptors: nothing is validated, resolved or locked, and threads do not meet. It holds no kernel
// alive: an entry that the cache has dropped is a miss.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <new>
#include <optional>

#include "core/run/code_cache.hpp"

namespace tandem {

class DispatchMemo {
public:
    /// The kernel that `cache` gave this thread for the same descriptor and options, or null. Options with
    /// a plan are never found.
    std::shared_ptr<const KernelImpl> find(CodeCache& cache, const ConvChain& chain,
                                           const DispatchOptions& options) const noexcept {
        const Slot* const slot = slots_[index_of(chain)].get();
        if (!slot || slot->cache != cache.id() || options.plan || slot->isa != options.isa ||
            slot->threads != options.threads || slot->effort != options.effort || !(slot->chain == chain))
            return nullptr;
        return cache.touch(slot->entry, slot->kernel);
    }

    /// Does nothing where there is no memory for it.
    void remember(CodeCache& cache, const ConvChain& chain, const DispatchOptions& options,
                  const CodeCache::Found& found) noexcept {
        if (options.plan) return;
        std::unique_ptr<Slot>& slot = slots_[index_of(chain)];
        if (!slot) slot.reset(new (std::nothrow) Slot);
        if (!slot) return;
        slot->cache = cache.id();
        slot->chain = chain;
        slot->isa = options.isa;
        slot->threads = options.threads;
        slot->effort = options.effort;
        slot->entry = found.entry;
        slot->kernel = found.kernel;
    }

private:
    struct Slot {
        std::uint64_t cache = 0;  // id of the cache; 0: empty
        ConvChain chain{};
        std::optional<Isa> isa{};
        int threads = 0;
        Effort effort = Effort::estimate;
        std::weak_ptr<CodeCache::Entry> entry{};
        std::weak_ptr<const KernelImpl> kernel{};
    };
    static constexpr std::size_t slot_count = 128;  // a network's worth of layers

    static std::size_t index_of(const ConvChain& chain) noexcept {
        const InputShape& input = chain.input;
        std::uint64_t h = static_cast<std::uint64_t>(input.c) * 0x9e3779b97f4a7c15u ^
                          static_cast<std::uint64_t>(input.h) << 20 ^
                          static_cast<std::uint64_t>(input.w) << 40 ^ static_cast<std::uint64_t>(input.n) ^
                          static_cast<std::uint64_t>(chain.layout) << 9;
        for (const Conv& conv : chain.stages())
            h = h * 31 ^ conv_hash(conv);
        h *= 0xff51afd7ed558ccdu;
        return h >> 57;
    }
    static std::uint64_t conv_hash(const Conv& c) noexcept {
        return static_cast<std::uint64_t>(c.out_channels) * 7 ^ static_cast<std::uint64_t>(c.kernel.h) << 16 ^
               static_cast<std::uint64_t>(c.stride.h) << 24 ^
               static_cast<std::uint64_t>(c.post_op_count) << 32;
    }
    static_assert(slot_count == 128, "index_of() takes the top 7 bits");

    std::array<std::unique_ptr<Slot>, slot_count> slots_;
};

}  // namespace tandem
