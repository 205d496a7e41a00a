// KernelCode: what the cache keeps for a shape: problem of one image, plan, generated functions. Shared by
// every Kernel handle of the shape, whatever its batch size. KernelImpl: a handle's own part.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/run/code_announcement.hpp"
#include "core/run/packing.hpp"
#include "core/run/segment_code.hpp"
#include "tandem/kernel.hpp"

namespace tandem {

struct KernelCode {
    Problem problem;  // batch 1
    Plan plan;
    jit::EmittedCode code;
    std::vector<SegmentCode> segments;  // at least one
    int threads = 1;                    // parts that the plan is meant to run in at once
    double emission_seconds = 0;
    std::string plan_reason;                     // who chose the plan, and every fallback taken
    std::string name{};                          // at batch 1
    std::shared_ptr<const PanelSpecs> panels{};  // that packed weights have to match

    /// Scratch of a part: first the tensors between segments, each of a whole image, then what the segments
    /// need, which take turns.
    std::vector<std::size_t> stored_offsets{};  // of the output of each segment but the last
    std::size_t segments_offset = 0, scratch_bytes = 0;
    std::size_t fetching_segment = 0;  // whose tiles prefetch Args::next: the last with a dense stage

    Machine machine{};                // that it was planned for
    bool foreign = false;             // which is not the host
    CodeAnnouncement announcement{};  // the last member: observers are told before anything ends

    struct Options {
        int threads = 1;
        std::shared_ptr<CodeObserver> observer{};
        Machine machine{};
        bool foreign = false;
    };
    /// Emits a problem under a checked plan, for any ISA: running the code is what needs the host to have it.
    static Result<std::shared_ptr<const KernelCode>> create(const Problem& problem, const Plan& plan,
                                                            std::string plan_reason, const Options& options);
    /// Bytes of an image of what a segment but the last writes.
    std::size_t stored_bytes(std::size_t segment) const noexcept {
        return (static_cast<std::size_t>(segments[segment].output.image) + 63) / 64 * 64;
    }
    const SegmentCode& last() const noexcept { return segments.back(); }
    std::span<const std::byte> bytes() const noexcept { return code.memory->bytes(); }
    /// Several stages, tile by tile: no intermediate is ever there as a whole.
    bool fused() const noexcept;
    /// Bytes of scratch that hold rows of intermediates, or all of them.
    std::int64_t intermediate_bytes() const noexcept;
    /// Those, staged input, rows that become planes and workspaces: scratch without tables.
    std::int64_t working_bytes() const noexcept;
};

/// Kernel::name(): the canonical text of what is computed, and the ISA.
std::string kernel_name(const Problem& problem, const Plan& plan);

struct KernelImpl {
    Problem problem;
    std::shared_ptr<const KernelCode> code;
    std::string name;

    static std::shared_ptr<const KernelImpl> create(const Problem& problem,
                                                    std::shared_ptr<const KernelCode> code);
    std::int64_t tiles() const noexcept;
    /// Of the tensors between segments, all images.
    std::size_t shared_bytes() const noexcept;
};

}  // namespace tandem
