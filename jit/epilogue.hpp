// Epilogue: from a stage's sums in registers to its output tensor, the same for every body.
//
//   sums that are integers or pairs of f16 to real numbers
//   the chain of post-ops, each on all accumulators before the next
//   rounding, or quantisation (jit/quantize.hpp)
//   stores, packed where four pixels fill a register, and padding of channel blocks
//
// Per-channel parameters lie in the group's panel (core/plan/panel.hpp); residual rows come through the
// tile's tables.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/plan/panel.hpp"
#include "jit/quantize.hpp"
#include "jit/stage_body.hpp"

namespace tandem::jit {

/// Rows of pixels whose sums lie in registers, each pixel a group of output vectors.
struct EpilogueBlock {
    struct Place {
        std::int64_t row, pixel;
        int vector;
    };
    const GroupRun& group;
    Span vectors;  // of the group
    std::int64_t rows, pixels;
    /// The register of a vector's sums, in the width of its channels (StageContext::tail_vector()).
    std::function<Vec(const Place&)> acc;
    /// Where the vector goes, and where that of the residual is.
    std::function<Xbyak::RegExp(const Place&)> output, residual;
    std::vector<int> temps;  // free vector registers: epilogue_temps at least
    bool biased = false;     // a leading bias is in the sums

    int tail_lanes(int vector) const { return vector == group.vectors - 1 ? group.tail_lanes : 0; }
};

class Epilogue {
public:
    /// `group`: points at the current group of a panel of layout `panel`. What is referred to must outlive
    /// the epilogue.
    Epilogue(const StageContext& context, const PanelLayout& panel, const Gpr& group);

    bool starts_with_bias() const noexcept;
    bool has_sum() const noexcept { return conv_.has(PostOpKind::sum); }
    /// "+relu6", or "" where nothing is left behind a leading bias.
    std::string text() const;

    /// Sets the lane masks of blocks of `group` where they are k registers. `scratch`: clobbered.
    void emit_opmasks(const GroupRun& group, const Gpr& scratch) const;
    /// Clobbers accumulators and temps.
    void emit(const EpilogueBlock& block) const;

private:
    using Place = EpilogueBlock::Place;
    Address panel(std::int64_t offset) const { return code_.ptr[group_ + static_cast<std::size_t>(offset)]; }
    Address param(const EpilogueBlock& block, int op, int vector) const;
    QuantAddress quant() const;
    void emit_pair_sums(const EpilogueBlock& block) const;
    void emit_real_numbers(const EpilogueBlock& block) const;
    void emit_post_op(const EpilogueBlock& block, int op) const;
    void emit_activation(const EpilogueBlock& block, const PostOp& op) const;
    void emit_prelu(const EpilogueBlock& block, int op) const;
    void emit_sum(const EpilogueBlock& block) const;
    void emit_addend(const EpilogueBlock& block, const Place& place, const Simd::Lanes& lanes) const;
    void emit_rounding(const EpilogueBlock& block) const;
    void emit_quantization(const EpilogueBlock& block) const;
    void emit_stores(const EpilogueBlock& block) const;
    void emit_quad_stores(const EpilogueBlock& block) const;
    void emit_pair_stores(const EpilogueBlock& block) const;
    void emit_packed_store(const EpilogueBlock& block, const Place& first, std::span<const int> temps) const;
    void emit_padding(const EpilogueBlock& block) const;

    const StageContext& context_;
    const PanelLayout& panel_;
    const Simd& simd_;
    CodeBlock& code_;
    Gpr group_;
    Conv conv_;  // without a clamp that is left to quantisation
};

}  // namespace tandem::jit
