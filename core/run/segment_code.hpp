// SegmentCode: one segment of a kernel (core/plan/segments.hpp) with its tile functions, and everything that
// follows from its problem and plan and that a call would otherwise compute.
#pragma once

#include <array>
#include <memory>

#include "core/plan/segments.hpp"
#include "core/run/tile_runner.hpp"
#include "jit/chain_kernel.hpp"

namespace tandem {

struct SegmentCode : Segment {
    jit::SegmentFunctions code;
    std::unique_ptr<const TileRunner> runner;

    TileGrid grid{};      // of one image
    bool slides = false;  // Plan::slides()
    std::array<RowBuffer, max_stages - 1> mids{};
    RowBuffer staging{};
    RowBuffer written{};  // rows of the last stage that become planes (core/plan/output_planes.hpp)
    std::array<bool, max_stages>
        fills_source{};  // AMX stages that read padding, of columns or of channel blocks, in scratch
    TensorStrides input{}, output{};
    std::array<TensorStrides, max_stages> residual{};
    std::array<std::int64_t, max_stages> held_rows{};  // most rows of each stage's output that a tile holds
    std::int64_t source_rows = 0;                      // most input rows of a tile

    /// Where what a part works on lies in its scratch, in this order; multiples of 64 bytes.
    struct Offsets {
        std::array<std::size_t, max_stages - 1> mids{};
        std::size_t staging = 0, written = 0, workspace = 0, tables = 0, runner = 0, end = 0;
    } offsets{};

    static Result<SegmentCode> create(Segment segment, jit::SegmentFunctions code);
};

}  // namespace tandem
