// KernelCode: what the cache keeps for a shape: problem of one image, plan, generated functions. Shared by
// every Kernel handle of the shape, whatever its batch size. KernelImpl: a handle's own part.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/run/packing.hpp"
#include "core/run/tile_runner.hpp"
#include "jit/pair_kernel.hpp"

namespace tandem {

struct KernelCode {
    Problem problem;  // batch 1
    Plan plan;
    jit::PairCode pair;
    std::unique_ptr<const TileRunner> runner;
    int threads = 1;  // parts that the plan is meant to run in at once
    double emission_seconds = 0;
    std::string plan_reason;  // who chose the plan, and every fallback taken

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
    std::shared_ptr<const PanelSpecs> panels{};         // that packed weights have to match

    /// Emits a problem under a checked plan.
    static Result<std::shared_ptr<const KernelCode>> create(const Problem& problem, const Plan& plan,
                                                            std::string plan_reason, int threads = 1);
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

struct KernelImpl {
    Problem problem;
    std::shared_ptr<const KernelCode> code;
    std::string name;

    static std::shared_ptr<const KernelImpl> create(const Problem& problem,
                                                    std::shared_ptr<const KernelCode> code);
    std::int64_t tiles() const noexcept;
};

}  // namespace tandem
