// The part of DenseBody that is one microkernel: a block of pixels by a group of output-channel vectors.
#include "jit/dense.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "core/plan/ceil_div.hpp"
#include "core/plan/register_budget.hpp"
#include "jit/pixel_pairs.hpp"

namespace tandem::jit {
namespace {

// FMAs unrolled in one loop iteration: long enough to hide the loop, short enough that the variants of a
// kernel share L1i.
constexpr std::int64_t unrolled_fmas = 512;
constexpr std::int64_t fmas_a_cycle = 2;

}  // namespace

// Names everything that the code of a block depends on.
std::string DenseBody::Block::key() const {
    return fmt::format("{} r{}.{} p{} {}-{}", sum_key(), group.residual_vectors, group.residual_tail_lanes,
                       group.pads_block, pass.starts, pass.ends);
}

// The same for the part that multiplies and adds. How many kernel rows there are is a value at run time.
std::string DenseBody::Block::sum_key() const {
    return fmt::format("{} {}-{} x{} t{} {}ch{} a{}", run.width, run.columns.begin, run.columns.end,
                       group.vectors, group.tail_lanes, pass.channels, pass.kernel_rows.size() > 0,
                       ahead_lines);
}

// The microkernel: one block of pixels by one group of vectors, and what a pass adds to their sums: all
// channels of all taps inside the image, or a K block.
void DenseBody::emit_block(const Block& block) {
    const Pass& pass = block.pass;
    const std::string k_block = fmt::format(", {} channels{}{}", pass.channels, pass.starts ? ", start" : "",
                                            pass.ends ? ", end" : "");
    code_.note(fmt::format(
        "{}: GEMM {} px x {} vectors{}, input columns {}-{}{}", context_.name(), block.run.width,
        block.group.vectors,
        block.group.tail_lanes ? fmt::format(" (tail of {} channels)", block.group.tail_lanes) : "",
        block.run.columns.begin, block.run.columns.end, has_k_blocks() ? k_block : ""));
    if (pass.starts) {
        emit_start(block);
    } else {
        sums(block).emit_resume(*parked_);
    }
    if (pass.kernel_rows.size() > 0 && block.run.columns.size() > 0) emit_sum(block);
    if (pass.ends) {
        sums(block).emit_epilogue(epilogue_, rows_, starts_from_bias());
    } else {
        sums(block).emit_park(*parked_);
    }
}

// Where the sums are f32 numbers.
bool DenseBody::starts_from_bias() const {
    return epilogue_.starts_with_bias() && !context_.panel.quantized && !sums_f16_pairs(context_.plan.dot);
}

// The only kernel row's zero points, which then cost no addition.
bool DenseBody::starts_from_zero_points(const Block& block) const {
    const Size2& kernel = context_.stage->conv.kernel;
    return context_.panel.zero_point_taps > 0 && kernel.h * kernel.w == 1 &&
           block.pass.kernel_rows.size() > 0;
}

Address DenseBody::bias(int vector) const {
    const Gpr group = group_;
    return code_.ptr[group + static_cast<std::size_t>(context_.panel.params_offset() +
                                                      vector * context_.panel.vector_bytes)];
}

// Accumulators begin with the bias, or zero.
void DenseBody::emit_start(const Block& block) {
    const Gpr group = group_;
    if (starts_from_bias() && context_.plan.pixel_pairs) emit_paired_bias(block);
    for (std::int64_t p = 0; p < sums(block).columns(); ++p) {
        for (int v = 0; v < sums(block).vectors(); ++v) {
            const Vec a = acc(block, p, v);
            if (starts_from_zero_points(block) && has_column(block, p * pixel_step(context_.plan), 0)) {
                code_.vmovdqu32(a, code_.ptr[group + static_cast<std::size_t>(
                                                         context_.panel.weights_offset(block.group.vectors) +
                                                         v * context_.panel.vector_bytes)]);
            } else if (!starts_from_bias()) {
                context_.simd.zero(a);
            } else if (p > 0) {
                code_.vmovaps(a, acc(block, 0, v));
            } else if (!context_.plan.pixel_pairs) {
                code_.vmovups(a, bias(v));
            }
        }
    }
}

// The bias in the first pair's sums.
void DenseBody::emit_paired_bias(const Block& block) {
    for (int v = 0; v < block.group.vectors; ++v) {
        const Vec low = acc(block, 0, 2 * v);
        if (2 * v + 1 < sums(block).vectors()) {
            const Vec high = acc(block, 0, 2 * v + 1);
            code_.vmovups(high, bias(v));
            emit_pair(context_.simd, low, high, high, high);
        } else {
            const Xbyak::Ymm half(first_free(block));
            code_.vmovups(half, bias(v));
            emit_half_pair(context_.simd, low.getIdx(), half, half);
        }
    }
}

// The products of a pass. Those of a K block are a routine of its own, which the passes that start, resume,
// park and store share.
void DenseBody::emit_sum(const Block& block) {
    if (has_k_blocks()) {
        code_.call(routines_.get("sum " + block.sum_key(), [this, block] { emit_channels(block); }));
    } else {
        emit_kernel_rows(block);
    }
}

void DenseBody::emit_kernel_rows(const Block& block) {
    const Gpr table = *table_, input = input_, column = column_, taps_left = *taps_left_;
    const bool looped = context_.stage->conv.kernel.h > 1;
    Label next_tap;
    if (looped) code_.L(next_tap);
    code_.mov(input, code_.ptr[table]);
    code_.add(input, column);
    if (context_.panel.zero_point_taps > 0) emit_zero_points(block);
    emit_channels(block);
    if (looped) {
        emit_add(code_, table, context_.stage->conv.dilation.h * 8);
        code_.dec(taps_left.cvt32());
        code_.jnz(next_tap, CodeBlock::T_NEAR);
    }
}

// What a kernel row's sums owe to the zero point: the same for all pixels that have every kernel column.
void DenseBody::emit_zero_points(const Block& block) {
    const Gpr weights = weights_;
    const std::int64_t columns = context_.stage->conv.kernel.w,
                       step = sums(block).vectors() * context_.panel.vector_bytes;
    const auto add = [&](std::int64_t pixel, std::int64_t tap) {
        for (int v = 0; v < block.group.vectors; ++v) {
            const Vec a = acc(block, pixel, v);
            code_.vpaddd(
                a, a,
                code_.ptr[weights + static_cast<std::size_t>(tap * step + v * context_.panel.vector_bytes)]);
        }
    };
    for (std::int64_t p = 0; p < block.run.width && !starts_from_zero_points(block); ++p) {
        std::vector<std::int64_t> present;
        for (std::int64_t kw = 0; kw < columns; ++kw)
            if (has_column(block, p, kw)) present.push_back(kw);
        if (static_cast<std::int64_t>(present.size()) == columns)
            add(p, 0);
        else
            for (const std::int64_t kw : present)
                add(p, 1 + kw);
    }
    emit_add(code_, weights, context_.panel.zero_point_taps * step);
}

// The channels of a pass in one kernel row, by dot groups. A chunk of groups is unrolled; chunks never
// straddle a channel block.
void DenseBody::emit_channels(const Block& block) {
    const Gpr input = input_, weights = weights_, count = count_, next = next_;
    const std::int64_t per_group = dot_channels(context_.plan.dot),
                       groups = ceil_div(block.pass.channels, per_group);
    const int chunk = unroll(block);
    const bool one_block = context_.in.block >= context_.stage->in_channels;
    const std::int64_t per_block = one_block ? chunk : context_.in.block / per_group;
    const std::int64_t group_bytes = dot_group_bytes(context_.plan.dot);
    const std::int64_t block_stride = one_block ? chunk * group_bytes : context_.in.block_stride;
    // Few planes of one dot group each (NCHW) are unrolled.
    const bool planes = !one_block && context_.in.block == per_group && fmas(block) * groups <= unrolled_fmas;
    const std::int64_t full = planes ? 0 : groups / per_block, rest = groups - full * per_block;
    const std::int64_t group_weights =
        context_.stage->conv.kernel.w * sums(block).vectors() * context_.panel.vector_bytes;
    const std::int64_t prefetch_step =
        prefetch_.lines > 0 ? prefetch_.source.channel(per_block * per_group) : 0;

    const std::int64_t chunks = per_block / chunk;
    emit_loop(code_, code_.qword[args_ + local_offset(Local::channels)], full, [&] {
        emit_loop(code_, count, chunks, [&] {
            emit_chunk(block, chunk, chunks == 1);
            emit_add(code_, weights, chunk * group_weights);
            emit_add(code_, input, chunk * group_bytes);
        });
        emit_add(code_, input, block_stride - per_block * group_bytes);
        emit_add(code_, next, prefetch_step);
        emit_prefetch_upcoming(code_, args_, upcoming_, per_block * fmas(block) / fmas_a_cycle);
    });
    for (std::int64_t done = 0; done < rest; done += chunk) {
        const int now = static_cast<int>(std::min<std::int64_t>(chunk, rest - done));
        emit_chunk(block, now, false);
        emit_add(code_, weights, now * group_weights);
        if (done + now < rest) emit_add(code_, input, planes ? block_stride : now * group_bytes);
    }
    if (prefetch_.lines > 0)
        emit_add(code_, next, prefetch_.lines * prefetch_.source.pixel - full * prefetch_step);
}

void DenseBody::emit_chunk(const Block& block, int groups, bool prefetch) {
    const std::int64_t taps = context_.stage->conv.kernel.w;
    std::int64_t prefetched = 0;
    for (int group = 0; group < groups; ++group) {
        for (int kw = 0; kw < taps; ++kw)
            emit_taps(block, group, kw);
        emit_weights_ahead(block, group, groups);
        if (!prefetch) continue;
        const std::int64_t due = prefetch_.lines * (group + 1) / groups;
        const Gpr next = next_;
        for (; prefetched < due; ++prefetched)
            code_.prefetcht1(code_.ptr[next + static_cast<std::size_t>(prefetched * prefetch_.source.pixel)]);
    }
}

bool DenseBody::has_column(const Block& block, std::int64_t pixel, std::int64_t kw) const {
    const Conv& conv = context_.stage->conv;
    const std::int64_t column = pixel * conv.stride.w + kw * conv.dilation.w;
    return column >= block.run.columns.begin && column < block.run.columns.end;
}

// The next K block's weights, spread over the dot groups of a chunk.
void DenseBody::emit_weights_ahead(const Block& block, int group, int groups) {
    if (block.ahead_lines == 0) return;
    const Gpr ahead = *ahead_;
    const std::int64_t lines =
        ceil_div(block.ahead_lines * groups, ceil_div(block.pass.channels, dot_channels(context_.plan.dot)));
    for (std::int64_t line = lines * group / groups; line < lines * (group + 1) / groups; ++line)
        code_.prefetcht0(code_.ptr[ahead + static_cast<std::size_t>(line * line_bytes)]);
    if (group == groups - 1) emit_add(code_, ahead, lines * line_bytes);
}

// One dot group of one kernel column: the vectors' weights times every pixel that has this column.
void DenseBody::emit_taps(const Block& block, int group, int kw) {
    const Simd& simd = context_.simd;
    const Conv& conv = context_.stage->conv;
    const Gpr weights = weights_;
    const std::int64_t step = pixel_step(context_.plan);
    const int vectors = sums(block).vectors();
    std::vector<std::int64_t> pixels;
    for (std::int64_t p = 0; p < block.run.width; p += step)
        if (has_column(block, p, kw)) pixels.push_back(p);
    if (pixels.empty()) return;
    const int first_weight = first_free(block), first_broadcast = first_weight + vectors;
    const int product = simd.registers() - 1,
              broadcasts = simd.registers() - first_broadcast - (context_.plan.dot == Dot::int16 ? 1 : 0);
    const std::int64_t at =
        (std::int64_t{group} * conv.kernel.w + kw) * vectors * context_.panel.vector_bytes;
    for (int v = 0; v < vectors; ++v) {
        const std::int64_t from = at + v * context_.panel.vector_bytes;
        code_.vmovups(sums(block).in_width(v, first_weight + v),
                      code_.ptr[weights + static_cast<std::size_t>(from)]);
        if (context_.weights_ahead > 0 && from % 64 == 0)
            code_.prefetcht1(code_.ptr[weights + static_cast<std::size_t>(from + context_.weights_ahead)]);
    }
    const bool embedded = embeds_broadcast(simd.isa, context_.plan);
    int turn = 0;
    for (const std::int64_t p : pixels) {
        const Xbyak::RegExp from = pixel_address(p, kw, group);
        if (embedded) {
            for (int v = 0; v < vectors; ++v)
                emit_multiply(acc(block, p, v), sums(block).in_width(v, first_weight + v), code_.ptr_b[from],
                              product);
            continue;
        }
        const int x = first_broadcast + turn++ % broadcasts;
        if (context_.plan.pixel_pairs)
            code_.vbroadcastsd(Xbyak::Zmm(x), code_.qword[from]);
        else
            emit_broadcast(simd.vec(x), from);
        for (int v = 0; v < vectors; ++v)
            emit_multiply(acc(block, p / step, v), sums(block).in_width(v, first_weight + v),
                          sums(block).in_width(v, x), product);
    }
}

// A pixel's dot group in every lane.
void DenseBody::emit_broadcast(const Vec& v, const Xbyak::RegExp& from) {
    switch (context_.plan.dot) {
        case Dot::wide_bf16: code_.vbcstnebf162ps(v, code_.word[from]); break;
        case Dot::wide_f16: code_.vbcstnesh2ps(v, code_.word[from]); break;
        default: code_.vbroadcastss(v, code_.dword[from]); break;
    }
}

// a += weight * pixel, for each lane's dot group. `product`: a register for what has no fused addition.
void DenseBody::emit_multiply(const Vec& a, const Vec& weight, const Xbyak::Operand& pixel, int product) {
    const bool evex = context_.simd.avx512();
    switch (context_.plan.dot) {
        case Dot::f32:
        case Dot::wide_bf16:
        case Dot::wide_f16: code_.vfmadd231ps(a, weight, pixel); break;
        case Dot::bf16: code_.vdpbf16ps(a, weight, pixel); break;
        case Dot::f16: code_.vfmadd231ph(a, weight, pixel); break;
        case Dot::int8:
            code_.vpdpbusd(a, Simd::like(a, pixel.getIdx()), weight,
                           evex ? Xbyak::EvexEncoding : Xbyak::VexEncoding);
            break;
        case Dot::signed_int8: code_.vpdpbssd(a, Simd::like(a, pixel.getIdx()), weight); break;
        case Dot::int16: {
            const Vec sum = Simd::like(a, product);
            code_.vpmaddwd(sum, weight, pixel);
            code_.vpaddd(a, a, sum);
            break;
        }
        case Dot::amx_bf16:
        case Dot::amx_int8:
        case Dot::amx_x3:
        case Dot::amx_x6:
        case Dot::amx_f16: break;  // jit/amx_dense.cpp
    }
}

// Of a dot group in one kernel row.
std::int64_t DenseBody::fmas(const Block& block) const {
    return sums(block).columns() * sums(block).vectors() * context_.stage->conv.kernel.w;
}

int DenseBody::unroll(const Block& block) const {
    const std::int64_t per_group = dot_channels(context_.plan.dot);
    const std::int64_t groups = ceil_div(block.pass.channels, per_group);
    int chunk = 16;
    if (context_.in.block < context_.stage->in_channels)
        chunk = static_cast<int>(std::min<std::int64_t>(chunk, context_.in.block / per_group));
    while (chunk > 1 && (chunk * fmas(block) > unrolled_fmas || chunk > groups))
        chunk /= 2;
    return chunk;
}

Xbyak::RegExp DenseBody::pixel_address(std::int64_t pixel, int kw, int group) const {
    const Conv& conv = context_.stage->conv;
    const std::int64_t column = pixel * conv.stride.w + kw * conv.dilation.w;
    const Gpr input = input_;
    const std::int64_t in_pixel =
        context_.in.pairs ? context_.in.dot_group(group) : group * dot_group_bytes(context_.plan.dot);
    const std::int64_t at = column * context_.in.pixel + in_pixel - column_bias(context_);
    return at < 0 ? input - static_cast<std::size_t>(-at) : input + static_cast<std::size_t>(at);
}

}  // namespace tandem::jit
