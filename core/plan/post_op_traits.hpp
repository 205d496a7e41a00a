// What is known of each post-op, one row a kind: everything outside the few places that compute it asks here
// (docs/recipes.md, "Add a post-op").
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

#include "tandem/descriptor.hpp"

namespace tandem {

/// Bounds between which a post-op leaves its results.
struct Clamp {
    float low, high;
};

/// What the text form has in parentheses, and PostOp fields mean.
enum class PostOpParameters : std::uint8_t {
    none,
    slope,     // alpha
    bounds,    // alpha and beta
    channels,  // PostOp::channels, which may be left out
};

/// Numbers that a post-op reads beside its operand: of a vector with one an output channel, or the residual.
enum class PostOpTensor : std::uint8_t { none, addends, slopes, factors, residual };

enum class PostOpClass : std::uint8_t {
    homogeneous,     // op(a x) = a op(x) for positive a, if bounds and addends are scaled too; integers stay
                     // integers where the parameters are
    piecewise,       // products and clamps: every rounding is defined
    transcendental,  // approximated
};

struct PostOpTraits {
    PostOpKind kind;
    const char* name;
    PostOpClass function;
    PostOpParameters parameters;
    PostOpTensor tensor;
    bool bounded;                // makes small results of large sums
    std::optional<Clamp> clamp;  // fixed bounds that are all it does; see clamp_of()
    float steepest;              // slope, where neither parameters nor a tensor set it
    int instructions;            // on one vector, all ports alike; counted from the emitted code, rounded
    int temps;                   // vector registers that it needs besides the operands, constants included
};

namespace post_op_rows {
using enum PostOpKind;
using enum PostOpClass;
using Has = PostOpParameters;
using Reads = PostOpTensor;
inline constexpr Clamp from_0{0, std::numeric_limits<float>::infinity()}, to_6{0, 6};
// clang-format off
inline constexpr auto rows = std::to_array<PostOpTraits>({
    // kind, name             function        parameters     tensor           bounded clamp  steepest instr. temps
    {bias, "bias",            homogeneous,    Has::none,     Reads::addends,  false, {},     1,      1,  0},
    {relu, "relu",            homogeneous,    Has::none,     Reads::none,     false, from_0, 1,      1,  1},
    {relu6, "relu6",          homogeneous,    Has::none,     Reads::none,     true,  to_6,   1,      2,  2},
    {leaky, "leaky",          homogeneous,    Has::slope,    Reads::none,     false, {},     1,      3,  1},
    {clip, "clip",            homogeneous,    Has::bounds,   Reads::none,     true,  {},     1,      2,  2},
    {sigmoid, "sigmoid",      transcendental, Has::none,     Reads::none,     true,  {},     0.25f,  18, 2},
    {PostOpKind::tanh, "tanh",transcendental, Has::none,     Reads::none,     true,  {},     1,      20, 2},
    {swish, "swish",          transcendental, Has::none,     Reads::none,     false, {},     1.13f,  18, 3},
    {hsigmoid, "hsigmoid",    piecewise,      Has::none,     Reads::none,     true,  {},     0.167f, 4,  2},
    {hswish, "hswish",        piecewise,      Has::none,     Reads::none,     false, {},     1.5f,   4,  2},
    {elu, "elu",              transcendental, Has::slope,    Reads::none,     false, {},     1,      18, 3},
    {gelu_erf, "gelu_erf",    transcendental, Has::none,     Reads::none,     false, {},     1.13f,  26, 3},
    {gelu_tanh, "gelu_tanh",  transcendental, Has::none,     Reads::none,     false, {},     1.13f,  20, 3},
    {prelu, "prelu",          homogeneous,    Has::none,     Reads::slopes,   false, {},     1,      3,  3},
    {scale, "scale",          homogeneous,    Has::none,     Reads::factors,  false, {},     1,      1,  0},
    {sum, "sum",              homogeneous,    Has::channels, Reads::residual, false, {},     1,      1,  2},
    {mish, "mish",            transcendental, Has::none,     Reads::none,     false, {},     1.09f,  21, 3},
});
// clang-format on
consteval bool in_order() {
    for (std::size_t i = 0; i < rows.size(); ++i)
        if (static_cast<std::size_t>(rows[i].kind) != i) return false;
    return true;
}
static_assert(in_order(), "rows stand in the order of PostOpKind");
}  // namespace post_op_rows

inline constexpr int post_op_kinds = static_cast<int>(post_op_rows::rows.size());

/// `kind` must be one of the enumerators.
constexpr const PostOpTraits& traits(PostOpKind kind) noexcept {
    return post_op_rows::rows[static_cast<std::size_t>(kind)];
}
constexpr const PostOpTraits& traits(const PostOp& op) noexcept { return traits(op.kind); }

/// Reads a vector with one number an output channel, which lies in the panel.
constexpr bool is_per_channel(PostOpKind kind) noexcept {
    const PostOpTensor tensor = traits(kind).tensor;
    return tensor == PostOpTensor::addends || tensor == PostOpTensor::slopes ||
           tensor == PostOpTensor::factors;
}
/// Has a tensor of its own, one a stage: so it may appear once.
constexpr bool reads_tensor(PostOpKind kind) noexcept { return traits(kind).tensor != PostOpTensor::none; }
/// Needs nothing but its operand and constants.
constexpr bool is_activation(PostOpKind kind) noexcept { return !reads_tensor(kind); }
constexpr bool transcendental(const PostOp& op) noexcept {
    return traits(op).function == PostOpClass::transcendental;
}

/// Bounds, of post-ops that do nothing else.
constexpr std::optional<Clamp> clamp_of(const PostOp& op) noexcept {
    if (traits(op).parameters == PostOpParameters::bounds) return Clamp{op.alpha, op.beta};
    return traits(op).clamp;
}

/// Results are integers where the operands are; tensors of +bias, +prelu, +scale and +sum included.
inline bool exact_on_integers(const PostOp& op) noexcept {
    const auto is_integer = [](float x) {
        return x == std::floor(x);
    };
    return traits(op).function == PostOpClass::homogeneous && is_integer(op.alpha) && is_integer(op.beta);
}

/// The steepest slope of the post-op; `largest`: the largest magnitude in its tensor.
inline double steepest_slope(const PostOp& op, double largest) noexcept {
    if (traits(op).tensor == PostOpTensor::slopes) return std::max(1.0, largest);
    if (traits(op).tensor == PostOpTensor::factors) return largest;
    if (traits(op).parameters == PostOpParameters::slope)
        return std::max(1.0, std::abs(static_cast<double>(op.alpha)));
    return static_cast<double>(traits(op).steepest);
}

/// A bound on the magnitude of results where that of operands is at most `bound`; `largest`: the same of the
/// numbers in its tensor.
inline double bound_after(const PostOp& op, double bound, double largest) noexcept {
    if (const std::optional<Clamp> clamp = clamp_of(op)) {
        const auto clamped = [&](double x) {
            return std::abs(std::clamp<double>(x, clamp->low, clamp->high));
        };
        return std::max(clamped(bound), clamped(-bound));
    }
    const PostOpTensor tensor = traits(op).tensor;
    if (tensor == PostOpTensor::addends || tensor == PostOpTensor::residual) return bound + largest;
    if (traits(op).function == PostOpClass::homogeneous) return bound * steepest_slope(op, largest);
    constexpr double offset = 1;  // sigmoid and hsigmoid of 0 are not 0
    return bound * std::max(1.0, steepest_slope(op, largest)) + offset;
}

}  // namespace tandem
