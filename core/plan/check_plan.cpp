// Whether a plan is possible: every decision is checked against the problem, segment by segment.
#include <algorithm>

#include <fmt/format.h>

#include "core/plan/arithmetic.hpp"
#include "core/plan/k_blocks.hpp"
#include "core/plan/output_planes.hpp"
#include "core/plan/panel.hpp"
#include "core/plan/pixel_pairs.hpp"
#include "core/plan/register_budget.hpp"
#include "core/plan/segments.hpp"
#include "core/plan/tiling.hpp"
#include "core/plan/winograd.hpp"

namespace tandem {
namespace {

// The largest block_channels of stage i: K blocks are for Tandem's own GEMMs over more than a step of
// channels. With dot int8 the kernel rows of a panel begin with the zero point's share, and its weights are
// a quarter of f32 ones anyway.
std::int64_t most_block_channels(const Problem& problem, const Plan& plan, int i) {
    const StagePlan& stage = plan.stage(i);
    return plan.backend == Backend::tandem && stage.algorithm == Algorithm::direct &&
                   !has_zero_point_sums(stage.dot)
               ? max_block_channels(problem.stage(i), stage.dot)
               : 0;
}

bool block_channels_apply(const Problem& problem, const Plan& plan, int i) {
    const int channels = plan.stage(i).block_channels;
    return channels >= 0 && channels <= most_block_channels(problem, plan, i) &&
           channels % block_channels_step(plan.stage(i).dot) == 0;
}

std::string accepted_block_channels(const Problem& problem, const Plan& plan, int i) {
    const std::int64_t most = most_block_channels(problem, plan, i);
    return most > 0 ? fmt::format("0 (the whole sum at once) and multiples of {} up to {} are",
                                  block_channels_step(plan.stage(i).dot), most)
                    : "0 (the whole sum at once) is";
}

/// Checks one segment. Sentences name the fields of the chain's plan.
class SegmentCheck {
public:
    SegmentCheck(const Segment& segment, bool closes)
        : first_(segment.first), problem_(segment.problem), plan_(segment.plan) {
        if (!closes) tiling_ = fmt::format("plan.stored[{}]", first_ + problem_.stage_count - 1);
    }

    Status run() {
        tile();
        for (int i = 0; i < problem_.stage_count && status_.ok(); ++i) {
            blocks(i);
            arithmetic(i);
            weights_ahead(i);
            backend(i);
        }
        if (status_.ok()) splits();
        if (status_.ok()) scratch();
        return status_;
    }

private:
    /// Keeps the first refusal.
    template <class... Values>
    void refuse(fmt::format_string<const Values&...> format, const Values&... values) {
        if (status_.ok()) status_ = Error{ErrorCode::invalid_argument, fmt::format(format, values...)};
    }
    std::string stage_name(int i) const { return fmt::format("plan.stages[{}]", first_ + i); }

    void tile() {
        const Stage& last = problem_.last();
        if (plan_.tile_h < 1 || plan_.tile_h > last.out_h)
            refuse("{}.tile_h is {}; 1 to {} output rows are accepted.", tiling_, plan_.tile_h, last.out_h);
        if (plan_.tile_w < 1 || plan_.tile_w > last.out_w)
            refuse("{}.tile_w is {}; 1 to {} output columns are accepted.", tiling_, plan_.tile_w,
                   last.out_w);
        if (needs_full_width(problem_, plan_) && plan_.tile_w != last.out_w)
            refuse(
                "{}.tile_w is {}; {}, all output columns, is accepted with AMX and kernels wider than 1 or "
                "padding.",
                tiling_, plan_.tile_w, last.out_w);
        if (plan_.stage(problem_.stage_count - 1).algorithm == Algorithm::strassen && plan_.tile_h % 2 != 0)
            refuse("{}.tile_h is {}; even numbers are accepted where the last stage pairs rows for Strassen.",
                   tiling_, plan_.tile_h);
        const std::int64_t grid = winograd_tile(last, plan_.stage(problem_.stage_count - 1).algorithm).w;
        if (plan_.tile_w % grid != 0 && plan_.tile_w != last.out_w)
            refuse(
                "{}.tile_w is {}; multiples of {} and {}, all output columns, are accepted where the last "
                "stage is computed by Winograd.",
                tiling_, plan_.tile_w, grid, last.out_w);
    }

    void blocks(int i) {
        const StagePlan& stage = plan_.stage(i);
        const Stage& conv = problem_.stage(i);
        const bool depthwise = conv.depthwise();
        const int rows = depthwise ? max_depthwise_rows(conv) : 1;
        if (stage.block_rows < 1 || stage.block_rows > rows)
            return refuse("{}.block_rows is {}; 1 to {} are accepted.", stage_name(i), stage.block_rows,
                          rows);
        const int vectors = uses_amx(stage.dot) ? 2 : 6;
        if (!depthwise && (stage.block_vectors < 1 || stage.block_vectors > vectors))
            return refuse("{}.block_vectors is {}; 1 to {} are accepted.", stage_name(i), stage.block_vectors,
                          vectors);
        const int together = depthwise_vectors(problem_, plan_, i);
        if (depthwise && stage.block_vectors != 1 && stage.block_vectors != together)
            return refuse("{}.block_vectors is {}; {} accepted.", stage_name(i), stage.block_vectors,
                          together == 1 ? "1 is" : fmt::format("1 and {} are", together));
        broadcast(i);
        pixel_pairs(i);
        if (!status_.ok()) return;
        const int pixels = depthwise ? max_depthwise_pixels(conv, plan_.isa, stage.dot, stage.block_rows,
                                                            stage.block_vectors)
                                     : max_dense_pixels(problem_, plan_, i);
        if (stage.block_pixels < 1 || stage.block_pixels > pixels)
            return refuse("{}.block_pixels is {}; 1 to {} are accepted{}.", stage_name(i), stage.block_pixels,
                          pixels, stage.broadcast == Broadcast::registers ? " with broadcast registers" : "");
        if (!block_channels_apply(problem_, plan_, i))
            refuse("{}.block_channels is {}; {} accepted.", stage_name(i), stage.block_channels,
                   accepted_block_channels(problem_, plan_, i));
    }

    void broadcast(int i) {
        const StagePlan& stage = plan_.stage(i);
        const bool registers = stage.broadcast == Broadcast::registers;
        if (stage.broadcast > Broadcast::registers)
            refuse("{}.broadcast is {}; embedded or registers is accepted.", stage_name(i),
                   static_cast<int>(stage.broadcast));
        if (registers && (problem_.stage(i).depthwise() || plan_.backend != Backend::tandem ||
                          !can_embed_broadcast(plan_.isa, stage.dot)))
            refuse(
                "{}.broadcast is registers; embedded is accepted but for dense stages on AVX-512 by dot f32 "
                "or "
                "bf16 with backend tandem, as others leave no choice.",
                stage_name(i));
    }

    void pixel_pairs(int i) {
        const StagePlan& stage = plan_.stage(i);
        if (!stage.pixel_pairs) return;
        if (!pixel_pairs_apply(problem_, plan_, i))
            return refuse(
                "{}.pixel_pairs is true; false is accepted but for a 1x1 stage of stride 1 by dot f32, bf16, "
                "f16 or int8 on "
                "vectors of 16 channels, without K blocks, whose output channels are 1 to 8 more than a "
                "multiple of 16, behind a depthwise stage in the same segment of 2 or more "
                "pixels at a time, of 16 or more channels.",
                stage_name(i));
        if (can_embed_broadcast(plan_.isa, stage.dot) && stage.broadcast != Broadcast::registers)
            refuse("{}.broadcast is embedded; registers is accepted with pixel pairs.", stage_name(i));
        if (stage.block_pixels % 2 != 0)
            refuse("{}.block_pixels is {}; even numbers are accepted with pixel pairs.", stage_name(i),
                   stage.block_pixels);
    }

    void arithmetic(int i) {
        const StagePlan& stage = plan_.stage(i);
        if (!algorithm_applies(problem_, plan_.isa, i, stage.algorithm))
            return refuse(
                "{}.algorithm is {}; direct is accepted (Winograd takes dense kernels of 1, 3, 5 and 7 rows "
                "and columns, dilation 1 and stride 1, winograd4 also 3x3 of stride 2 with whole vectors of "
                "input channels, where its error is within 1e-5, math fast, and channel blocks as wide as "
                "the "
                "vectors; its input may not be nchw. Strassen takes a 1x1 of stride 1 and even rows at the "
                "end of an f32 chain, 128 channels or more on both sides in multiples of 32, math fast or "
                "bf16; its output may not be nchw, and +sum has to have all channels).",
                stage_name(i), to_string(stage.algorithm));
        if (stage.algorithm != Algorithm::direct && stage.dot != Dot::f32)
            return refuse("{}.dot is {}; f32 is accepted where the stage's algorithm is {}.", stage_name(i),
                          to_string(stage.dot), to_string(stage.algorithm));
        if (dot_applies(problem_, plan_.isa, i, stage.dot)) return;
        std::string accepted;
        for (const Dot other : dots(problem_, plan_.isa, i))
            accepted += std::string(accepted.empty() ? "" : ", ") + to_string(other);
        refuse("{}.dot is {}; {} is accepted for {} on {}.", stage_name(i), to_string(stage.dot), accepted,
               to_string(problem_.dtype), to_string(plan_.isa));
    }

    void weights_ahead(int i) {
        const StagePlan& stage = plan_.stage(i);
        if (stage.weights_ahead < 0)
            refuse("{}.weights_ahead is {}; 0 (no prefetch) and more bytes are accepted.", stage_name(i),
                   stage.weights_ahead);
        if (stage.algorithm == Algorithm::direct && stage.weights_ahead != point_ahead)
            refuse("{}.weights_ahead is {}; {} is accepted where the stage's algorithm is direct.",
                   stage_name(i), stage.weights_ahead, point_ahead);
    }

    void backend(int i) {
        if (plan_.backend != Backend::libxsmm) return;
        const StagePlan& stage = plan_.stage(i);
        if (problem_.dtype != DataType::f32)
            refuse("plan.backend is libxsmm; tandem is accepted for {}.", to_string(problem_.dtype));
        if (problem_.input.factors)
            refuse("plan.backend is libxsmm; tandem is accepted for an input with factors.");
        if (problem_.writes_planes())
            refuse("plan.backend is libxsmm; tandem is accepted for an output in nchw.");
        if (stage.algorithm != Algorithm::direct)
            refuse("{}.algorithm is {}; direct is accepted with plan.backend libxsmm.", stage_name(i),
                   to_string(stage.algorithm));
        if (stage.dot != Dot::f32)
            refuse("{}.dot is {}; f32 is accepted with plan.backend libxsmm.", stage_name(i),
                   to_string(stage.dot));
        int depthwise = 0;  // one function computes all of them
        for (int other = 0; other < problem_.stage_count; ++other)
            depthwise += problem_.stage(other).depthwise();
        if (depthwise > 1 && depthwise < problem_.stage_count)
            refuse(
                "plan.backend is libxsmm; tandem is accepted where several depthwise stages lie among dense "
                "ones.");
    }

    void splits() {
        const int last = problem_.stage_count - 1;
        if (plan_.channel_splits > 1 && plan_.stage(last).algorithm == Algorithm::strassen)
            refuse("{}.channel_splits is {}; 1 is accepted where the last stage's algorithm is {}.", tiling_,
                   plan_.channel_splits, to_string(plan_.stage(last).algorithm));
        std::int64_t groups = 0;
        for (const GroupRun& run : panel_layout(problem_, plan_, last).runs)
            groups += run.count;
        if (plan_.channel_splits < 1 || plan_.channel_splits > groups)
            refuse("{}.channel_splits is {}; 1 to {} output-channel groups are accepted.", tiling_,
                   plan_.channel_splits, groups);
    }

    // Steps within a tile's rows in scratch are immediate operands.
    void scratch() {
        constexpr std::int64_t limit = std::int64_t{1} << 31;
        std::int64_t most = 0;
        const auto cover = [&](const RowBuffer& buffer) {
            most = std::max({most, buffer.strides.row, buffer.strides.block_stride});
        };
        cover(staging_buffer(problem_, plan_));
        cover(output_buffer(problem_, plan_));
        for (int i = 0; i + 1 < problem_.stage_count; ++i)
            cover(mid_buffer(problem_, plan_, i));
        if (most >= limit)
            refuse(
                "{0}.tile_h is {1}, {0}.tile_w {2}; smaller tiles are accepted, whose rows in scratch take "
                "less than 2^31 bytes.",
                tiling_, plan_.tile_h, plan_.tile_w);
    }

    int first_;
    const Problem& problem_;
    const Plan& plan_;
    std::string tiling_ = "plan";
    Status status_;
};

}  // namespace

Status check_plan(const Problem& problem, const Plan& plan) {
    for (int i = 0; i + 1 < problem.stage_count; ++i)
        if (plan.edge(i) > Edge::stored)
            return Error{ErrorCode::invalid_argument,
                         fmt::format("plan.edges[{}] is {}; recompute, sliding or stored is accepted.", i,
                                     static_cast<int>(plan.edge(i)))};
    const std::vector<Segment> segments = segments_of(problem, plan);
    for (const Segment& segment : segments)
        if (Status status = SegmentCheck(segment, &segment == &segments.back()).run(); !status) return status;
    return {};
}

}  // namespace tandem
