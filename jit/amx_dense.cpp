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

constexpr int first_pixels = 4, first_weights = 6;  // tile registers; the sums come first

// The products of an operand in several parts, in the order of the sum: each part of the pixels meets the
// weights' parts that make the largest products with it, first the part that the products before have
// loaded, then the small ones.
struct PartProduct {
    std::int64_t pixels, weights;
};
std::vector<PartProduct> part_products(std::int64_t parts) {
    std::vector<PartProduct> products;
    for (std::int64_t part = parts - 1; part >= 0; --part) {
        const std::int64_t loaded = products.empty() ? -1 : products.back().weights;
        if (loaded >= 0) products.push_back({part, loaded});
        for (std::int64_t weights = parts - 1 - part; weights >= 0; --weights)
            if (weights != loaded) products.push_back({part, weights});
    }
    return products;
}

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

// The tile of sums of a tile of pixels and a vector.
int sum_register(std::int64_t tile, int vectors, int vector) {
    return static_cast<int>(tile) * vectors + vector;
}

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
    code_.ldtilecfg(code_.constant_line(tile_configuration(amx_tile_pixels(tile.segment.width))));
    emit_parking();
    code_.mov(Gpr(pixel_step_), immediate(context_.stage->conv.stride.w * context_.in.pixel));
    code_.mov(Gpr(weight_step_), immediate(context_.panel.vector_bytes));
    for (const GroupRun& run : runs) {
        epilogue_.emit_opmasks(run, input_);
        emit_loop(code_, local(Local::groups), run.count, [&] {
            emit_group(tile, run, first_row);
            emit_add(code_, group, context_.panel.group_bytes(run));
        });
    }
}

// All rows of the tile for one group of output vectors.
void AmxDenseBody::emit_group(const StageTile& tile, const GroupRun& group, std::int64_t first_row) {
    for (const KBlockRun& k : k_block_runs(*context_.stage, context_.plan)) {
        const std::vector<DenseRowRun> runs = dense_row_runs(*context_.stage, tile, k.first);
        if (runs.empty()) continue;
        if (has_k_blocks())
            emit_k_blocks(tile, group, k, first_row, runs);
        else
            emit_rows(tile, group, first_row, runs, 0);
    }
}

// A run of K blocks. Where the current one begins in the weights and in the input is kept in locals.
void AmxDenseBody::emit_k_blocks(const StageTile& tile, const GroupRun& group, const KBlockRun& k,
                                 std::int64_t first_row, std::span<const DenseRowRun> runs) {
    const Gpr panel = group_, ahead = weights_;
    const auto weight_bytes = [&](std::int64_t channels) {
        return ceil_div(channels, context_.in.block) * amx_rows * group_bytes(group.vectors);
    };
    const std::int64_t channels = k.first.channels.size(), begin = k.first.channels.begin,
                       bytes = weight_bytes(channels);
    std::int64_t calls = 0;
    for (const AmxCall& call : amx_calls(tile.segment.width, group.vectors))
        for (const DenseRowRun& run : runs)
            calls += run.pass.kernel_rows.size() > 0 ? call.count * run.count : 0;
    code_.mov(local(Local::k_weights),
              immediate(k.first.kernel_rows.begin * row_bytes(group.vectors) + weight_bytes(begin)));
    code_.mov(local(Local::k_input), immediate(context_.in.channel(begin)));
    emit_loop(code_, local(Local::k_blocks), k.count, [&] {
        // The next K block's weights follow this one's, and the next group's its last one's.
        code_.lea(ahead, code_.ptr[panel + immediate(context_.panel.weights_offset(group.vectors) + bytes)]);
        code_.add(ahead, local(Local::k_weights));
        code_.mov(local(Local::k_ahead), ahead);
        emit_rows(tile, group, first_row, runs, calls > 0 ? ceil_div(ceil_div(bytes, line_bytes), calls) : 0);
        if (k.count == 1) return;
        code_.add(local(Local::k_weights), immediate(bytes));
        code_.add(local(Local::k_input), immediate(context_.in.channel(channels)));
    });
}

void AmxDenseBody::emit_rows(const StageTile& tile, const GroupRun& group, std::int64_t first_row,
                             std::span<const DenseRowRun> runs, std::int64_t ahead_lines) {
    rows_.emit_begin(tile, first_row);
    std::int64_t at = 0;
    for (const DenseRowRun& run : runs) {
        rows_.emit_advance(run.row - at);
        if (has_k_blocks()) emit_row_parking(run.row, tile.segment.width, group.vectors);
        emit_loop(code_, local(Local::rows), run.count, [&] {
            emit_row(tile, group, run.pass, ahead_lines);
            rows_.emit_advance(1);
        });
        at = run.row + run.count;
    }
}

void AmxDenseBody::emit_row(const StageTile& tile, const GroupRun& group, const DensePass& pass,
                            std::int64_t ahead_lines) {
    const Gpr column = column_;
    rows_.emit_first_pixel(group_);
    if (pass.kernel_rows.size() == 0) return emit_empty_row(group, tile.segment.width);
    code_.mov(column, column_bias(context_) + tile.shift * context_.in.pixel);
    if (has_k_blocks()) code_.add(column, local(Local::k_input));
    std::optional<AmxCall> before;
    for (const AmxCall& call : amx_calls(tile.segment.width, group.vectors)) {
        const auto emit_call = [&](const std::optional<AmxCall>& finished) {
            emit_sums_call({call, group.vectors, pass, ahead_lines});
            if (finished && pass.ends) emit_finish_calls(*finished, group, pass.kernel_rows);
            emit_next_parking(call, group.vectors);
        };
        emit_call(before);
        emit_loop(code_, local(Local::blocks), call.count - 1, [&] { emit_call(call); });
        before = call;
    }
    if (pass.ends) emit_finish_calls(*before, group, pass.kernel_rows);
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

// Without K blocks sums are parked in two places by turns.
void AmxDenseBody::emit_parking() {
    const Gpr place = input_;
    code_.mov(place, code_.ptr[args_ + offsetof(TileArgs, workspace)]);
    code_.mov(local(Local::park_next), place);
    emit_add(code_, place, amx_parked_bytes);
    code_.mov(local(Local::parked), place);
}

// With them every call has a place of its own.
void AmxDenseBody::emit_row_parking(std::int64_t row, std::int64_t width, int vectors) {
    const Gpr place = input_;
    code_.mov(place, code_.ptr[args_ + offsetof(TileArgs, workspace)]);
    emit_add(code_, place, row * amx_parked_pixels(width, vectors) * vectors * context_.panel.vector_bytes);
    code_.mov(local(Local::park_next), place);
}

void AmxDenseBody::emit_next_parking(const AmxCall& call, int vectors) {
    const Gpr next = weights_, parked = input_;
    code_.mov(parked, local(Local::park_next));
    if (has_k_blocks())
        code_.lea(next, code_.ptr[parked + immediate(call.pixels * vectors * context_.panel.vector_bytes)]);
    else
        code_.mov(next, local(Local::parked));
    code_.mov(local(Local::park_next), next);
    code_.mov(local(Local::parked), parked);
}

std::string AmxDenseBody::Sums::key() const {
    return fmt::format("tiles {} x{} c{}{} a{}", fmt::join(std::span(call.first).first(call.tiles), "+"),
                       vectors, pass.channels, pass.starts ? " from zero" : "", ahead_lines);
}

void AmxDenseBody::emit_sums_call(const Sums& sums) {
    const Gpr panel = group_, weights = weights_;
    const Span& taps = sums.pass.kernel_rows;
    const std::int64_t first = context_.panel.weights_offset(sums.vectors) +
                               (has_k_blocks() ? 0 : taps.begin * row_bytes(sums.vectors));
    code_.lea(Gpr(table_), code_.ptr[rows_.input_row(taps.begin)]);
    code_.lea(weights, code_.ptr[panel + static_cast<std::size_t>(first)]);
    if (has_k_blocks()) code_.add(weights, local(Local::k_weights));
    code_.mov(Gpr(taps_left_).cvt32(), static_cast<std::uint32_t>(taps.size()));
    code_.call(routines_.get(sums.key(), [=, this] { emit_sums(sums); }));
    emit_add(code_, column_, sums.call.step * context_.stage->conv.stride.w * context_.in.pixel);
}

void AmxDenseBody::emit_finish_calls(const AmxCall& call, const GroupRun& group, const Span& taps) {
    const Gpr parked = parked_;
    // Which kernel rows' zero points a finish adds.
    const std::string zero_points =
        context_.panel.zero_point_taps > 0 ? fmt::format(" z{}-{}", taps.begin, taps.end) : "";
    code_.mov(parked, local(Local::parked));
    emit_add(code_, parked, DenseSums{context_, group, call.pixels}.bytes(call.finished));
    rows_.emit_step(call.finished);
    for (const std::int64_t pixels :
         balanced_split(call.pixels - call.finished, context_.plan.block_pixels)) {
        const DenseSums sums{context_, group, pixels};
        code_.call(routines_.get("finish " + sums.key() + zero_points,
                                 [this, sums, taps] { emit_finish(sums, taps); }));
        rows_.emit_step(pixels);
        emit_add(code_, parked, sums.bytes(pixels));
    }
    rows_.emit_step(call.step - call.pixels);
}

std::int64_t AmxDenseBody::group_bytes(int vectors) const {
    return context_.stage->conv.kernel.w * dot_parts(context_.plan.dot) * vectors *
           context_.panel.vector_bytes;
}

// Sums of products of one call's pixels, parked [pixel][vector].
void AmxDenseBody::emit_sums(const Sums& sums) {
    code_.note(
        fmt::format("{}: AMX sums of {} px x {} vectors", context_.name(), sums.call.pixels, sums.vectors));
    const Gpr table = table_, input = input_, taps_left = taps_left_, ahead = parked_;
    if (sums.pass.starts)
        for (int i = 0; i < sums.call.tiles * sums.vectors; ++i)
            code_.tilezero(Xbyak::Tmm(i));
    else
        for_each_parked(sums, [&](const Xbyak::Tmm& tile, const Address& at) { code_.tileloadd(tile, at); });
    if (sums.ahead_lines > 0) code_.mov(ahead, local(Local::k_ahead));
    const bool looped = context_.stage->conv.kernel.h > 1 && !has_k_blocks();
    Label next_tap;
    if (looped) code_.L(next_tap);
    code_.mov(input, code_.ptr[table]);
    code_.add(input, column_);
    emit_channels(sums);
    if (looped) {
        emit_add(code_, table, context_.stage->conv.dilation.h * 8);
        code_.dec(taps_left.cvt32());
        code_.jnz(next_tap, CodeBlock::T_NEAR);
    }
    if (sums.ahead_lines > 0) code_.mov(local(Local::k_ahead), ahead);
    for_each_parked(sums, [&](const Xbyak::Tmm& tile, const Address& at) { code_.tilestored(at, tile); });
}

void AmxDenseBody::for_each_parked(const Sums& sums,
                                   const std::function<void(const Xbyak::Tmm&, const Address&)>& with) {
    const Gpr parked = parked_, parked_step = input_;
    const std::int64_t vector_bytes = context_.panel.vector_bytes;
    code_.mov(parked, local(Local::park_next));
    code_.mov(parked_step, immediate(sums.vectors * vector_bytes));
    for (std::int64_t t = 0; t < sums.call.tiles; ++t) {
        const std::int64_t first = sums.call.first[static_cast<std::size_t>(t)] * sums.vectors;
        for (int v = 0; v < sums.vectors; ++v)
            with(Xbyak::Tmm(sum_register(t, sums.vectors, v)),
                 code_.ptr[parked + parked_step + static_cast<std::size_t>((first + v) * vector_bytes)]);
    }
}

// All channels of one kernel row or of a K block.
void AmxDenseBody::emit_channels(const Sums& sums) {
    constexpr std::int64_t product_cycles = 16;
    const Gpr input = input_, weights = weights_, ahead = parked_,
              scratch = has_k_blocks() ? table_ : parked_;
    const std::int64_t parts = dot_parts(context_.plan.dot);
    const std::int64_t products =
        context_.stage->conv.kernel.w * parts * (parts + 1) / 2 * sums.call.tiles * sums.vectors;
    const std::int64_t blocks = ceil_div(sums.pass.channels, context_.in.block);
    const std::int64_t lines = ceil_div(sums.ahead_lines, blocks);
    emit_add(code_, weights, context_.panel.zero_point_taps * sums.vectors * context_.panel.vector_bytes);
    emit_loop(code_, local(Local::channels), blocks, [&] {
        for (std::int64_t kw = 0; kw < context_.stage->conv.kernel.w; ++kw) {
            if (sums.vectors == 1)
                emit_products_of_vector(sums, kw);
            else
                emit_products_of_vectors(sums, kw);
        }
        for (std::int64_t line = 0; line < lines; ++line)
            code_.prefetcht0(code_.ptr[ahead + static_cast<std::size_t>(line * line_bytes)]);
        emit_add(code_, ahead, lines * line_bytes);
        emit_add(code_, input, context_.in.block_stride);
        emit_add(code_, weights, amx_rows * group_bytes(sums.vectors));
        emit_prefetch_upcoming(code_, args_, scratch, products * product_cycles);
    });
}

// One kernel column of one block of channels: up to two tiles of pixels by two vectors of weights.
void AmxDenseBody::emit_products_of_vectors(const Sums& sums, std::int64_t kw) {
    const std::int64_t parts = dot_parts(context_.plan.dot);
    PartProduct loaded{-1, -1};
    for (const PartProduct& product : part_products(parts)) {
        for (int t = 0; t < sums.call.tiles; ++t) {
            if (product.pixels != loaded.pixels)
                emit_pixels(first_pixels + t, sums.call.first[static_cast<std::size_t>(t)], kw,
                            product.pixels);
            for (int v = 0; v < sums.vectors; ++v) {
                if (t == 0 && product.weights != loaded.weights)
                    emit_weights(first_weights + v, sums.vectors, kw * parts + product.weights, v);
                emit_product(sum_register(t, sums.vectors, v), first_pixels + t, first_weights + v);
            }
        }
        loaded = product;
    }
}

// The same for one vector: tiles of pixels pass by its weights, of which two parts stay.
void AmxDenseBody::emit_products_of_vector(const Sums& sums, std::int64_t kw) {
    const std::int64_t parts = dot_parts(context_.plan.dot);
    std::array<std::int64_t, 2> held{-1, -1};
    std::size_t oldest = 0;
    const auto weights_register = [&](std::int64_t part) {
        if (const auto it = std::ranges::find(held, part); it != held.end())
            return first_weights + static_cast<int>(it - held.begin());
        held[oldest] = part;
        const int tile = first_weights + static_cast<int>(oldest);
        oldest ^= 1;
        emit_weights(tile, 1, kw * parts + part, 0);
        return tile;
    };
    int pixels = first_pixels;
    for (int t = 0; t < sums.call.tiles; ++t) {
        std::int64_t loaded = -1;
        for (const PartProduct& product : part_products(parts)) {
            if (product.pixels != loaded) {
                pixels = pixels == first_pixels ? first_pixels + 1 : first_pixels;
                emit_pixels(pixels, sums.call.first[static_cast<std::size_t>(t)], kw, product.pixels);
            }
            loaded = product.pixels;
            emit_product(sum_register(t, 1, 0), pixels, weights_register(product.weights));
        }
    }
}

// A tile of pixels from the `first` of the call on.
void AmxDenseBody::emit_pixels(int tile, std::int64_t first, std::int64_t kw, std::int64_t part) {
    const Gpr pixel_step = pixel_step_, input = input_;
    const Conv& conv = context_.stage->conv;
    const std::int64_t at = (kw * conv.dilation.w + first * conv.stride.w) * context_.in.pixel -
                            column_bias(context_) + part * context_.in.part;
    code_.tileloadd(Xbyak::Tmm(tile), code_.ptr[input + pixel_step + static_cast<int>(at)]);
}

void AmxDenseBody::emit_weights(int tile, int vectors, std::int64_t column_part, int vector) {
    const Gpr weight_step = weight_step_, weights = weights_;
    const std::int64_t at = (column_part * vectors + vector) * amx_rows * context_.panel.vector_bytes;
    code_.tileloadd(Xbyak::Tmm(tile), code_.ptr[weights + weight_step + static_cast<std::size_t>(at)]);
}

void AmxDenseBody::emit_product(int sum, int pixels, int weights) {
    const Xbyak::Tmm to(sum), a(pixels), b(weights);
    if (context_.plan.dot == Dot::amx_int8)
        code_.tdpbusd(to, a, b);
    else if (context_.plan.dot == Dot::amx_f16)
        code_.tdpfp16ps(to, a, b);
    else
        code_.tdpbf16ps(to, a, b);
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
