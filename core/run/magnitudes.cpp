#include "core/run/magnitudes.hpp"

#include <algorithm>
#include <cmath>
#include <span>

#include "core/plan/post_op_traits.hpp"
#include "tandem/reference.hpp"

namespace tandem {
namespace {

/// The convolution without its last post-ops from the first that bounds its result on: those make outputs
/// small whose sums are not.
Conv without_bounds(Conv conv) {
    const auto bounded =
        std::ranges::find_if(conv.chain(), [](const PostOp& op) { return traits(op).bounded; });
    conv.post_op_count = static_cast<int>(bounded - conv.chain().begin());
    return conv;
}

ConvChain without_bounds(ConvChain chain) {
    for (int i = 0; i < chain.conv_count; ++i)
        chain.conv(i) = without_bounds(chain.conv(i));
    return chain;
}

/// What the post-ops of all stages that `sums` leaves out may make of a small difference.
double steepest_slope_of_bounds(const ConvChain& chain, const ConvChain& sums, const VerificationData& data) {
    double slope = 1;
    for (int i = 0; i < chain.conv_count; ++i) {
        const auto kept = static_cast<std::size_t>(sums.conv(i).post_op_count);
        slope *=
            steepest_slope(chain.conv(i).chain().subspan(kept), data.stages[static_cast<std::size_t>(i)]);
    }
    return slope;
}

/// The chain up to stage i, whose output has the data type of an intermediate.
ConvChain up_to(ConvChain chain, int i) {
    chain.conv_count = i + 1;
    chain.output_view.reset();
    return chain;
}

}  // namespace

double max_abs(const std::vector<double>& values) {
    double largest = 0;
    for (const double value : values)
        if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
    return largest;
}

Result<std::vector<double>> reference_of(ConvChain chain, const VerificationData& data) {
    std::vector<StageWeights> used = data.views(chain.conv_count);
    ReferenceArgs args = data.reference_args(used);
    for (std::size_t i = 0; i < used.size(); ++i) {
        const Conv& conv = chain.convs[i];
        if (!conv.has(PostOpKind::bias)) used[i].bias = {};
        if (!conv.has(PostOpKind::prelu)) used[i].prelu = {};
        if (!conv.has(PostOpKind::scale)) used[i].scale = {};
        if (conv.has(PostOpKind::sum)) continue;
        args.residual[i] = {};
        chain.residual_views[i].reset();
    }
    for (std::size_t i = used.size(); i < max_stages; ++i)
        chain.residual_views[i].reset();
    return reference(chain, args);
}

Result<Magnitudes> magnitudes_of(const ConvChain& chain, const Problem& problem, const VerificationData& data,
                                 const std::vector<double>& expected) {
    Magnitudes magnitudes{.output = max_abs(expected)};
    if (const ConvChain sums = without_bounds(chain); !(sums == chain)) {
        // Rounding is relative to the sums, so the bound is too (docs/math-modes.md).
        const auto unbounded = reference_of(sums, data);
        if (!unbounded) return unbounded.error();
        magnitudes.output =
            std::max(magnitudes.output, max_abs(*unbounded) * steepest_slope_of_bounds(chain, sums, data));
    }
    if (!rounds_intermediates(problem, data) || problem.quantized()) return magnitudes;
    for (int i = 0; i + 1 < problem.stage_count; ++i) {
        const auto intermediate = reference_of(up_to(chain, i), data);
        if (!intermediate) return intermediate.error();
        magnitudes.intermediates[static_cast<std::size_t>(i)] = max_abs(*intermediate);
    }
    return magnitudes;
}

}  // namespace tandem
