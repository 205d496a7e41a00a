// DispatchMemo: a thread's own table of what it dispatched lately, in front of the cache. A hit compares
// plain descriptors: nothing is validated, resolved or locked, and threads do not meet. It holds no kernel
// alive: an entry that the cache has dropped is a miss.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>

#include "core/run/code_cache.hpp"

namespace tandem {

template <class Descriptor>
class DispatchMemo {
public:
    /// The kernel that `cache` gave this thread for the same descriptor and options, or null. Options with
    /// a plan are never found.
    static std::shared_ptr<const KernelImpl> find(CodeCache& cache, const Descriptor& descriptor,
                                                  const DispatchOptions& options) noexcept {
        const Slot& slot = slot_of(descriptor);
        if (slot.cache != cache.id() || options.plan || slot.isa != options.isa ||
            slot.threads != options.threads || slot.effort != options.effort ||
            !(slot.descriptor == descriptor))
            return nullptr;
        return cache.touch(slot.entry, slot.kernel);
    }

    static void remember(CodeCache& cache, const Descriptor& descriptor, const DispatchOptions& options,
                         const CodeCache::Found& found) {
        if (options.plan) return;
        slot_of(descriptor) = {cache.id(),     descriptor,  options.isa, options.threads,
                               options.effort, found.entry, found.kernel};
    }

private:
    struct Slot {
        std::uint64_t cache = 0;  // id of the cache; 0: empty
        Descriptor descriptor{};
        std::optional<Isa> isa{};
        int threads = 0;
        Effort effort = Effort::estimate;
        std::weak_ptr<CodeCache::Entry> entry{};
        std::weak_ptr<const KernelImpl> kernel{};
    };
    static constexpr std::size_t slot_count = 128;  // a network's worth of layers

    static Slot& slot_of(const Descriptor& d) noexcept {
        thread_local std::array<Slot, slot_count> slots;
        std::uint64_t h = static_cast<std::uint64_t>(d.input.c) * 0x9e3779b97f4a7c15u ^
                          static_cast<std::uint64_t>(d.input.h) << 20 ^
                          static_cast<std::uint64_t>(d.input.w) << 40 ^
                          static_cast<std::uint64_t>(d.input.n) ^ static_cast<std::uint64_t>(d.layout) << 9;
        h ^= conv_hash(last_conv(d)) * 31 + conv_hash(first_conv(d));
        h *= 0xff51afd7ed558ccdu;
        return slots[h >> 57];
    }
    static const Conv& first_conv(const ConvPair& d) noexcept { return d.first; }
    static const Conv& last_conv(const ConvPair& d) noexcept { return d.second; }
    static const Conv& first_conv(const SingleConv& d) noexcept { return d.conv; }
    static const Conv& last_conv(const SingleConv& d) noexcept { return d.conv; }
    static std::uint64_t conv_hash(const Conv& c) noexcept {
        return static_cast<std::uint64_t>(c.out_channels) * 7 ^ static_cast<std::uint64_t>(c.kernel.h) << 16 ^
               static_cast<std::uint64_t>(c.stride.h) << 24 ^
               static_cast<std::uint64_t>(c.post_op_count) << 32;
    }
    static_assert(slot_count == 128, "slot_of() takes the top 7 bits");
};

}  // namespace tandem
