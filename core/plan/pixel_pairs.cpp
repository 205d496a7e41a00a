#include "core/plan/pixel_pairs.hpp"

#include <algorithm>

#include "core/plan/ceil_div.hpp"
#include "core/plan/k_blocks.hpp"
#include "core/plan/panel.hpp"
#include "core/plan/register_budget.hpp"

namespace tandem {

bool pixel_pairs_apply(const Problem& problem, const Plan& plan, int i) noexcept {
    constexpr int wide = 16;
    const int lanes = vector_lanes(plan.isa, problem.layout);
    const Stage& stage = problem.stage(i);
    if (i == 0 || lanes != wide || plan.backend != Backend::tandem || !stage.pointwise()) return false;
    const StagePlan &own = plan.stage(i), &writer = plan.stage(i - 1);
    return problem.stage(i - 1).depthwise() && writer.block_pixels > 1 && writer.block_vectors == 1 &&
           own.algorithm == Algorithm::direct && !uses_amx(own.dot) && own.dot != Dot::int16 &&
           !has_k_blocks(own) && stage.in_channels >= lanes &&
           is_half_full(static_cast<int>(stage.out_channels % lanes), lanes);
}

// Of two or three vectors of channels, as many pairs as the registers take: single ones were never faster,
// and the more vectors, the less the last one's other half is worth.
std::vector<StagePlan> pixel_pair_blocks(const Problem& problem, Plan plan, int i) {
    std::vector<StagePlan> blocks;
    if (!pixel_pairs_apply(problem, plan, i)) return blocks;
    StagePlan& block = plan.stage(i);
    block.pixel_pairs = true;
    if (can_embed_broadcast(plan.isa, block.dot)) block.broadcast = Broadcast::registers;
    const int lanes = vector_lanes(plan.isa, problem.layout);
    const std::int64_t vectors = ceil_div(problem.stage(i).out_channels, std::int64_t{lanes});
    for (const int at_most : {2, 3}) {
        block.block_vectors = static_cast<int>(std::min<std::int64_t>(vectors, at_most));
        block.block_pixels = max_dense_pixels(problem, plan, i);
        if (blocks.empty() || blocks.back() != block) blocks.push_back(block);
    }
    return blocks;
}

}  // namespace tandem
