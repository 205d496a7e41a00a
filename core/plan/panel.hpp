// Panels: the byte layout of packed weights, agreed between packing (writes it) and the emitter (reads it).
//
// A stage's panel is a sequence of groups of output-channel vectors (depthwise: one vector a group, or
// quad_vectors). Each group is
//
//   header   one vector: GroupHeader
//   quant    quantised: one vector with the input's zero point in every lane, then the QuantNumbers, 4
//            bytes each
//   params   one vector per output vector for each per-channel post-op (bias, prelu, scale), in post-op
//            order; quantised: one more, the factors that turn sums into real numbers
//   permute  depthwise with a channel multiplier: one vector of lane indices
//   weights  dense: [kh][dot group][kw][vector][lane][channel of the group]      depthwise: [kh][kw][lane]
//            dense under backend libxsmm: [kh][kw][ic][vector][lane], so that each kernel position is a
//            matrix of its own
//            of pixel pairs: every lane twice, in the order of pixel_pair_lane()
//            dots of several parts: [kh][dot group][kw][part][vector][lane][channel of the group]
//            dot int8: each kernel row starts with what to add for the zero point, -zero_point times the
//            sum of its weights, in s32: [all kernel columns][vector][lane], then, where there are several
//            columns, the same for each one
//            depthwise, dot int8: [kh] of the zero point's share, then [offset][four columns][lane][column
//            of the four], the kernel columns behind `offset` zero weights (window_vectors()); behind the
//            last kernel row the zero point's share of all rows; of several vectors each, one after the other
//
// Channel c of a group is lane c % lanes of vector c / lanes, but for depthwise groups of quad_vectors, whose
// every vector has four channels of each sixteen (quad_place()).
//
// With Strassen-Winograd (core/plan/strassen.hpp) groups are those of the lower half of the output channels;
// behind header and params come those of the group that lies half the channels further, then the weights of
// each product: [product][input channel of a half][vector][lane].
//
// Channels past the last are zero everywhere.
#pragma once

#include <cstdint>
#include <vector>

#include "core/plan/ceil_div.hpp"
#include "core/plan/pixel_pairs.hpp"
#include "core/plan/tile_geometry.hpp"

namespace tandem {

/// Byte offsets of a group's first channel from a pixel, and a flag; they fill one 8-lane vector.
struct GroupHeader {
    std::int64_t input = 0;  // depthwise: of the input channels it reads
    std::int64_t output = 0;
    std::int64_t residual = 0;  // 0 where the residual has no such channel
    std::int64_t far = 0;       // not 0: some output, before it is clamped, may be too large for an s32
};

/// A run of equal groups, one after the other in the panel: the same code serves them all.
struct GroupRun {
    std::int64_t first_vector = 0;  // index of the first output vector
    std::int64_t count = 0;         // groups
    int vectors = 1;                // of each group
    int tail_lanes = 0;             // valid lanes of the last vector; 0 = all
    int input_tail_lanes = 0;       // depthwise: valid lanes of the input vector; 0 = all
    int residual_vectors = 0;       // vectors with a residual, the partly covered one included
    int residual_tail_lanes = 0;    // valid lanes of the last of them; 0 = all
    bool pads_block = false;        // the vector behind the last one is padding of the same channel block
    std::int64_t offset = 0;        // of the first group, from the panel's start, in bytes
    bool operator==(const GroupRun&) const = default;
};

/// Numbers of a quantised stage that its code takes from the panel and broadcasts.
enum class QuantNumber : std::uint8_t {
    input_fill,            // four bytes: the zero point as it lies in what the stage reads
    output_inverse_scale,  // f32, as are the others
    output_zero,
    output_lowest,  // bounds of the output, those of a clamp before it included (final_clamp())
    output_highest,
    output_lowest_bytes,  // the same as four bytes
    output_highest_bytes,
    residual_scale,
    residual_zero,
};
inline constexpr std::size_t quant_number_count = 9;

/// Order of a dense group's weights within one kernel row.
enum class WeightOrder : std::uint8_t {
    channel_column,  // [ic][kw]
    column_channel,  // [kw][ic]
    tiles,           // [16 groups of ic][kw][part][vector], each an AMX tile: 16 groups of ic by a vector
};

struct PanelLayout {
    int lanes = 8;
    std::int64_t vector_bytes = 32;
    int param_count = 0;  // per-channel post-ops
    bool quantized = false;
    bool permute = false;
    bool halves = false;  // Strassen: header and params for either half of the output channels
    Dot dot = Dot::f32;
    bool quads = false;        // groups of quad_vectors are in the order of quad_place()
    bool pixel_pairs = false;  // weights lie twice in a vector's lanes (pixel_pairs.hpp)
    WeightOrder order = WeightOrder::channel_column;
    std::int64_t zero_point_taps = 0;  // vectors per output vector that a kernel row starts with: dot int8
    std::int64_t row_taps = 0;         // weight vectors per output vector and kernel row, those included
    std::int64_t taps = 0;             // weight vectors per output vector
    std::vector<GroupRun> runs;
    std::int64_t bytes = 0;
    bool operator==(const PanelLayout&) const = default;

    std::int64_t input_zero_offset() const noexcept { return vector_bytes; }
    std::int64_t quant_offset(QuantNumber number) const noexcept {
        return 2 * vector_bytes + 4 * static_cast<std::int64_t>(number);
    }
    std::int64_t params_offset() const noexcept {
        return quantized ? 2 * vector_bytes +
                               ceil_div(4 * static_cast<std::int64_t>(quant_number_count), vector_bytes) *
                                   vector_bytes
                         : vector_bytes;
    }
    std::int64_t factors_offset(int vectors) const noexcept {
        return params_offset() + param_count * vectors * vector_bytes;
    }
    std::int64_t permute_offset(int vectors) const noexcept {
        return factors_offset(vectors) + (quantized ? vectors * vector_bytes : 0);
    }
    std::int64_t weights_offset(int vectors) const noexcept {
        return halves ? 2 * upper_offset(vectors) : permute_offset(vectors) + (permute ? vector_bytes : 0);
    }
    /// Of the upper half's header, with `halves`.
    std::int64_t upper_offset(int vectors) const noexcept { return factors_offset(vectors); }
    /// Vectors of a group's weights, one dot group: one for each output vector, or pixel_pair_vectors().
    int weight_vectors(const GroupRun& run) const noexcept {
        return pixel_pairs ? pixel_pair_vectors(run.vectors, run.tail_lanes, lanes) : run.vectors;
    }
    std::int64_t group_bytes(const GroupRun& run) const noexcept {
        return weights_offset(run.vectors) + taps * weight_vectors(run) * vector_bytes;
    }
};

/// Vectors of a depthwise group by dot int8 that takes 64 channels of a pixel at a time
/// (jit/depthwise_quads.cpp), and where channel c of such a group lies in them, in lanes.
inline constexpr int quad_vectors = 4;
constexpr std::int64_t quad_place(std::int64_t c) noexcept { return c % 16 / 4 * 16 + c / 16 * 4 + c % 4; }

/// Panel of the per-channel parameters alone, one output vector a group: what a stage that transforms its
/// outputs reads.
PanelLayout post_op_panel(const Problem& problem, const Plan& plan, int i);

/// Output vectors of the groups of dense stage i, but for smaller last ones.
int dense_group_vectors(const Problem& problem, const Plan& plan, int i) noexcept;

/// Most pixels of a block of dense stage i. Groups may be wider than block_vectors says, where blocks of 16
/// channels take two vectors.
int max_dense_pixels(const Problem& problem, const Plan& plan, int i);

/// Panel of stage i of a problem under a plan, computed directly (Winograd: core/plan/winograd.hpp).
PanelLayout panel_layout(const Problem& problem, const Plan& plan, int i);

/// Bytes of stage i's panel, whatever its algorithm.
std::int64_t panel_bytes(const Problem& problem, const Plan& plan, int i);

/// The runs of split `split` of `splits`: whole groups, balanced.
std::vector<GroupRun> split_runs(const PanelLayout& panel, int split, int splits);

/// Weight vectors of a kernel row, depthwise with dot int8, for windows that begin `offset` columns behind
/// four columns' first.
constexpr std::int64_t window_vectors(std::int64_t kernel_columns, std::int64_t offset) noexcept {
    return (kernel_columns + offset + 3) / 4;
}
/// Offsets that windows have: with stride 1 every second one begins at an odd column.
constexpr std::int64_t window_offsets(const Stage& stage) noexcept {
    return stage.conv.stride.w == 1 ? 2 : 1;
}
/// Weight vectors of a kernel row, all offsets together.
constexpr std::int64_t window_row_vectors(const Stage& stage) noexcept {
    std::int64_t vectors = 0;
    for (std::int64_t offset = 0; offset < window_offsets(stage); ++offset)
        vectors += window_vectors(stage.conv.kernel.w, offset);
    return vectors;
}

/// Position of post-op `op` among the stage's per-channel post-ops.
int param_index(const Conv& conv, int op) noexcept;

}  // namespace tandem
