#include "jit/row_post_ops.hpp"

#include <fmt/format.h>

namespace tandem::jit {
namespace {

class RowFinishEmitter {
public:
    RowFinishEmitter(const StageContext& context, const GroupRun& run, RowSums sums)
        : context_(context), simd_(context.simd), code_(context.simd.code), post_ops_(context.stage->conv),
          run_(run), sums_(sums) {}

    void emit() {
        if (simd_.avx512()) {
            simd_.set_mask(output_lanes(), scratch_);
            simd_.set_mask({run_.residual_tail_lanes, residual_mask}, scratch_);
        } else {
            simd_.set_mask(output_lanes(), scratch_);
        }
        Label next_pixel;
        code_.align(16);
        code_.L(next_pixel);
        for (int v = 0; v < run_.vectors; ++v)
            emit_vector(v);
        emit_pad_block(context_, run_, output(run_.vectors - 1, simd_.bytes()), acc_index);
        emit_add(code_, output_, context_.out.pixel);
        if (post_ops_.has_sum()) emit_add(code_, residual_, context_.residual.pixel);
        code_.dec(pixels_);
        code_.jnz(next_pixel, CodeBlock::T_NEAR);
        code_.vzeroupper();
        code_.ret();
    }

private:
    void emit_vector(int v) {
        const int tail = v == run_.vectors - 1 ? run_.tail_lanes : 0;
        const Vec x =
            tail > 0 && context_.tail_vector(tail).half ? Vec(Xbyak::Ymm(acc_index)) : simd_.vec(acc_index);
        if (sums_ == RowSums::none) {
            simd_.zero(x);
        } else {
            const bool masked = tail > 0 && context_.tail_store == TailStore::masked;
            simd_.load(x, output(v), masked ? output_lanes() : Simd::Lanes{});
        }
        PostOpOperands operands;
        operands.param = [&](int param) {
            const std::int64_t at = context_.panel.params_offset() +
                                    (std::int64_t{param} * run_.vectors + v) * context_.panel.vector_bytes;
            return code_.ptr[group_ + static_cast<std::size_t>(at)];
        };
        operands.residual = [&] {
            return code_.ptr[residual_ + static_cast<std::size_t>(
                                             context_.residual.channel(std::int64_t{v} * simd_.lanes))];
        };
        operands.has_residual = v < run_.residual_vectors;
        if (v == run_.residual_vectors - 1)
            operands.residual_lanes = {run_.residual_tail_lanes, residual_mask};
        post_ops_.apply_all(simd_, x, temps, operands);
        emit_store(context_, output(v), x, tail, output_lanes().mask, {});
    }

    Simd::Lanes output_lanes() const {
        return {context_.tail_vector(run_.tail_lanes).lanes, simd_.avx512() ? output_mask : mask_index};
    }

    Address output(int vector, int behind = 0) const {
        return code_.ptr[output_ + static_cast<std::size_t>(
                                       context_.out.channel(std::int64_t{vector} * simd_.lanes) + behind)];
    }

    static constexpr int acc_index = 0, mask_index = 15;
    static constexpr int temps[] = {1, 2, 3, 4};

    const StageContext& context_;
    const Simd& simd_;
    CodeBlock& code_;
    PostOps post_ops_;
    const GroupRun& run_;
    RowSums sums_;
    // The arguments, where the calling convention leaves them.
    const Gpr output_{Xbyak::Operand::RDI}, residual_{Xbyak::Operand::RSI}, group_{Xbyak::Operand::RDX},
        pixels_{Xbyak::Operand::RCX}, scratch_{Xbyak::Operand::RAX};
};

}  // namespace

bool needs_row_finish(const StageContext& context, const GroupRun& run) noexcept {
    const bool padding = context.tail_store == TailStore::zeroed && (run.tail_lanes > 0 || run.pads_block);
    return context.stage->conv.post_op_count > 0 || padding;
}

std::size_t emit_row_finish(const StageContext& context, const GroupRun& run, RowSums sums) {
    const std::size_t offset = context.simd.code.begin_function(
        fmt::format("{}: post-ops of a row, {} vectors{}{}", context.name(), run.vectors,
                    run.tail_lanes ? fmt::format(" (tail of {} channels)", run.tail_lanes) : "",
                    sums == RowSums::none ? ", no taps" : ""));
    RowFinishEmitter(context, run, sums).emit();
    return offset;
}

}  // namespace tandem::jit
