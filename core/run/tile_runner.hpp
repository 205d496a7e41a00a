// TileRunner: computes one tile, by whatever the plan's backend is. The executor fills the arguments and
// knows no backends.
#pragma once

#include <memory>
#include <string>

#include "jit/chain_kernel.hpp"

namespace tandem {

class TileRunner {
public:
    virtual ~TileRunner() = default;
    /// Computes the tile that TileTable::index `function` stands for. `scratch`: scratch_bytes() bytes,
    /// aligned to 8.
    virtual void run(jit::TileArgs& args, std::size_t function, std::byte* scratch) const noexcept = 0;
    virtual std::size_t scratch_bytes() const noexcept { return 0; }
    /// Who computes what, and every decision of the plan that is not followed: a line for
    /// Kernel::explain().
    virtual std::string explain() const = 0;
};

/// Ok, or that this build lacks the plan's backend.
Status check_backend(const Plan& plan);

/// The runner for a segment's emitted code, which must stay alive while it is used.
Result<std::unique_ptr<const TileRunner>> make_tile_runner(const Problem& problem, const Plan& plan,
                                                           const jit::SegmentFunctions& code);

}  // namespace tandem
