// Kernel: the generated code for one descriptor and plan, ready to be called from any thread.
//
//   auto kernel  = context.dispatch(pair);                  // Result<Kernel>
//   auto weights = kernel->pack(w1, b1, w2, b2);            // once; Result<PackedWeights>
//   (*kernel)({.input = x, .output = y, .weights = &*weights});
//
// A Kernel is a cheap handle: it shares ownership of its code and outlives the Context and the cache entry
// it came from. All member functions are const and safe to call from many threads at once.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tandem/code_symbol.hpp"
#include "tandem/descriptor.hpp"
#include "tandem/export.h"
#include "tandem/layout.hpp"

namespace tandem {

struct Plan;        // core/plan/plan.hpp: every tiling and blocking decision
struct KernelImpl;  // core/run/kernel_code.hpp

/// Weights of one stage as frameworks store them. A bf16 or f16 kernel rounds `weights` to its data type;
/// post-op parameters stay f32.
///
/// A quantised kernel takes `quantized_weights` instead of `weights`, and what all the integers stand for.
/// Its stage computes, in this order: the exact integer sum of (input - zero point) * weight; f32 of it
/// times the input's scale * weight_scales[channel]; the post-ops in f32 on real numbers; nearest(x /
/// output.scale + output.zero_point), clamped to the type (docs/math-modes.md). Its input's quantisation
/// is the output's of the stage before; the first stage's is told to pack().
struct StageWeights {
    std::span<const float> weights;  // dense: OIHW; depthwise: [C*multiplier][1][H][W]
    std::span<const float> bias;     // output channels; empty if the stage has no +bias
    std::span<const float> prelu;    // output channels; empty if the stage has no +prelu
    std::span<const float> scale;    // output channels; empty if the stage has no +scale

    std::span<const std::int8_t> quantized_weights{};  // in the order of `weights`
    std::span<const float>
        weight_scales{};      // output channels: real weight = weight_scales[channel] * quantised weight
    Quantization output{};    // the next stage's input; not used where the output is f32
    Quantization residual{};  // of +sum's tensor, whose data type is that of the stage's output; not used
                              // where it is f32, nor of +sum(in), where it is the chain's input's
};

/// Weights in the order one particular kernel reads them. Immutable, may be shared by threads, must outlive
/// the calls.
class TANDEM_API PackedWeights {
public:
    std::size_t bytes() const noexcept;
    /// All of them, in the order of first use: for the Args::next of the call before.
    std::span<const std::byte> memory() const noexcept;

private:
    friend struct KernelImpl;
    friend class Kernel;
    std::shared_ptr<const struct PackedData> data_;
};

/// One call's tensors. Shapes, layouts and strides are those of the descriptor; a tensor that is a part of a
/// larger one is given by its first element. Alignment: that of the element type is enough. A size of 0 means
/// "not stated" and is not checked; a stated one that is too small is an error. Nothing may overlap the
/// output, but for the last stage's residual, which may be the output where both lie alike.
struct Args {
    const void* input = nullptr;
    void* output = nullptr;
    const PackedWeights* weights = nullptr;
    std::array<const void*, max_stages> residual{};  // for +sum, by stage; null for +sum(in) and without
    std::size_t input_bytes = 0, output_bytes = 0;
    std::array<std::size_t, max_stages> residual_bytes{};
    const float* input_factors = nullptr;  // [n][c], whatever the layout; where the descriptor has them
    std::size_t input_factors_bytes = 0;
    /// What this thread's core reads next, mostly the next kernel's PackedWeights::memory(): fetched to L2
    /// while this call computes, its first bytes, as many as half of L2 holds. Read by prefetches only, so
    /// any memory will do, even freed; no result depends on it. Every part fetches all of it for its own
    /// core; a caller who knows what a core will read may give each part a span of its own. Only stages that
    /// sum over channels fetch. Empty: nothing, at no cost.
    std::span<const std::byte> next{};
};

class TANDEM_API Kernel {
public:
    Kernel() = default;  // empty; calls on it return an error
    explicit Kernel(std::shared_ptr<const KernelImpl> impl) : impl_(std::move(impl)) {}
    explicit operator bool() const noexcept { return impl_ != nullptr; }

    /// Packs both stages' plain weights of a pair (not quantised); spans are read during the call only.
    /// Errors name the span and the size it should have.
    Result<PackedWeights> pack(std::span<const float> w1, std::span<const float> b1,
                               std::span<const float> w2, std::span<const float> b2) const noexcept;
    /// Packs one StageWeights a stage. `input`: what a quantised chain's input stands for.
    Result<PackedWeights> pack(std::span<const StageWeights> stages,
                               const Quantization& input = {}) const noexcept;

    /// Computes the whole output on the calling thread, in scratch of its own (one per thread, kept until the
    /// thread ends; a call from a destructor that runs later allocates).
    Status operator()(const Args& args) const noexcept;

    /// Computes part `part` of `nparts` (any nparts >= 1; parts past the number of tiles are empty). Parts
    /// never wait for each other and may run in any order on any threads. `scratch`: scratch_bytes() bytes,
    /// 64-byte aligned, one per concurrently running part, contents undefined before and after.
    Status run(int part, int nparts, const Args& args, std::span<std::byte> scratch) const noexcept;
    std::size_t scratch_bytes() const noexcept;

    /// Where a plan stores an intermediate whole, parts of run() compute what they read of it rather than
    /// wait: rows at their border, where channels are split all of it. Callers who can join their threads
    /// avoid that: for each step, all parts of run_step(), then a join. `shared`: shared_bytes() bytes,
    /// 64-byte aligned, the same for all parts and steps of a call.
    /// Most kernels have one step.
    int steps() const noexcept;
    std::size_t shared_bytes() const noexcept;
    Status run_step(int step, int part, int nparts, const Args& args, std::span<std::byte> scratch,
                    std::span<std::byte> shared) const noexcept;

    /// Independent output tiles, the most parts that can be busy at once.
    std::int64_t tiles() const noexcept;

    /// Canonical name: the chain's text, layout, data types, math, views, ISA; a text that parse() reads.
    const std::string& name() const noexcept;
    const Plan& plan() const noexcept;
    std::span<const std::byte> code() const noexcept;
    std::span<const CodeSymbol> symbols() const noexcept;
    /// Why this kernel is the way it is, in sentences; names every fallback taken. May throw std::bad_alloc.
    std::string explain() const;
    /// All stages tile by tile, so that no intermediate is ever there as a whole. False: one convolution,
    /// or a stage is complete before the next begins, as if two kernels ran (the planner thought that
    /// faster, or the image is one tile).
    bool fused() const noexcept;
    TensorShape input_shape() const noexcept;
    TensorShape output_shape() const noexcept;
    TensorShape residual_shape(int stage) const noexcept;  // all zero where none is passed
    TensorView input_view() const noexcept;                // with every stride filled in
    TensorView output_view() const noexcept;
    TensorView residual_view(int stage) const noexcept;
    DataType input_dtype() const noexcept;
    DataType output_dtype() const noexcept;
    DataType residual_dtype(int stage) const noexcept;  // that of the stage's output

    const KernelImpl* impl() const noexcept { return impl_.get(); }

private:
    std::shared_ptr<const KernelImpl> impl_;
};

}  // namespace tandem
