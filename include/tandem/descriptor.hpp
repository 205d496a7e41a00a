// What to compute: one to four convolutions in a row, as plain values, and the one text form that names
// them everywhere.
//
//   chain  = <N>x<C>x<H>x<W> then one to four of :<conv>            a pair has two
//            then any of /<layout> /<data types> /<math> /<views> /<ISA>, in this order
//   conv   = dw<k> | conv<k>o<OC>                     then, in this order, any of
//            m<multiplier> s<stride> p<pad> d<dilation>     (m: depthwise only), then up to 4 post-ops
//   postop = +bias +relu +relu6 +leaky(a) +clip(lo,hi) +sigmoid +tanh +swish +hsigmoid +hswish +elu(a)
//            +gelu_erf +gelu_tanh +prelu +scale +sum +sum(<channels>) +sum(in) +mish
//   <N>x<C>x<H>x<W>* : every call gives a factor for each image and channel (InputShape::factors)
//   k, s, d = one number or HxW;  p = one number or TxLxBxR;  omitted: s1, d1, m1, p = "same"
//            ((k-1)*d/2 before, the rest after)
//
//   data types = <of all tensors> | <input's>-<first stage's output>-...      omitted: f32
//   layout, math: by name; omitted: nhwc, fast. Where bf16 or f16 stands alone, it is the data type.
//   ISA: read and ignored, so that kernels' names are texts, too
//   view   = in=<tensor> | out=<tensor> | res<stage, from 0>=<tensor>
//   tensor = a layout, if not the chain's, and any of p<pixel> r<row> b<block> i<image>, separated by
//            commas: strides in elements; omitted: dense
//
// Examples: 1x32x112x112:dw3+bias+relu6:conv1o64+bias+relu6
//           1x32x56x56:conv1o192+relu6:dw3+relu6:conv1o32+sum(in)/nchw16c/u8-u8-u8-s8/strict
//           1x32x56x56:dw3:conv1o64/nhwc/f32/fast/out=p256
//
// Vocabulary: docs/glossary.md. Thread safety: values; concurrent reads are fine.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "tandem/data_type.hpp"
#include "tandem/export.h"
#include "tandem/result.hpp"

namespace tandem {

enum class Layout : std::uint8_t {
    nhwc,     // [N][H][W][C]
    nchw16c,  // [N][ceil(C/16)][H][W][16]; padding channels are ignored on input and zero on output
    nchw8c,   // [N][ceil(C/8)][H][W][8]
    nchw,     // [N][C][H][W]: of views only: the input of a dense first stage of up to 4 channels, and the
              // output
};

/// How an activation tensor lies in memory, which may be as a part of a larger one: some channels of it, or
/// some rows and columns. Strides are in elements; 0: as in a tensor without gaps.
struct TensorView {
    constexpr TensorView(Layout of = Layout::nhwc, std::int64_t pixel_stride = 0, std::int64_t row_stride = 0,
                         std::int64_t block_stride = 0, std::int64_t image_stride = 0) noexcept
        : layout(of), pixel(pixel_stride), row(row_stride), block(block_stride), image(image_stride) {}

    Layout layout;
    std::int64_t pixel;  // from a pixel to the next of its row; nchw: 1
    std::int64_t row;
    std::int64_t block;  // from a block of channels to the next (nchw: from a channel); nhwc has none: 0
    std::int64_t image;
    bool operator==(const TensorView&) const = default;
};

/// Which arithmetic may be chosen (docs/math-modes.md).
enum class Math : std::uint8_t {
    fast,    // any algorithm within 1e-5 of max|y|
    strict,  // sums of products in a fixed order, exact on small integers, no less accurate than f32 FMAs
    bf16,    // f32 tensors only: fast, and dense stages may round their operands to bf16
    f16,     // f16 tensors only: fast, and dense stages may keep their sums in f16
};

enum class ConvKind : std::uint8_t { depthwise, dense };

enum class PostOpKind : std::uint8_t {
    bias,     // + bias[channel]
    relu,     // max(x, 0)
    relu6,    // min(max(x, 0), 6)
    leaky,    // x < 0 ? alpha * x : x
    clip,     // min(max(x, alpha), beta)
    sigmoid,  // 1 / (1 + exp(-x))
    tanh,
    swish,      // x * sigmoid(x)
    hsigmoid,   // min(max(x + 3, 0), 6) / 6
    hswish,     // x * hsigmoid(x)
    elu,        // x < 0 ? alpha * (exp(x) - 1) : x
    gelu_erf,   // x/2 * (1 + erf(x / sqrt 2))
    gelu_tanh,  // x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))
    prelu,      // x < 0 ? slope[channel] * x : x
    scale,      // x * scale[channel]
    sum,        // + residual tensor of the stage's output height and width and `channels` channels
    mish,       // x * tanh(log(1 + exp(x)))
};

struct PostOp {
    PostOpKind kind = PostOpKind::bias;
    float alpha = 0;  // leaky, elu: slope; clip: lower bound
    float beta = 0;   // clip: upper bound
    std::int64_t channels =
        0;  // sum: channels of the residual; 0 = the stage's output channels. Missing ones count as zero
    bool of_input = false;  // sum: the residual is the chain's own input, which is not passed twice

    bool operator==(const PostOp&) const = default;
};

struct Size2 {
    std::int64_t h = 1, w = 1;
    bool operator==(const Size2&) const = default;
};

struct Padding {
    std::int64_t top = 0, left = 0, bottom = 0, right = 0;
    bool operator==(const Padding&) const = default;
};

inline constexpr int max_post_ops = 4;
inline constexpr int max_stages = 4;  // convolutions in a row

struct TANDEM_API Conv {
    ConvKind kind = ConvKind::dense;
    Size2 kernel{};
    Size2 stride{};
    Size2 dilation{};
    std::optional<Padding> padding{};  // nullopt: "same"
    std::int64_t out_channels = 0;     // dense only
    std::int64_t multiplier =
        1;  // depthwise only: output channels per input channel; output channel o reads o / multiplier
    std::array<PostOp, max_post_ops> post_ops{};
    int post_op_count = 0;

    static Conv depthwise(std::int64_t k, std::int64_t stride = 1);
    static Conv dense(std::int64_t k, std::int64_t out_channels, std::int64_t stride = 1);
    /// A copy with one more post-op at the end of the chain. A fifth one makes the descriptor invalid.
    Conv with(PostOpKind kind, float alpha = 0, float beta = 0) const;
    Conv with(const PostOp& op) const;

    bool has(PostOpKind kind) const noexcept;
    /// The post-ops in use, in order.
    std::span<const PostOp> chain() const noexcept;
    /// The explicit padding, with "same" resolved.
    Padding resolved_padding() const noexcept;
    bool operator==(const Conv&) const = default;
};

/// Batch, channels, height, width of the input tensor, in elements.
struct InputShape {
    std::int64_t n = 1, c = 0, h = 0, w = 0;
    /// Every call gives a factor for each image and channel (Args::input_factors), as squeeze-and-excite has
    /// them: the first convolution reads input * factor, rounded to the input's data type. Not for u8 and s8,
    /// where the product has a quantisation of its own.
    bool factors = false;
    bool operator==(const InputShape&) const = default;
};

/// One to four convolutions, each of which reads what the one before wrote. By hand:
///
///   ConvChain::of({1, 32, 56, 56}).then(Conv::depthwise(3)).then(Conv::dense(1, 64))
struct TANDEM_API ConvChain {
    InputShape input{};
    std::array<Conv, max_stages> convs{};
    int conv_count = 0;
    DataType dtype = DataType::f32;  // of the input; of the stages' outputs too, unless stated otherwise
    Layout layout = Layout::nhwc;
    Math math = Math::fast;
    /// Of each stage's output. Quantised input only: u8 or s8, the last stage also f32. What the numbers
    /// stand for is told to pack().
    std::array<std::optional<DataType>, max_stages> output_dtypes{};
    /// Tensors that do not lie as `layout` has it; a chain has one width of channel blocks.
    std::optional<TensorView> input_view{}, output_view{};
    std::array<std::optional<TensorView>, max_stages> residual_views{};  // of +sum, one a stage

    static ConvChain of(const InputShape& input, std::initializer_list<Conv> convs = {});
    /// A copy with one more convolution at the end. A fifth one makes the descriptor invalid.
    ConvChain then(const Conv& conv) const;

    Conv& conv(int i) noexcept { return convs[static_cast<std::size_t>(i)]; }
    const Conv& conv(int i) const noexcept { return convs[static_cast<std::size_t>(i)]; }
    /// The convolutions in use, in order.
    std::span<const Conv> stages() const noexcept;

    static Result<ConvChain> parse(std::string_view text) noexcept;
    bool operator==(const ConvChain&) const = default;
};

/// A chain of two.
struct TANDEM_API ConvPair : ConvChain {
    ConvPair() { conv_count = 2; }
    ConvPair(const InputShape& input, const Conv& first, const Conv& second)
        : ConvChain(of(input, {first, second})) {}
    /// The first two of a chain.
    explicit ConvPair(const ConvChain& chain) : ConvChain(chain) { conv_count = 2; }

    Conv& first() noexcept { return convs[0]; }
    Conv& second() noexcept { return convs[1]; }
    const Conv& first() const noexcept { return convs[0]; }
    const Conv& second() const noexcept { return convs[1]; }

    static Result<ConvPair> parse(std::string_view text) noexcept;
};

/// Canonical text: parse(to_string(x)) == x up to what is written though it is the default, e.g. "same"
/// padding. Layout, data types, math and views are left out where all are the defaults. Those that return a
/// std::string may throw std::bad_alloc.
TANDEM_API std::string to_string(const ConvChain& chain);
TANDEM_API std::string to_string(const Conv& conv);
TANDEM_API const char* to_string(Layout layout) noexcept;
TANDEM_API const char* to_string(Math math) noexcept;
TANDEM_API const char* to_string(PostOpKind kind) noexcept;

/// Ok, or which field is wrong, its value and what is accepted. Every size computation is overflow-checked.
TANDEM_API Status validate(const ConvChain& chain) noexcept;

/// Convolution i of a valid chain on its own: it reads what the one before wrote, and what is the chain's
/// input for +sum(in) is a residual like others.
TANDEM_API ConvChain stage_of(const ConvChain& chain, int i);

}  // namespace tandem
