// KernelCode: what the cache keeps for a shape: problem of one image, plan, generated functions. Shared by
// every Kernel handle of the shape, whatever its batch size. KernelImpl: a handle's own part.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/run/code_announcement.hpp"
#include "core/run/packing.hpp"
#include "core/run/tile_runner.hpp"
#include "jit/pair_kernel.hpp"
#include "tandem/kernel.hpp"

namespace tandem {

struct KernelCode {
    Problem problem;  // batch 1
    Plan plan;
    jit::PairCode pair;
    std::unique_ptr<const TileRunner> runner;
    int threads = 1;  // parts that the plan is meant to run in at once
    double emission_seconds = 0;
    std::string plan_reason;  // who chose the plan, and every fallback taken
    std::string name;         // at batch 1

    // Derived, so that a call computes nothing of it.
    TileGrid grid{};  // of one image
    RowBuffer mid{}, staging{};
    std::array<bool, max_stages>
        fills_source{};  // AMX stages that read padding, of columns or of channel blocks, in scratch
    std::int64_t workspace_bytes = 0;  // of the stages, which take turns
    TensorStrides input{}, output{};
    std::array<TensorStrides, max_stages> residual{};
    std::array<std::int64_t, max_stages> table_rows{};  // most rows a tile's table of stage outputs has
    std::int64_t source_rows = 0;                       // most rows of the source table
    std::size_t signature = 0;

    std::optional<Machine> foreign{};  // emitted for this machine, which is not the host
    CodeAnnouncement announcement{};   // the last member: observers are told before anything ends

    struct Options {
        int threads = 1;
        std::shared_ptr<CodeObserver> observer{};
        std::optional<Machine> foreign{};
    };
    /// Emits a problem under a checked plan, for any ISA: running the code is what needs the host to have it.
    static Result<std::shared_ptr<const KernelCode>> create(const Problem& problem, const Plan& plan,
                                                            std::string plan_reason, const Options& options);
    /// Two stages, tile by tile: the intermediate is never there as a whole.
    bool fused() const noexcept;
    std::size_t scratch_bytes() const noexcept;
    /// Scratch holds, in this order: the intermediate, the staged input, the workspace, the row tables, the
    /// runner's own.
    std::size_t staging_offset() const noexcept {
        return static_cast<std::size_t>((mid.bytes + 63) / 64 * 64);
    }
    std::size_t workspace_offset() const noexcept {
        return staging_offset() + static_cast<std::size_t>((staging.bytes + 63) / 64 * 64);
    }
    std::size_t tables_offset() const noexcept {
        return workspace_offset() + static_cast<std::size_t>((workspace_bytes + 63) / 64 * 64);
    }
    std::size_t runner_offset() const noexcept;
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
};

}  // namespace tandem
