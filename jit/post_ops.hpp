// Post-ops: the chain after a stage, applied to accumulators in registers.
//
// A leading bias costs nothing here: the bodies start their accumulators from it. Per-channel parameters
// lie in the group's panel (core/plan/panel.hpp), residual rows come through the tile's tables.
#pragma once

#include <functional>
#include <span>

#include "core/plan/panel.hpp"
#include "jit/elements.hpp"
#include "jit/simd.hpp"

namespace tandem::jit {

/// Address of one of the panel's numbers.
using QuantAddress = std::function<Address(QuantNumber)>;

/// Where the operands of one accumulator's chain are.
struct PostOpOperands {
    std::function<Address(int param)> param;  // vector of per-channel parameter number `param`
    std::function<Address()> residual;        // the residual's vector for this pixel
    bool has_residual = false;     // false where the residual has no such channels: they count as zero
    Simd::Lanes residual_lanes{};  // lanes of the residual that may be read
    Element residual_element = Element::f32;
    QuantAddress quant;  // quantised residuals: the panel's numbers
};

class PostOps {
public:
    /// `quantizes`: a clamp that ends the chain is left to quantisation (jit/quantize.hpp).
    explicit PostOps(const Conv& conv, bool quantizes = false);

    bool starts_with_bias() const noexcept {
        return conv_.post_op_count > 0 && conv_.post_ops[0].kind == PostOpKind::bias;
    }
    bool has_sum() const noexcept { return conv_.has(PostOpKind::sum); }
    /// Vector registers that apply() needs besides the accumulator.
    int temps() const noexcept;
    /// Everything after a leading bias, on one accumulator.
    void apply(const Simd& simd, const Vec& acc, std::span<const int> temps,
               const PostOpOperands& operands) const;
    /// The whole chain, the leading bias included.
    void apply_all(const Simd& simd, const Vec& acc, std::span<const int> temps,
                   const PostOpOperands& operands) const;
    /// "+relu6", or "" where nothing is left to apply.
    std::string text() const;

private:
    void apply_from(int first, const Simd& simd, const Vec& acc, std::span<const int> temps,
                    const PostOpOperands& operands) const;
    Conv conv_;
};

}  // namespace tandem::jit
