// Problem: a validated descriptor with every derived size filled in, one Stage a convolution. What planning
// starts from. Also the dispatch key: all members compare and hash by value, and nothing in it is
// allocated.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "tandem/descriptor.hpp"
#include "tandem/layout.hpp"

namespace tandem {

/// One convolution of a problem: the descriptor's fields with "same" padding resolved, and the sizes that
/// follow.
struct Stage {
    Conv conv{};
    Padding padding{};
    std::int64_t in_channels = 0, in_h = 0, in_w = 0;
    std::int64_t out_channels = 0, out_h = 0, out_w = 0;
    std::int64_t winograd_row = 0;  // a row of its output where a Winograd tile begins, whatever the plan

    bool depthwise() const noexcept { return conv.kind == ConvKind::depthwise; }
    bool pointwise() const noexcept;  // dense 1x1, stride 1, no padding
    /// Multiplications and additions of one image, taps in the padding included.
    double flops() const noexcept;
    std::int64_t weight_count() const noexcept;
    /// Channels of the residual tensor of +sum; 0 without one.
    std::int64_t residual_channels() const noexcept;
    /// +sum(in): that tensor is the chain's input.
    bool sums_input() const noexcept;
    bool operator==(const Stage&) const = default;
};

struct Problem {
    InputShape input{};
    DataType dtype = DataType::f32;                    // of the input tensor
    std::array<DataType, max_stages> output_dtypes{};  // of each stage's output, and of its residual
    Layout layout = Layout::nhwc;  // a blocked one where any tensor is, else nhwc: what vectors have to fit
    TensorView input_view{}, output_view{};               // every stride filled in
    std::array<TensorView, max_stages> residual_views{};  // likewise, where a stage has +sum
    Math math = Math::fast;
    int stage_count = 0;
    std::array<Stage, max_stages> stages{};

    Stage& stage(int i) noexcept { return stages[static_cast<std::size_t>(i)]; }
    const Stage& stage(int i) const noexcept { return stages[static_cast<std::size_t>(i)]; }
    const Stage& last() const noexcept { return stage(stage_count - 1); }
    DataType input_dtype(int i) const noexcept { return i == 0 ? dtype : output_dtype(i - 1); }
    DataType output_dtype(int i) const noexcept { return output_dtypes[static_cast<std::size_t>(i)]; }
    bool quantized() const noexcept { return is_quantized(dtype); }
    TensorShape input_shape() const noexcept;
    TensorShape output_shape(int i) const noexcept;  // of stage i
    TensorShape output_shape() const noexcept { return output_shape(stage_count - 1); }
    TensorShape residual_shape(int i) const noexcept;  // of +sum's own tensor; all zero without one
    TensorView& residual_view(int i) noexcept { return residual_views[static_cast<std::size_t>(i)]; }
    const TensorView& residual_view(int i) const noexcept {
        return residual_views[static_cast<std::size_t>(i)];
    }
    /// Stage i reads the input as planes of one channel, NCHW; the last stage's output is to lie so.
    bool reads_planes(int i) const noexcept { return i == 0 && input_view.layout == Layout::nchw; }
    bool writes_planes() const noexcept { return output_view.layout == Layout::nchw; }
    double flops() const noexcept;  // whole batch

    std::string text() const;  // canonical text of input shape and convolutions
    std::string name() const;  // of everything: ConvChain::parse() reads it
    bool operator==(const Problem&) const = default;
};

/// The last stage has a residual of its own that lies as the output does, so that one can be the other.
bool residual_lies_on_output(const Problem& problem) noexcept;

/// Validates (see validate() in descriptor.hpp) and resolves.
Result<Problem> make_problem(const ConvChain& chain);
/// Stages [first, first + count) of a problem as a problem of their own, which reads and writes whole tensors
/// of its layout in the middle of a chain.
Problem stage_range(const Problem& problem, int first, int count);
/// Stage i alone.
Problem stage_alone(const Problem& problem, int i);

/// Channels of padding not counted.
inline double tensor_bytes(const TensorShape& shape, DataType dtype) noexcept {
    return static_cast<double>(element_bytes(dtype) * shape.n * shape.c * shape.h * shape.w);
}

std::size_t hash_value(const Problem& problem) noexcept;

}  // namespace tandem
