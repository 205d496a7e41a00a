#include "jit/amx_dense.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include <fmt/format.h>

#include "core/plan/ceil_div.hpp"
#include "core/plan/k_blocks.hpp"

namespace tandem::jit {
namespace {

constexpr int first_pixels = 4, first_weights = 6;  // tiles; the sums come first

// Pixels of each tile of a row of `width`: all alike.
std::int64_t tile_pixels(std::int64_t width) noexcept { return ceil_div(width, ceil_div(width, amx_rows)); }

// Palette 1: bytes of a row, and rows, of each tile.
std::array<std::uint32_t, 16> tile_configuration(std::int64_t pixels) {
    std::array<std::uint8_t, 64> bytes{};
    bytes[0] = 1;
    for (std::size_t tile = 0; tile < 8; ++tile) {
        bytes[16 + 2 * tile] = amx_row_bytes;
        bytes[48 + tile] =
            static_cast<std::uint8_t>(static_cast<int>(tile) < first_weights ? pixels : amx_rows);
    }
    std::array<std::uint32_t, 16> words;
    std::memcpy(words.data(), bytes.data(), bytes.size());
    return words;
}

Xbyak::Tmm sums(std::int64_t tile, int vector) { return Xbyak::Tmm(static_cast<int>(tile) * 2 + vector); }

}  // namespace

AmxDenseBody::AmxDenseBody(StageContext context, const Gpr& args, RegPool& gprs)
    : context_(std::move(context)), code_(context_.simd.code), args_(args), group_(gprs.lease("group panel")),
      epilogue_(context_, context_.panel, group_), rows_(context_, args, gprs),
      column_(gprs.lease("input column")), table_(gprs.lease("tap rows")),
      parked_(gprs.lease("parked pixel")), input_(gprs.lease("input pixel")), weights_(gprs.lease("weights")),
      taps_left_(gprs.lease("taps left")), pixel_step_(gprs.lease("row of a pixel tile")),
      weight_step_(gprs.lease("row of a weight tile")) {}

void AmxDenseBody::emit_tile(const StageTile& tile, std::span<const GroupRun> runs, std::int64_t first_row) {
    if (runs.empty() || tile.taps.empty() || tile.segment.width == 0) return;
    const Gpr group = group_;
    code_.note(
        fmt::format("{}: GEMM, {} rows of {} pixels", context_.name(), tile.taps.size(), tile.segment.width));
    code_.mov(group, code_.ptr[args_ + context_.panel_at]);
    emit_add(code_, group, runs.front().offset);
    code_.ldtilecfg(code_.constant_line(tile_configuration(tile_pixels(tile.segment.width))));
    emit_parking();
    code_.mov(Gpr(pixel_step_), immediate(context_.stage->conv.stride.w * context_.in.pixel));
    for (const GroupRun& run : runs) {
        epilogue_.emit_opmasks(run, input_);
        code_.mov(Gpr(weight_step_), immediate(group_bytes(run.vectors)));
        emit_loop(code_, local(Local::groups), run.count, [&] {
            emit_group(tile, run, first_row);
            emit_add(code_, group, context_.panel.group_bytes(run));
        });
    }
}

// All rows of the tile for one group of output vectors; neighbouring rows with equal taps are one loop. Where
// all columns are padding, no kernel row matters.
void AmxDenseBody::emit_group(const StageTile& tile, const GroupRun& group, std::int64_t first_row) {
    rows_.emit_begin(tile, first_row);
    const auto taps_of = [&](std::size_t row) {
        return tile.segment.columns.size() > 0 ? tile.taps[row] : Span{};
    };
    for (std::size_t row = 0; row < tile.taps.size();) {
        const Span taps = taps_of(row);
        std::size_t end = row + 1;
        while (end < tile.taps.size() && taps_of(end) == taps)
            ++end;
        emit_loop(code_, local(Local::rows), static_cast<std::int64_t>(end - row), [&] {
            emit_row(tile, group, taps);
            rows_.emit_advance(1);
        });
        row = end;
    }
}

void AmxDenseBody::emit_row(const StageTile& tile, const GroupRun& group, const Span& taps) {
    rows_.emit_first_pixel(group_);
    if (taps.size() == 0) return emit_empty_row(group, tile.segment.width);
    code_.mov(Gpr(column_), column_bias(context_) + tile.shift * context_.in.pixel);
    std::optional<TileRun> before;
    for (const TileRun& run : tile_runs(tile.segment.width)) {
        emit_sums_call(run, group, taps);
        if (before) emit_finish_calls(*before, group, taps);
        emit_other_parking();
        emit_loop(code_, local(Local::blocks), run.count - 1, [&] {
            emit_sums_call(run, group, taps);
            emit_finish_calls(run, group, taps);
            emit_other_parking();
        });
        before = run;
    }
    emit_finish_calls(*before, group, taps);
}

// A row whose taps are all padding.
void AmxDenseBody::emit_empty_row(const GroupRun& group, std::int64_t width) {
    for (const std::int64_t pixels : balanced_split(width, context_.plan.block_pixels)) {
        const DenseSums sums{context_, group, pixels};
        code_.call(routines_.get("empty " + sums.key(), [this, sums] {
            for (int i = 0; i < sums.first_free(); ++i)
                context_.simd.zero(context_.simd.vec(i));
            sums.emit_epilogue(epilogue_, rows_, false);
        }));
        rows_.emit_step(pixels);
    }
}

// The calls for a row of pixels: equal ones, one after the other, are one run.
std::vector<AmxDenseBody::TileRun> AmxDenseBody::tile_runs(std::int64_t width) {
    const std::int64_t pixels = tile_pixels(width), tiles = ceil_div(width, pixels);
    const auto start = [&](std::int64_t tile) {
        return tile < tiles ? std::min(tile * pixels, width - pixels) : width;
    };
    std::vector<TileRun> runs;
    for (std::int64_t tile = 0; tile < tiles; tile += amx_tiles) {
        TileRun run{.tiles = std::min(amx_tiles, tiles - tile),
                    .second = 0,
                    .pixels = pixels,
                    .step = start(tile + amx_tiles) - start(tile),
                    .finished = tile > 0 ? start(tile - 1) + pixels - start(tile) : 0,
                    .count = 1};
        if (run.tiles == amx_tiles) run.second = start(tile + 1) - start(tile);
        run.pixels += run.second;
        const auto like = [&](const TileRun& other) {
            return other.tiles == run.tiles && other.second == run.second && other.step == run.step &&
                   other.finished == run.finished;
        };
        if (!runs.empty() && like(runs.back()))
            ++runs.back().count;
        else
            runs.push_back(run);
    }
    return runs;
}

// Sums are parked in two places by turns.
void AmxDenseBody::emit_parking() {
    const Gpr place = input_;
    code_.mov(place, code_.ptr[args_ + offsetof(TileArgs, workspace)]);
    code_.mov(local(Local::park_next), place);
    emit_add(code_, place, amx_parked_bytes(context_.plan));
    code_.mov(local(Local::parked), place);
}

void AmxDenseBody::emit_other_parking() {
    const Gpr next = weights_, parked = input_;
    code_.mov(next, local(Local::park_next));
    code_.mov(parked, local(Local::parked));
    code_.mov(local(Local::park_next), parked);
    code_.mov(local(Local::parked), next);
}

void AmxDenseBody::emit_sums_call(const TileRun& run, const GroupRun& group, const Span& taps) {
    const Gpr panel = group_, weights = weights_;
    const int vectors = group.vectors;
    code_.lea(Gpr(table_), code_.ptr[rows_.input_row(taps.begin)]);
    code_.lea(weights, code_.ptr[panel + static_cast<std::size_t>(context_.panel.weights_offset(vectors) +
                                                                  taps.begin * row_bytes(vectors))]);
    code_.mov(Gpr(taps_left_).cvt32(), static_cast<std::uint32_t>(taps.size()));
    code_.call(routines_.get(fmt::format("tiles {}+{} x{}", run.tiles, run.second, vectors),
                             [=, this] { emit_sums(run, vectors); }));
    emit_add(code_, column_, run.step * context_.stage->conv.stride.w * context_.in.pixel);
}

void AmxDenseBody::emit_finish_calls(const TileRun& run, const GroupRun& group, const Span& taps) {
    const Gpr parked = parked_;
    // Which kernel rows' zero points a finish adds.
    const std::string zero_points =
        context_.panel.zero_point_taps > 0 ? fmt::format(" z{}-{}", taps.begin, taps.end) : "";
    code_.mov(parked, local(Local::parked));
    emit_add(code_, parked, DenseSums{context_, group, run.pixels}.bytes(run.finished));
    rows_.emit_step(run.finished);
    for (const std::int64_t pixels : balanced_split(run.pixels - run.finished, context_.plan.block_pixels)) {
        const DenseSums sums{context_, group, pixels};
        code_.call(routines_.get("finish " + sums.key() + zero_points,
                                 [this, sums, taps] { emit_finish(sums, taps); }));
        rows_.emit_step(pixels);
        emit_add(code_, parked, sums.bytes(pixels));
    }
    rows_.emit_step(run.step - run.pixels);
}

std::int64_t AmxDenseBody::group_bytes(int vectors) const {
    return context_.stage->conv.kernel.w * dot_parts(context_.plan.dot) * vectors *
           context_.panel.vector_bytes;
}

// Sums of all products of one or two tiles of pixels, parked [pixel][vector].
void AmxDenseBody::emit_sums(const TileRun& run, int vectors) {
    code_.note(fmt::format("{}: AMX sums of {} px x {} vectors", context_.name(), run.pixels, vectors));
    const Gpr table = table_, input = input_, taps_left = taps_left_, parked = parked_;
    const std::int64_t vector_bytes = context_.panel.vector_bytes;
    for (std::int64_t t = 0; t < run.tiles; ++t)
        for (int v = 0; v < vectors; ++v)
            code_.tilezero(sums(t, v));
    const bool looped = context_.stage->conv.kernel.h > 1;
    Label next_tap;
    if (looped) code_.L(next_tap);
    code_.mov(input, code_.ptr[table]);
    code_.add(input, column_);
    emit_channels(run, vectors);
    if (looped) {
        emit_add(code_, table, context_.stage->conv.dilation.h * 8);
        code_.dec(taps_left.cvt32());
        code_.jnz(next_tap, CodeBlock::T_NEAR);
    }
    const Gpr parked_step = input_;
    code_.mov(parked, local(Local::park_next));
    code_.mov(parked_step, immediate(vectors * vector_bytes));
    for (std::int64_t t = 0; t < run.tiles; ++t)
        for (int v = 0; v < vectors; ++v)
            code_.tilestored(
                code_.ptr[parked + parked_step +
                          static_cast<std::size_t>((t * run.second * vectors + v) * vector_bytes)],
                sums(t, v));
}

// All channels of one kernel row.
void AmxDenseBody::emit_channels(const TileRun& run, int vectors) {
    const Gpr input = input_, weights = weights_;
    emit_add(code_, weights, context_.panel.zero_point_taps * vectors * context_.panel.vector_bytes);
    emit_loop(code_, local(Local::channels), ceil_div(context_.stage->in_channels, context_.in.block), [&] {
        for (std::int64_t kw = 0; kw < context_.stage->conv.kernel.w; ++kw)
            emit_products_of(run, vectors, kw);
        emit_add(code_, input, context_.in.block_stride);
        emit_add(code_, weights, amx_rows * group_bytes(vectors));
    });
}

// One kernel column of one block of channels. Operands in several parts: each part of the pixels meets the
// weights' parts that make the largest products with it, first the part that is loaded already, then the
// small ones.
void AmxDenseBody::emit_products_of(const TileRun& run, int vectors, std::int64_t kw) {
    const std::int64_t parts = dot_parts(context_.plan.dot);
    std::int64_t loaded = -1;
    for (std::int64_t part = parts - 1; part >= 0; --part) {
        emit_pixel_tiles(run, kw, part);
        if (loaded >= 0) emit_products(run, vectors);
        const std::int64_t here = loaded;
        for (std::int64_t weight_part = parts - 1 - part; weight_part >= 0; --weight_part) {
            if (weight_part == here) continue;
            emit_weight_tiles(vectors, kw * parts + weight_part);
            emit_products(run, vectors);
            loaded = weight_part;
        }
    }
}

void AmxDenseBody::emit_pixel_tiles(const TileRun& run, std::int64_t kw, std::int64_t part) {
    const Gpr pixel_step = pixel_step_, input = input_;
    const Conv& conv = context_.stage->conv;
    for (std::int64_t t = 0; t < run.tiles; ++t) {
        const std::int64_t at = (kw * conv.dilation.w + t * run.second * conv.stride.w) * context_.in.pixel -
                                column_bias(context_) + part * context_.in.part;
        code_.tileloadd(Xbyak::Tmm(first_pixels + static_cast<int>(t)),
                        code_.ptr[input + pixel_step + static_cast<int>(at)]);
    }
}

void AmxDenseBody::emit_weight_tiles(int vectors, std::int64_t column_part) {
    const Gpr weight_step = weight_step_, weights = weights_;
    for (int v = 0; v < vectors; ++v) {
        const std::int64_t at = (column_part * vectors + v) * context_.panel.vector_bytes;
        code_.tileloadd(Xbyak::Tmm(first_weights + v),
                        code_.ptr[weights + weight_step + static_cast<std::size_t>(at)]);
    }
}

// The pixel tiles that are loaded by the weights that are.
void AmxDenseBody::emit_products(const TileRun& run, int vectors) {
    for (std::int64_t t = 0; t < run.tiles; ++t) {
        for (int v = 0; v < vectors; ++v) {
            const Xbyak::Tmm pixels(first_pixels + static_cast<int>(t)), weight(first_weights + v);
            if (context_.plan.dot == Dot::amx_int8)
                code_.tdpbusd(sums(t, v), pixels, weight);
            else
                code_.tdpbf16ps(sums(t, v), pixels, weight);
        }
    }
}

// From parked sums to the output.
void AmxDenseBody::emit_finish(const DenseSums& sums, const Span& taps) {
    code_.note(fmt::format("{}: {} px x {} vectors of parked sums", context_.name(), sums.pixels,
                           sums.group.vectors));
    sums.emit_resume(parked_);
    if (context_.panel.zero_point_taps > 0) emit_zero_points(sums, taps);
    sums.emit_epilogue(epilogue_, rows_, false);
}

// What the sums owe to the zero point, the shares of all kernel rows inside the image.
void AmxDenseBody::emit_zero_points(const DenseSums& sums, const Span& taps) {
    const Gpr group = group_;
    const int vectors = sums.group.vectors;
    for (std::int64_t p = 0; p < sums.pixels; ++p) {
        for (int v = 0; v < vectors; ++v) {
            const Vec a = sums.acc(p, v);
            for (std::int64_t kh = taps.begin; kh < taps.end; ++kh)
                code_.vpaddd(
                    a, a,
                    code_.ptr[group + static_cast<std::size_t>(context_.panel.weights_offset(vectors) +
                                                               kh * row_bytes(vectors) +
                                                               v * context_.panel.vector_bytes)]);
        }
    }
}

}  // namespace tandem::jit
