#include "core/plan/k_blocks.hpp"

#include <algorithm>

#include "core/plan/ceil_div.hpp"
#include "core/plan/panel.hpp"

namespace tandem {
namespace {

// The runs of one kernel row.
void add_kernel_row(std::vector<KBlockRun>& runs, std::int64_t kernel_row, std::int64_t channels,
                    std::int64_t block) {
    const std::int64_t blocks = (channels + block - 1) / block;
    const auto add = [&](std::int64_t index, std::int64_t count) {
        if (count <= 0) return;
        const Span span{index * block, std::min((index + 1) * block, channels)};
        runs.push_back({{{kernel_row, kernel_row + 1}, span}, count});
    };
    add(0, 1);
    add(1, blocks - 2);
    if (blocks > 1) add(blocks - 1, 1);
}

}  // namespace

std::int64_t block_channels_step(Dot dot) noexcept { return uses_amx(dot) ? source_block(dot, 0) : 16; }

std::int64_t max_block_channels(const Stage& stage, Dot dot) noexcept {
    const std::int64_t step = block_channels_step(dot);
    return stage.depthwise() ? 0 : (stage.in_channels - 1) / step * step;
}

std::vector<KBlockRun> k_block_runs(const Stage& stage, const StagePlan& plan) {
    if (!has_k_blocks(plan)) return {{{{0, stage.conv.kernel.h}, {0, stage.in_channels}}, 1}};
    std::vector<KBlockRun> runs;
    for (std::int64_t kernel_row = 0; kernel_row < stage.conv.kernel.h; ++kernel_row)
        add_kernel_row(runs, kernel_row, stage.in_channels, plan.block_channels);
    return runs;
}

std::int64_t amx_tile_pixels(std::int64_t width) noexcept {
    return ceil_div(width, ceil_div(width, amx_rows));
}

std::vector<AmxCall> amx_calls(std::int64_t width, int vectors) {
    const std::int64_t pixels = amx_tile_pixels(width), tiles = ceil_div(width, pixels),
                       at_once = amx_sums / vectors;
    const auto start = [&](std::int64_t tile) {
        return tile < tiles ? std::min(tile * pixels, width - pixels) : width;
    };
    std::vector<AmxCall> calls;
    for (std::int64_t tile = 0; tile < tiles; tile += at_once) {
        AmxCall call{.tiles = std::min(at_once, tiles - tile),
                     .step = start(tile + at_once) - start(tile),
                     .finished = tile > 0 ? start(tile - 1) + pixels - start(tile) : 0};
        for (std::int64_t t = 0; t < call.tiles; ++t)
            call.first[static_cast<std::size_t>(t)] = start(tile + t) - start(tile);
        call.pixels = call.first[static_cast<std::size_t>(call.tiles - 1)] + pixels;
        const auto like = [&](const AmxCall& other) {
            return other.tiles == call.tiles && other.first == call.first && other.step == call.step &&
                   other.finished == call.finished;
        };
        if (!calls.empty() && like(calls.back()))
            ++calls.back().count;
        else
            calls.push_back(call);
    }
    return calls;
}

std::int64_t amx_parked_pixels(std::int64_t width, int vectors) {
    std::int64_t pixels = 0;
    for (const AmxCall& call : amx_calls(width, vectors))
        pixels += call.count * call.pixels;
    return pixels;
}

std::int64_t parked_bytes(const Problem& problem, const Plan& plan, int i) {
    const StagePlan& stage = plan.stage(i);
    if (!parks_sums(stage)) return uses_amx(stage.dot) ? 2 * amx_parked_bytes : 0;
    const TileGrid grid = tile_grid(problem, plan);
    std::int64_t rows = 0, columns = 0;
    const auto cover = [&](const TileSpans& spans) {
        rows = std::max(rows, spans.stage(i).rows.size());
        columns = std::max(columns, spans.stage(i).cols.size());
    };
    for (std::int64_t ty = 0; ty < grid.tiles_y; ++ty)
        cover(tile_spans(problem, plan, ty, 0, true));
    for (std::int64_t tx = 0; tx < grid.tiles_x; ++tx)
        cover(tile_spans(problem, plan, 0, tx, true));
    const PanelLayout panel = panel_layout(problem, plan, i);
    std::int64_t vectors = 0;
    for (const GroupRun& run : panel.runs)
        vectors = std::max<std::int64_t>(vectors, run.vectors);
    if (uses_amx(stage.dot)) columns += ceil_div(columns, amx_rows);  // most of amx_parked_pixels()
    return rows * columns * vectors * panel.vector_bytes;
}

}  // namespace tandem
