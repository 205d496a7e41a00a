// The part of DenseBody that runs on AMX: sums of up to two tiles of pixels by two vectors of output
// channels.
//
//   for each pair of pixel tiles of a row              (tmm4, tmm5; the last tile overlaps the one before
//                                                      it rather than being shorter)
//     for each kernel row inside the image, 64-byte block of channels, kernel column:
//       load pixels and weights (tmm6, tmm7), multiply and add into tmm0..3
//     park the sums
//     finish the pair before: as after a K block, resume some pixels at a time, post-ops, store
//
// So the vector units finish one pair while the tiles multiply the next: nothing that is parked is read
// before a whole call has passed. Tiles are configured for each tile function's stage and released at its
// end: a thread keeps no AMX state between calls.
#include <algorithm>

#include <fmt/format.h>

#include "core/plan/ceil_div.hpp"
#include "jit/dense.hpp"

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

void DenseBody::emit_tile_configuration(std::int64_t width) {
    code_.ldtilecfg(code_.constant_line(tile_configuration(tile_pixels(width))));
}

// The calls for a row of pixels: equal ones, one after the other, are one run.
std::vector<DenseBody::TileRun> DenseBody::tile_runs(std::int64_t width) const {
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
                    .count = 1};
        if (run.tiles == amx_tiles) run.second = start(tile + 1) - start(tile);
        run.pixels += run.second;
        const auto like = [&](const TileRun& other) {
            return other.tiles == run.tiles && other.second == run.second && other.step == run.step;
        };
        if (!runs.empty() && like(runs.back()))
            ++runs.back().count;
        else
            runs.push_back(run);
    }
    return runs;
}

// Sums are parked in two places by turns.
void DenseBody::emit_parking() {
    const Gpr place = count_;
    code_.mov(place, code_.ptr[args_ + offsetof(TileArgs, workspace)]);
    code_.mov(code_.qword[args_ + local_offset(Local::park_next)], place);
    emit_add(code_, place, amx_parked_bytes(context_.plan));
    code_.mov(code_.qword[args_ + local_offset(Local::parked)], place);
}

void DenseBody::emit_other_parking() {
    const Gpr next = count_, parked = input_;
    code_.mov(next, code_.qword[args_ + local_offset(Local::park_next)]);
    code_.mov(parked, code_.qword[args_ + local_offset(Local::parked)]);
    code_.mov(code_.qword[args_ + local_offset(Local::park_next)], parked);
    code_.mov(code_.qword[args_ + local_offset(Local::parked)], next);
}

// One output row. The column, output and residual registers are set.
void DenseBody::emit_row_by_tiles(const StageTile& tile, const GroupRun& group, const Pass& pass) {
    const Block block{{}, group, group.vectors, group.tail_lanes, pass, 0};
    const Gpr blocks = blocks_;
    std::optional<TileRun> before;
    for (const TileRun& run : tile_runs(tile.segment.width)) {
        emit_tile_call(run, block);
        if (before) emit_finish_call(*before, block);
        emit_other_parking();
        emit_loop(code_, blocks, run.count - 1, [&] {
            emit_tile_call(run, block);
            emit_finish_call(run, block);
            emit_other_parking();
        });
        before = run;
    }
    emit_finish_call(*before, block);
}

void DenseBody::emit_tile_call(const TileRun& run, const Block& block) {
    emit_operands(block);
    const int vectors = block.vectors;
    code_.call(routines_.get(fmt::format("tiles {}+{} x{}", run.tiles, run.second, vectors),
                             [=, this] { emit_tile_sums(run, vectors); }));
    emit_add(code_, column_, run.step * context_.stage->conv.stride.w * context_.in.pixel);
}

void DenseBody::emit_finish_call(const TileRun& run, Block block) {
    const Gpr parked = parked_register();
    const auto advance = [&](std::int64_t pixels) {
        emit_add(code_, out_, pixels * context_.out.pixel);
        if (epilogue_.has_sum()) emit_add(code_, residual_, pixels * context_.residual.pixel);
    };
    code_.mov(parked, code_.qword[args_ + local_offset(Local::parked)]);
    for (const std::int64_t width : balanced_split(run.pixels, context_.plan.block_pixels)) {
        block.run.width = width;
        code_.call(routines_.get("finish " + block.key() + zero_point_key(block.pass),
                                 [this, block] { emit_finish(block); }));
        advance(width);
        emit_add(code_, parked, width * block.vectors * context_.panel.vector_bytes);
    }
    advance(run.step - run.pixels);
}

// Which kernel rows' zero points a finish adds.
std::string DenseBody::zero_point_key(const Pass& pass) const {
    return context_.panel.zero_point_taps > 0
               ? fmt::format(" z{}-{}", pass.kernel_rows.begin, pass.kernel_rows.end)
               : "";
}

// Sums of all products of one or two tiles of pixels, parked [pixel][vector]. Two registers that the row
// keeps hold the steps between rows of tiles meanwhile.
void DenseBody::emit_tile_sums(const TileRun& run, int vectors) {
    code_.note(fmt::format("{}: AMX sums of {} px x {} vectors", context_.name(), run.pixels, vectors));
    const Gpr pixel_step = rows_, weight_step = outs_, table = *table_, taps_left = *taps_left_,
              input = input_, weights = weights_, column = column_, count = count_;
    const Stage& stage = *context_.stage;
    const std::int64_t vector_bytes = context_.panel.vector_bytes,
                       group_bytes =
                           stage.conv.kernel.w * dot_parts(context_.plan.dot) * vectors * vector_bytes;
    code_.push(pixel_step);
    code_.push(weight_step);
    code_.mov(pixel_step, immediate(stage.conv.stride.w * context_.in.pixel));
    code_.mov(weight_step, immediate(group_bytes));
    for (std::int64_t t = 0; t < run.tiles; ++t)
        for (int v = 0; v < vectors; ++v)
            code_.tilezero(sums(t, v));
    const bool looped = stage.conv.kernel.h > 1;
    Label next_tap;
    if (looped) code_.L(next_tap);
    code_.mov(input, code_.ptr[table]);
    code_.add(input, column);
    emit_add(code_, weights, context_.panel.zero_point_taps * vectors * vector_bytes);
    emit_loop(code_, count, ceil_div(stage.in_channels, context_.in.block), [&] {
        for (std::int64_t kw = 0; kw < stage.conv.kernel.w; ++kw)
            emit_tile_products(run, vectors, kw);
        emit_add(code_, input, context_.in.block_stride);
        emit_add(code_, weights, amx_rows * group_bytes);
    });
    if (looped) {
        emit_add(code_, table, stage.conv.dilation.h * 8);
        code_.dec(taps_left.cvt32());
        code_.jnz(next_tap, CodeBlock::T_NEAR);
    }
    code_.pop(weight_step);
    code_.pop(pixel_step);
    const Gpr parked = parked_register(), parked_step = input;
    code_.mov(parked, code_.qword[args_ + local_offset(Local::park_next)]);
    code_.mov(parked_step, immediate(vectors * vector_bytes));
    for (std::int64_t t = 0; t < run.tiles; ++t)
        for (int v = 0; v < vectors; ++v)
            code_.tilestored(
                code_.ptr[parked + parked_step +
                          static_cast<std::size_t>((t * run.second * vectors + v) * vector_bytes)],
                sums(t, v));
}

// One kernel column of one block of channels. Operands in several parts: each part of the pixels meets the
// weights' parts that make the largest products with it, first the part that is loaded already, then the
// small ones.
void DenseBody::emit_tile_products(const TileRun& run, int vectors, std::int64_t kw) {
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

void DenseBody::emit_pixel_tiles(const TileRun& run, std::int64_t kw, std::int64_t part) {
    const Gpr pixel_step = rows_, input = input_;
    const Conv& conv = context_.stage->conv;
    for (std::int64_t t = 0; t < run.tiles; ++t) {
        const std::int64_t at = (kw * conv.dilation.w + t * run.second * conv.stride.w) * context_.in.pixel -
                                column_bias() + part * context_.in.part;
        code_.tileloadd(Xbyak::Tmm(first_pixels + static_cast<int>(t)),
                        code_.ptr[input + pixel_step + static_cast<int>(at)]);
    }
}

void DenseBody::emit_weight_tiles(int vectors, std::int64_t column_part) {
    const Gpr weight_step = outs_, weights = weights_;
    for (int v = 0; v < vectors; ++v) {
        const std::int64_t at = (column_part * vectors + v) * context_.panel.vector_bytes;
        code_.tileloadd(Xbyak::Tmm(first_weights + v),
                        code_.ptr[weights + weight_step + static_cast<std::size_t>(at)]);
    }
}

// The pixel tiles that are loaded by the weights that are.
void DenseBody::emit_products(const TileRun& run, int vectors) {
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
void DenseBody::emit_finish(const Block& block) {
    code_.note(fmt::format("{}: {} px x {} vectors of parked sums", context_.name(), block.run.width,
                           block.vectors));
    emit_resume(block);
    const Gpr group = group_;
    const std::int64_t vector_bytes = context_.panel.vector_bytes,
                       row_bytes = context_.panel.row_taps * block.vectors * vector_bytes;
    for (std::int64_t p = 0; p < block.run.width; ++p) {
        for (int v = 0; v < block.vectors; ++v) {
            const Vec a = acc(block, p, v);
            for (std::int64_t kh = block.pass.kernel_rows.begin;
                 kh < block.pass.kernel_rows.end && context_.panel.zero_point_taps > 0; ++kh)
                code_.vpaddd(
                    a, a,
                    code_.ptr[group + static_cast<std::size_t>(context_.panel.weights_offset(block.vectors) +
                                                               kh * row_bytes + v * vector_bytes)]);
        }
    }
    emit_epilogue(block, false);
}

}  // namespace tandem::jit
