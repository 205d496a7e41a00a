#include "jit/row_post_ops.hpp"

#include <fmt/format.h>

#include "jit/epilogue.hpp"

namespace tandem::jit {
namespace {

class RowFinishEmitter {
public:
    RowFinishEmitter(const StageContext& context, const GroupRun& run, RowSums sums)
        : context_(context), simd_(context.simd), code_(context.simd.code),
          epilogue_(context, context.panel, group_), run_(run), sums_(sums) {}

    void emit() {
        if (simd_.avx512())
            epilogue_.emit_opmasks(run_, scratch_);
        else
            simd_.load_mask(output_lanes());
        Label next_pixel;
        code_.align(16);
        code_.L(next_pixel);
        for (int v = 0; v < run_.vectors; ++v)
            emit_vector(v);
        emit_add(code_, output_, context_.out.pixel);
        if (epilogue_.has_sum()) emit_add(code_, residual_, context_.residual.pixel);
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
            simd_.load(x, code_.ptr[at(output_, context_.out, v)], masked ? output_lanes() : Simd::Lanes{});
        }
        using Place = EpilogueBlock::Place;
        epilogue_.emit({.group = run_,
                        .vectors = {v, v + 1},
                        .rows = 1,
                        .pixels = 1,
                        .acc = [&](const Place&) { return x; },
                        .output = [&](const Place&) { return at(output_, context_.out, v); },
                        .residual = [&](const Place&) { return at(residual_, context_.residual, v); },
                        .temps = {1, 2, 3, 4}});
    }

    Simd::Lanes output_lanes() const {
        return {context_.tail_vector(run_.tail_lanes).lanes, simd_.avx512() ? output_mask : mask_index};
    }

    Xbyak::RegExp at(const Gpr& pixel, const TensorStrides& strides, int vector) const {
        return pixel + static_cast<std::size_t>(strides.channel(std::int64_t{vector} * simd_.lanes));
    }

    static constexpr int acc_index = 0, mask_index = 15;

    const StageContext& context_;
    const Simd& simd_;
    CodeBlock& code_;
    // The arguments, where the calling convention leaves them.
    const Gpr output_{Xbyak::Operand::RDI}, residual_{Xbyak::Operand::RSI}, group_{Xbyak::Operand::RDX},
        pixels_{Xbyak::Operand::RCX}, scratch_{Xbyak::Operand::RAX};
    Epilogue epilogue_;
    const GroupRun& run_;
    RowSums sums_;
};

}  // namespace

bool needs_row_finish(const StageContext& context, const GroupRun& run) noexcept {
    const bool padding = context.tail_store == TailStore::zeroed && (run.tail_lanes > 0 || run.pads_block);
    return context.stage->conv.post_op_count > 0 || padding;
}

void emit_row_finish(const StageContext& context, const GroupRun& run, RowSums sums) {
    context.simd.code.align(64);
    context.simd.code.note(
        fmt::format("{}: post-ops of a row, {} vectors{}{}", context.name(), run.vectors,
                    run.tail_lanes ? fmt::format(" (tail of {} channels)", run.tail_lanes) : "",
                    sums == RowSums::none ? ", no taps" : ""));
    RowFinishEmitter(context, run, sums).emit();
}

}  // namespace tandem::jit
