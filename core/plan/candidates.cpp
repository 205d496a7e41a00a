#include "core/plan/candidates.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <span>
#include <unordered_map>

#include "core/plan/ceil_div.hpp"
#include "core/plan/panel.hpp"
#include "core/plan/pixel_pairs.hpp"
#include "core/plan/register_budget.hpp"
#include "core/plan/segments.hpp"
#include "core/plan/tiling.hpp"
#include "core/plan/winograd.hpp"

namespace tandem {
namespace {

constexpr std::int64_t narrowest_tile =
    14;  // columns; narrower tiles recompute and re-read more than they save
constexpr std::int64_t least_blocked_products =
    256;                                   // of an output; below, a group's weights fit L1 beside the pixels
constexpr std::int64_t fewest_pixels = 7;  // of a tile: below, every GEMM block is latency-bound

std::int64_t vectors_of(const Stage& stage, int lanes) { return (stage.out_channels + lanes - 1) / lanes; }

// Plans in the order of their invention, each once, valid ones only.
class PlanSet {
public:
    explicit PlanSet(const Problem& problem) : problem_(problem) {}

    void add(const Plan& plan) {
        std::vector<std::size_t>& same_hash = seen_[hash_value(plan)];
        for (const std::size_t i : same_hash)
            if (plans_[i] == plan) return;
        if (!check_plan(problem_, plan)) return;
        same_hash.push_back(plans_.size());
        plans_.push_back(plan);
    }
    std::size_t size() const { return plans_.size(); }
    std::vector<Plan> take() { return std::move(plans_); }

private:
    const Problem& problem_;
    std::vector<Plan> plans_;
    std::unordered_map<std::size_t, std::vector<std::size_t>> seen_;
};

// Tile heights that differ in what they fit or recompute, and the whole band of a part.
std::vector<int> tile_heights(std::int64_t out_h, int threads) {
    std::vector<int> heights;
    for (const std::int64_t h : {1, 2, 3, 4, 7, 8, 14, 16, 28, 56})
        if (h < out_h) heights.push_back(static_cast<int>(h));
    for (const std::int64_t h : {(out_h + threads - 1) / threads, out_h})
        if (std::find(heights.begin(), heights.end(), h) == heights.end())
            heights.push_back(static_cast<int>(h));
    std::sort(heights.begin(), heights.end());
    return heights;
}

struct Shape {
    int vectors, pixels;
    Broadcast broadcast = Broadcast::embedded;
};

// Most pixels that each vector count leaves registers for, and fewer, which pay where sums are short, and
// where they leave registers for loads ahead. Broadcast registers save no load with one vector, and always
// from three on: embedded ones are then for blocks that leave no register.
constexpr std::array main_avx512{Shape{1, 28},
                                 Shape{1, 21},
                                 Shape{2, 14},
                                 Shape{2, 14, Broadcast::registers},
                                 Shape{2, 10},
                                 Shape{2, 10, Broadcast::registers},
                                 Shape{3, 9, Broadcast::registers},
                                 Shape{4, 6, Broadcast::registers}};
constexpr std::array further_avx512{Shape{1, 14},
                                    Shape{2, 12},
                                    Shape{2, 12, Broadcast::registers},
                                    Shape{2, 7},
                                    Shape{2, 7, Broadcast::registers},
                                    Shape{3, 6, Broadcast::registers},
                                    Shape{4, 7},
                                    Shape{5, 5, Broadcast::registers},
                                    Shape{6, 4, Broadcast::registers}};
constexpr std::array main_avx2{Shape{1, 12}, Shape{2, 6}, Shape{3, 4}};

// Those of the vectors that the stage's channels fill; all of them, or the main ones.
std::vector<Shape> block_shapes(const Stage& stage, Isa isa, int lanes, bool all) {
    std::vector<Shape> shapes;
    const auto take = [&](std::span<const Shape> some) {
        std::ranges::copy_if(some, std::back_inserter(shapes),
                             [&](const Shape& shape) { return shape.vectors <= vectors_of(stage, lanes); });
    };
    take(is_avx512(isa) ? std::span<const Shape>(main_avx512) : std::span<const Shape>(main_avx2));
    if (all && is_avx512(isa)) take(further_avx512);
    return shapes;
}

// A stage's block with this shape, or the nearest that its channels and registers allow.
void set_shape(const Problem& problem, Plan& plan, int i, const Shape& shape) {
    const Stage& stage = problem.stage(i);
    if (stage.depthwise()) return;
    StagePlan& block = plan.stage(i);
    const std::int64_t vectors = vectors_of(stage, vector_lanes(plan.isa, problem.layout));
    block.block_vectors = static_cast<int>(std::min<std::int64_t>(shape.vectors, vectors));
    const bool exact = block.block_vectors == shape.vectors;
    block.block_pixels = 1;  // whatever the default, it has room
    block.broadcast =
        exact && can_embed_broadcast(plan.isa, block.dot) ? shape.broadcast : default_broadcast(plan, block);
    const int most = max_dense_pixels(plan.isa, block, block.block_vectors);
    block.block_pixels = exact ? std::min(shape.pixels, most) : most;
}

// Inputs along an axis that so many outputs reach over.
std::int64_t reach(const Axis& axis, std::int64_t outputs) {
    return (outputs - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1;
}

bool tile_too_small(const Problem& problem, const Plan& plan) {
    const Stage& last = problem.last();
    return std::int64_t{plan.tile_h} * plan.tile_w < std::min(fewest_pixels, last.out_h * last.out_w);
}

class Candidates {
public:
    Candidates(const Problem& problem, const Machine& machine, int threads)
        : problem_(problem), machine_(machine), threads_(std::max(threads, 1)),
          base_(rules_plan(problem, machine, threads_)),
          heights_(tile_heights(problem.last().out_h, threads_)), plans_(problem) {}

    std::vector<Plan> all() {
        plans_.add(base_);
        for (const int height : heights_)
            if (const Plan plan = at_height(base_, height); !tile_too_small(problem_, plan))
                cross_shapes(plan);
        const std::size_t main = plans_.size();
        for (const int height : heights_) {
            const Plan plan = at_height(base_, height);
            if (tile_too_small(problem_, plan)) continue;
            vary_depthwise(plan);
            vary_width(plan);
            vary_splits(plan);
            vary_k_blocks(plan);
            vary_weights_ahead(plan);
            vary_pixel_pairs(plan);
        }
        vary_arithmetic();
        vary_cuts();
        return thinned(plans_.take(), std::min(main, max_candidates));
    }

private:
    Plan at_height(Plan plan, int height) const {
        plan.tile_h = height;
        plan.channel_splits = 1;
        plan.tile_w = static_cast<int>(problem_.last().out_w);
        return plan;
    }

    // Algorithms and dot instructions that the stages, the math mode and the ISA allow, at the rules' tile:
    // every combination of two stages, of more of them one stage at a time.
    void vary_arithmetic() {
        const int count = problem_.stage_count;
        for (int i = 0; i < count; ++i) {
            for (const StagePlan& way : stage_ways(problem_, base_, i)) {
                Plan plan = base_;
                plan.stage(i) = way;
                plans_.add(without_odd_quads(plan));
                if (count != 2 || i != 0) continue;
                for (const StagePlan& second : stage_ways(problem_, base_, 1)) {
                    plan.stage(1) = second;
                    plans_.add(without_odd_quads(plan));
                }
            }
        }
    }

    // Single vectors where what the next stage reads rules quads out.
    Plan without_odd_quads(Plan plan) const {
        for (int i = 0; i < problem_.stage_count; ++i) {
            StagePlan& block = plan.stage(i);
            if (!problem_.stage(i).depthwise() || block.block_vectors == depthwise_vectors(problem_, plan, i))
                continue;
            block.block_vectors = 1;
            block.block_pixels =
                max_depthwise_pixels(problem_.stage(i), plan.isa, block.dot, block.block_rows);
        }
        return plan;
    }

    // Ring or recomputation, prefetch or not.
    void add_variants(Plan plan) {
        double recomputed = 0;  // rows of halo a row of tile, of the edge that has most
        for (int i = 1; i < problem_.stage_count; ++i)
            recomputed = std::max(recomputed,
                                  static_cast<double>(row_axis(problem_.stage(i)).kernel - 1) / plan.tile_h);
        const bool whole = plan.tile_h >= problem_.last().out_h;
        const bool can_prefetch =
            problem_.stage_count == 2 && problem_.stage(0).depthwise() && is_flat(problem_, plan) && !whole;
        plan.edges.fill(Edge::recompute);
        plan.prefetch_next = false;
        // One band after the other in one part: a ring saves the halo; with several bands in flight tall
        // tiles recompute little.
        if (recomputed < 1) plans_.add(plan);
        if (can_prefetch) {
            plan.prefetch_next = true;
            plans_.add(plan);
        }
        if (recomputed > 0 && !whole) {
            plan.prefetch_next = false;
            set_rings(problem_, plan);
            plans_.add(plan);
        }
    }

    // The chain cut at every edge or set of edges, each segment as the rules have it.
    void vary_cuts() {
        if (problem_.stage_count < (threads_ > 1 ? 2 : 3)) return;  // one thread gains nothing from a join
        for (Plan plan : cut_plans(problem_, machine_, threads_)) {
            plans_.add(plan);
            for (int i = 0; i < problem_.stage_count && threads_ > 1; ++i) {
                if (i + 1 < problem_.stage_count && plan.edge(i) != Edge::stored) continue;
                plan =
                    spread_channels(problem_, plan, i, static_cast<int>(problem_.stage(i).out_h), threads_);
            }
            plans_.add(plan);
        }
    }

    // All shapes at the rules' height and where rows are short; at others the main ones.
    void cross_shapes(Plan plan) {
        constexpr std::int64_t short_row = 112;  // pixels: few blocks, whose remainders count
        const int lanes = vector_lanes(plan.isa, problem_.layout);
        int widest = problem_.stage_count - 1;
        while (widest > 0 && problem_.stage(widest).depthwise())
            --widest;
        if (problem_.stage(widest).depthwise()) return add_variants(plan);
        const std::int64_t row = std::int64_t{plan.tile_w} * (is_flat(problem_, plan) ? plan.tile_h : 1);
        const bool all = plan.tile_h == base_.tile_h || row <= short_row;
        std::vector<Shape> taken;
        for (const Shape& shape : block_shapes(problem_.stage(widest), plan.isa, lanes, all)) {
            if (only_dense(widest) && cuts_like_any(shape, taken, row)) continue;
            taken.push_back(shape);
            for (int i = 0; i < problem_.stage_count; ++i)
                set_shape(problem_, plan, i, shape);
            add_variants(plan);
        }
    }

    // No other stage than the last is dense, and that one is computed directly: a row of it is cut into
    // blocks.
    bool only_dense(int stage) const {
        bool only = stage + 1 == problem_.stage_count && base_.stage(stage).algorithm == Algorithm::direct;
        for (int i = 0; i < stage; ++i)
            only &= problem_.stage(i).depthwise();
        return only;
    }

    // Blocks are balanced, so that another shape with as many of them in a row is the same code.
    static bool cuts_like_any(const Shape& shape, std::span<const Shape> others, std::int64_t row) {
        return std::ranges::any_of(others, [&](const Shape& other) {
            return other.vectors == shape.vectors && other.broadcast == shape.broadcast &&
                   ceil_div(row, other.pixels) == ceil_div(row, shape.pixels);
        });
    }

    // Rows at once, no more than a tile has of the stage, and which loop is inside.
    void vary_depthwise(const Plan& plan) {
        for (int i = 0; i < problem_.stage_count; ++i) {
            const Stage& stage = problem_.stage(i);
            if (!stage.depthwise()) continue;
            const std::int64_t most = std::min<std::int64_t>(max_depthwise_rows(stage), tile_rows(plan, i));
            for (int rows = 1; rows <= most; ++rows)
                for (const int vectors : {1, quad_vectors})
                    for (const bool inner : {false, true})
                        vary_depthwise_block(plan, i, rows, vectors, inner);
        }
    }

    void vary_depthwise_block(Plan plan, int i, int rows, int vectors, bool inner) {
        if (inner && (i > 0 || problem_.input_view.layout != Layout::nhwc)) return;
        if (vectors > depthwise_vectors(problem_, plan, i)) return;
        StagePlan& block = plan.stage(i);
        block.block_rows = rows;
        block.block_vectors = vectors;
        block.block_pixels = max_depthwise_pixels(problem_.stage(i), plan.isa, block.dot, rows, vectors);
        block.channels_inner = inner;
        add_variants(plan);
    }

    // Rows of stage i that a tile needs.
    std::int64_t tile_rows(const Plan& plan, int i) const {
        std::int64_t rows = plan.tile_h;
        for (int next = problem_.stage_count - 1; next > i; --next)
            rows = reach(row_axis(problem_.stage(next)), rows);
        return std::min(rows, problem_.stage(i).out_h);
    }

    // Strassen's stages computed directly, for what it leaves no choice in.
    static Plan with_direct_sums(Plan plan) {
        for (StagePlan& stage : plan.stages) {
            if (stage.algorithm != Algorithm::strassen) continue;
            stage.algorithm = Algorithm::direct;
            stage.weights_ahead = point_ahead;
        }
        return plan;
    }

    // Channels of a K block, or none, where a group's weights leave L1.
    void vary_k_blocks(const Plan& plan) {
        for (int i = 0; i < problem_.stage_count; ++i) {
            const Stage& stage = problem_.stage(i);
            if (stage.depthwise() || has_zero_point_sums(plan.stage(i).dot) ||
                stage.in_channels * stage.conv.kernel.h * stage.conv.kernel.w < least_blocked_products)
                continue;
            for (const int channels : {0, 64, 128, 256}) {
                Plan other = with_direct_sums(plan);
                other.stage(i).block_channels = channels;
                add_variants(other);
            }
        }
    }

    // How far Winograd's weights are fetched ahead, up to a point's; whether Strassen's are.
    void vary_weights_ahead(const Plan& plan) {
        for (int i = 0; i < problem_.stage_count; ++i) {
            const Algorithm algorithm = plan.stage(i).algorithm;
            if (algorithm == Algorithm::direct) continue;
            const std::int64_t point =
                is_winograd(algorithm) ? winograd_layout(problem_, plan, i).gemm.bytes : 1;
            for (const int bytes : {0, 8 << 10, 16 << 10, 64 << 10, 128 << 10}) {
                if (bytes >= point) continue;
                Plan other = plan;
                other.stage(i).weights_ahead = bytes;
                add_variants(other);
            }
        }
    }

    void vary_pixel_pairs(const Plan& plan) {
        for (int i = 0; i < problem_.stage_count; ++i)
            for (const StagePlan& pairs : pixel_pair_blocks(problem_, plan, i)) {
                Plan other = plan;
                other.stage(i) = pairs;
                add_variants(other);
            }
    }

    // In whole Winograd tiles.
    int half_width(const Plan& plan) const {
        const std::int64_t m = largest_winograd_tile(problem_, plan).w;
        return static_cast<int>(ceil_div((plan.tile_w + 1) / 2, m) * m);
    }

    // Narrower tiles only where a full-width one leaves the level above: L1 for the sake of the GEMM, L2 in
    // any case.
    void vary_width(Plan plan) {
        if (plan.tile_h > 4 || (problem_.stage_count == 1 && !problem_.writes_planes())) return;
        for (const std::size_t level : {machine_.caches.l1, machine_.caches.l2}) {
            plan.tile_w = static_cast<int>(problem_.last().out_w);
            if (working_bytes(problem_, plan) <= static_cast<std::int64_t>(level)) continue;
            for (plan.tile_w = half_width(plan); plan.tile_w >= narrowest_tile;
                 plan.tile_w = half_width(plan))
                add_variants(plan);
        }
    }

    // Splitting channels pays where there are too few tiles for the threads; on tiny images it also
    // shortens a panel's stay in L2.
    void vary_splits(const Plan& plan) {
        constexpr std::int64_t tiny_image = 14 * 14;
        const bool tiny = problem_.last().out_h * problem_.last().out_w <= tiny_image;
        const bool starved = threads_ > 1 && tile_grid(problem_, plan).count() < 2 * threads_;
        if (!starved && !(tiny && threads_ > 1)) return;
        for (const int splits : {threads_, 2 * threads_}) {
            Plan other = with_direct_sums(plan);
            other.channel_splits = splits;
            add_variants(other);
        }
    }

    // Too many: the first `main` plans and an even selection of the others.
    static std::vector<Plan> thinned(std::vector<Plan> plans, std::size_t main) {
        if (plans.size() <= max_candidates) return plans;
        const std::size_t others = plans.size() - main, room = max_candidates - main;
        for (std::size_t i = 0; i < room; ++i)
            plans[main + i] = plans[main + i * others / room];
        plans.resize(max_candidates);
        return plans;
    }

    const Problem& problem_;
    const Machine& machine_;
    int threads_;
    Plan base_;
    std::vector<int> heights_;
    PlanSet plans_;
};

}  // namespace

namespace {

void drop_pixel_pairs(Isa isa, StagePlan& stage) {
    if (!stage.pixel_pairs) return;
    stage.pixel_pairs = false;
    stage.block_pixels = std::min(stage.block_pixels, max_dense_pixels(isa, stage, stage.block_vectors));
}

}  // namespace

std::vector<StagePlan> stage_ways(const Problem& problem, const Plan& base, int i) {
    const StagePlan& stage = base.stage(i);
    if (i >= problem.stage_count) return {stage};
    std::vector<StagePlan> ways;
    for (const Dot dot : dots(problem, base.isa, i)) {
        if (!is_accurate(problem.stage(i), dot)) continue;
        StagePlan way = stage;
        way.algorithm = Algorithm::direct;
        way.dot = dot;
        way.weights_ahead = point_ahead;
        if (dot != stage.dot) drop_pixel_pairs(base.isa, way);
        if (has_zero_point_sums(dot) || uses_amx(dot)) way.block_channels = 0;
        if (uses_amx(dot)) set_amx_shape(way);
        if (!way.pixel_pairs) way.broadcast = default_broadcast(base, way);
        if (problem.stage(i).depthwise()) {
            if (dot != stage.dot) way.block_vectors = 1;
            way.block_pixels =
                max_depthwise_pixels(problem.stage(i), base.isa, dot, way.block_rows, way.block_vectors);
        }
        ways.push_back(way);
    }
    for (const Algorithm algorithm : {Algorithm::winograd2, Algorithm::winograd4, Algorithm::strassen}) {
        if (!algorithm_applies(problem, base.isa, i, algorithm)) continue;
        StagePlan way = stage;
        way.algorithm = algorithm;
        way.dot = Dot::f32;
        drop_pixel_pairs(base.isa, way);
        way.broadcast = default_broadcast(base, way);
        way.block_channels = 0;
        ways.push_back(way);
    }
    return ways;
}

std::vector<Plan> candidate_plans(const Problem& problem, const Machine& machine, int threads) {
    return Candidates(problem, machine, threads).all();
}

std::vector<Plan> cut_plans(const Problem& problem, const Machine& machine, int threads) {
    std::vector<Plan> plans;
    const int edges = problem.stage_count - 1;
    const Plan whole = rules_plan(problem, machine, threads);
    // A cut changes no bits, and the errors of all stages still add up to less than math fast promises.
    const auto with_arithmetic_of = [](const StagePlan& rules, const StagePlan& part) {
        return part.algorithm == rules.algorithm && part.dot == rules.dot ? part : rules;
    };
    for (int cuts = 1; cuts < 1 << edges; ++cuts) {
        Plan plan = whole;
        int first = 0;
        for (int i = 0; i < problem.stage_count; ++i) {
            const bool last = i == edges;
            if (!last && (cuts >> i & 1) == 0) continue;
            const int count = i + 1 - first;
            const Plan part = rules_plan(stage_range(problem, first, count), machine, threads);
            for (int at = 0; at < count; ++at)
                plan.stage(first + at) = with_arithmetic_of(whole.stage(first + at), part.stage(at));
            for (int at = 0; at + 1 < count; ++at)
                plan.edge(first + at) = part.edge(at);
            if (last) {
                static_cast<Tiling&>(plan) = part;
            } else {
                plan.edge(i) = Edge::stored;
                plan.stored[static_cast<std::size_t>(i)] = part;
            }
            first = i + 1;
        }
        plans.push_back(plan);
    }
    return plans;
}

Plan spread_channels(const Problem& problem, Plan plan, int i, int height, int threads) {
    const bool last = i + 1 == problem.stage_count;
    Tiling& tiling = last ? static_cast<Tiling&>(plan) : plan.stored[static_cast<std::size_t>(i)];
    tiling.tile_h = height;
    tiling.channel_splits = threads;
    return plan;
}

bool is_unfused(const Problem& problem, const Plan& plan, int threads) noexcept {
    const Stage& last = problem.last();
    const std::int64_t band = (last.out_h + threads - 1) / std::max(threads, 1);
    return problem.stage_count > 1 && !has_stored_edge(problem, plan) && plan.tile_h >= band &&
           plan.tile_w >= last.out_w;
}

}  // namespace tandem
