// Which rows and columns tiles compute and read, by hand.
#include "core/plan/tile_geometry.hpp"

#include "support/doctest.hpp"

#include <array>
#include <vector>

using namespace tandem;

namespace {

Problem problem_of(const char* text, Layout layout = Layout::nhwc) {
    ConvPair pair = *ConvPair::parse(text);
    pair.layout = layout;
    return *make_problem(pair);
}

Plan plan_of(Edge edge, int tile_h, int tile_w, Isa isa = Isa::avx512) {
    Plan plan;
    plan.isa = isa;
    plan.edges[0] = edge;
    plan.tile_h = tile_h;
    plan.tile_w = tile_w;
    return plan;
}

}  // namespace

TEST_CASE("tile geometry: taps inside the image") {
    const Axis same{.in = 7, .out = 7, .kernel = 3, .stride = 1, .dilation = 1, .pad = 1};
    CHECK(same.taps(0) == Span{1, 3});
    CHECK(same.taps(3) == Span{0, 3});
    CHECK(same.taps(6) == Span{0, 2});
    const Axis dilated{.in = 7, .out = 7, .kernel = 3, .stride = 1, .dilation = 2, .pad = 2};
    CHECK(dilated.taps(0) == Span{1, 3});
    CHECK(dilated.taps(1) == Span{1, 3});
    CHECK(dilated.taps(2) == Span{0, 3});
    CHECK(dilated.taps(5) == Span{0, 2});
    const Axis strided{.in = 7, .out = 4, .kernel = 3, .stride = 2, .dilation = 1, .pad = 1};
    CHECK(strided.first_tap(3) == 5);
    CHECK(strided.taps(3) == Span{0, 2});
}

TEST_CASE("tile geometry: windows that miss the image have no taps") {
    // Taps at -5, -1, 3 of an image of 2, then at 1, 5, 9.
    const Axis around{.in = 2, .out = 8, .kernel = 3, .stride = 1, .dilation = 4, .pad = 5};
    CHECK(around.taps(0) == Span{0, 0});
    CHECK(around.taps(1) == Span{1, 2});
    CHECK(around.taps(6) == Span{0, 1});
    CHECK(around.taps(7) == Span{0, 0});
}

TEST_CASE("tile geometry: inputs of a range of outputs, clipped to the image") {
    const Axis same{.in = 7, .out = 7, .kernel = 3, .stride = 1, .dilation = 1, .pad = 1};
    CHECK(same.inputs({0, 2}) == Span{0, 3});
    CHECK(same.inputs({3, 4}) == Span{2, 5});
    CHECK(same.inputs({5, 7}) == Span{4, 7});
    CHECK(same.inputs({3, 3}).size() == 0);
    const Axis strided{.in = 7, .out = 4, .kernel = 3, .stride = 2, .dilation = 1, .pad = 1};
    CHECK(strided.inputs({1, 3}) == Span{1, 6});
    // A stride past the kernel leaves inputs between that nobody reads, but they are in the range.
    const Axis gaps{.in = 9, .out = 3, .kernel = 1, .stride = 4, .dilation = 1, .pad = 0};
    CHECK(gaps.inputs({0, 3}) == Span{0, 9});
}

TEST_CASE("tile geometry: recomputing tiles read their halo, sliding ones only what is new") {
    const Problem problem = problem_of("1x16x8x8:dw3:conv3o16");
    const Plan recompute = plan_of(Edge::recompute, 2, 8);
    const TileShape top = tile_shape(problem, recompute, 0, 0, true);
    REQUIRE(top.stages.size() == 2);
    CHECK(tile_spans(problem, recompute, 0, 0, true).stage(0).held == Span{0, 3});
    CHECK(top.stages[0].rows == Span{0, 3});
    CHECK(top.stages[0].in_rows == Span{0, 4});
    CHECK(top.stages[1].rows == Span{0, 2});
    CHECK(top.stages[1].taps == std::vector<Span>{{1, 3}, {0, 3}});
    const TileShape middle = tile_shape(problem, recompute, 1, 0, true);
    CHECK(tile_spans(problem, recompute, 1, 0, true).stage(0).held == Span{1, 5});
    CHECK(middle.stages[0].rows == Span{1, 5});
    CHECK(middle.stages[0].in_rows == Span{0, 6});
    const Plan sliding = plan_of(Edge::sliding, 2, 8);
    CHECK(tile_shape(problem, sliding, 1, 0, true).stages[0].rows == Span{1, 5});
    const TileShape next = tile_shape(problem, sliding, 1, 0, false);
    CHECK(tile_spans(problem, sliding, 1, 0, false).stage(0).held == Span{1, 5});
    CHECK(next.stages[0].first_row == 2);
    CHECK(next.stages[0].rows == Span{3, 5});
    CHECK(next.stages[0].in_rows == Span{2, 6});
    CHECK(tile_shape(problem, sliding, 3, 0, false).stages[0].rows == Span{7, 8});
}

TEST_CASE("tile geometry: columns of narrow tiles") {
    const Problem problem = problem_of("1x16x8x8:dw3:conv3o16");
    const Plan plan = plan_of(Edge::recompute, 2, 4);
    const TileShape left = tile_shape(problem, plan, 0, 0, true),
                    right = tile_shape(problem, plan, 0, 1, true);
    CHECK(left.stages[1].cols == Span{0, 4});
    CHECK(left.stages[0].cols == Span{0, 5});
    CHECK(left.stages[1].in_column == -1);
    CHECK(left.stages[1].shift == -1);
    CHECK(left.stages[1].segment == SegmentShape{4, {1, 6}});
    CHECK(right.stages[0].cols == Span{3, 8});
    CHECK(right.stages[1].in_column == 3);
    CHECK(right.stages[1].shift == 0);
    CHECK(right.stages[1].segment == SegmentShape{4, {0, 5}});
}

TEST_CASE("tile geometry: full-width tiles before a pointwise stage are one long row") {
    const Problem problem = problem_of("1x16x8x8:dw3:conv1o16");
    CHECK(is_flat(problem, plan_of(Edge::recompute, 3, 8)));
    CHECK_FALSE(is_flat(problem, plan_of(Edge::recompute, 3, 7)));
    CHECK_FALSE(is_flat(problem_of("1x16x8x8:dw3:conv1o16s2"), plan_of(Edge::recompute, 3, 4)));
    const Plan plan = plan_of(Edge::recompute, 3, 8);
    CHECK(tile_shape(problem, plan, 0, 0, true).stages[1].segment == SegmentShape{24, {0, 24}});
    CHECK(tile_shape(problem, plan, 2, 0, true).stages[1].segment == SegmentShape{16, {0, 16}});
    CHECK(tile_shape(problem, plan, 2, 0, true).stages[1].taps.size() == 1);
}

TEST_CASE("tile geometry: tiles of a grid") {
    Plan plan = plan_of(Edge::recompute, 3, 5);
    plan.channel_splits = 2;
    const TileGrid grid = tile_grid(problem_of("2x16x8x8:dw3:conv1o40"), plan);
    CHECK(grid.tiles_y == 3);
    CHECK(grid.tiles_x == 2);
    CHECK(grid.count() == 2 * 3 * 2 * 2);
}

TEST_CASE(
    "tile geometry: a stage alone takes all rows of a channel split before the next, a pair all splits of a "
    "tile") {
    Plan plan = plan_of(Edge::recompute, 3, 8);
    plan.channel_splits = 2;
    const auto order = [&](const char* text) {
        const TileGrid grid = tile_grid(*make_problem(*ConvChain::parse(text)), plan);
        std::vector<std::array<std::int64_t, 3>> tiles;
        for (std::int64_t item = 0; item < grid.count(); ++item) {
            const TileIndex tile = tile_at(grid, item);
            tiles.push_back({tile.n, tile.split, tile.ty});
        }
        return tiles;
    };
    using Tiles = std::vector<std::array<std::int64_t, 3>>;
    CHECK(order("2x16x6x8:conv1o40") ==
          Tiles{{0, 0, 0}, {0, 0, 1}, {0, 1, 0}, {0, 1, 1}, {1, 0, 0}, {1, 0, 1}, {1, 1, 0}, {1, 1, 1}});
    CHECK(order("1x16x6x8:dw3:conv1o40") == Tiles{{0, 0, 0}, {0, 1, 0}, {0, 0, 1}, {0, 1, 1}});
}

TEST_CASE("tile geometry: the intermediate's buffer") {
    // 4 rows of 8 pixels of one block of 16 channels: 512 bytes a row, and an odd number of cache lines.
    const RowBuffer rows = mid_buffer(problem_of("1x16x8x8:dw3:conv3o16"), plan_of(Edge::recompute, 2, 8), 0);
    CHECK(rows.slots == 4);
    CHECK(rows.width == 8);
    CHECK(rows.strides.pixel == 64);
    CHECK(rows.strides.block_stride == 576);
    CHECK(rows.strides.row == 576);
    CHECK(rows.bytes == 2304);
    const RowBuffer flat = mid_buffer(problem_of("1x17x8x8:dw3:conv1o16"), plan_of(Edge::recompute, 2, 8), 0);
    CHECK(flat.slots == 2);
    CHECK(flat.strides.row == 512);
    CHECK(flat.strides.block_stride == 1088);
    CHECK(flat.bytes == 2 * 1088);
    const RowBuffer narrow =
        mid_buffer(problem_of("1x16x8x8:dw3:conv3o16"), plan_of(Edge::recompute, 2, 4, Isa::avx2), 0);
    CHECK(narrow.width == 5);
    CHECK(narrow.strides.pixel == 32);
    CHECK(mid_bytes(*make_problem(*ConvChain::parse("1x16x8x8:dw3")), plan_of(Edge::recompute, 2, 8)) == 0);
}

TEST_CASE("tile geometry: strides of tensors") {
    const TensorStrides nhwc = tensor_strides({2, 20, 3, 5}, Layout::nhwc, DataType::f32);
    CHECK(nhwc.pixel == 80);
    CHECK(nhwc.row == 400);
    CHECK(nhwc.image == 1200);
    CHECK(nhwc.channel(19) == 76);
    const TensorStrides blocked = tensor_strides({2, 20, 3, 5}, Layout::nchw8c, DataType::f32);
    CHECK(blocked.pixel == 32);
    CHECK(blocked.row == 160);
    CHECK(blocked.block_stride == 480);
    CHECK(blocked.image == 3 * 480);
    CHECK(blocked.channel(19) == 2 * 480 + 3 * 4);
    CHECK(vector_lanes(Isa::avx512, Layout::nhwc) == 16);
    CHECK(vector_lanes(Isa::avx512, Layout::nchw8c) == 8);
    CHECK(vector_lanes(Isa::avx2, Layout::nchw16c) == 8);
}

TEST_CASE("tile geometry: balanced splits") {
    CHECK(balanced_split(49, 14) == std::vector<std::int64_t>{13, 12, 12, 12});
    CHECK(balanced_split(14, 14) == std::vector<std::int64_t>{14});
    CHECK(balanced_split(15, 14) == std::vector<std::int64_t>{8, 7});
    CHECK(balanced_split(0, 14).empty());
}
