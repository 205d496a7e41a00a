#include "jit/output_planes.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace tandem::jit {
namespace {

constexpr std::int64_t channels_at_once = 16;  // planes that are written side by side
constexpr std::int64_t lane_dwords = 4;
constexpr int shifted = 8, temp = 9, avx2_mask = 15;  // vector registers; 0 to 7 transpose

}  // namespace

OutputPlanes::OutputPlanes(CodeBlock& code, const Problem& problem, const Plan& plan, const Gpr& args)
    : code_(code), simd_{code, plan.isa, vector_lanes(plan.isa, problem.layout)},
      from_(written_strides(problem, plan)), to_(output_strides(problem)), args_(args),
      gprs_(RegPool::general_purpose()), own_args_(gprs_.lease("arguments")), rows_(gprs_.lease("rows")),
      plane_rows_(gprs_.lease("rows of the tensor")), pixel_(gprs_.lease("pixel")),
      plane_(gprs_.lease("pixel of the plane")), channel_(gprs_.lease("channel")),
      first_plane_(gprs_.lease("channel's plane")), count_(gprs_.lease("pixel loop")) {}

void OutputPlanes::emit_tile(const StageTile& tile, const Span& channels) {
    if (tile.taps.empty() || tile.segment.width == 0) return;
    const Gpr channel = channel_, plane = first_plane_;
    code_.note(fmt::format("output: {} rows of {} pixels to planes, channels {}-{}", tile.taps.size(),
                           tile.segment.width, channels.begin, channels.end));
    const Simd::Lanes tail{static_cast<int>(tile.segment.width % simd_.lanes),
                           simd_.avx512() ? output_mask : avx2_mask};
    if (simd_.avx512())
        simd_.set_opmask(tail, count_);
    else
        simd_.load_mask(tail);
    code_.mov(channel, immediate(from_.channel(channels.begin)));
    code_.mov(plane, immediate(to_.channel(channels.begin)));
    emit_loop(code_, code_.qword[args_ + local_offset(Local::groups)], channels.size() / channels_at_once,
              [&] {
                  emit_rows(tile, channels_at_once);
                  if (channels.size() == channels_at_once) return;  // the step may exceed an immediate
                  emit_add(code_, channel, from_.channel(channels_at_once));
                  emit_add(code_, plane, to_.channel(channels_at_once));
              });
    if (channels.size() % channels_at_once > 0) emit_rows(tile, channels.size() % channels_at_once);
}

void OutputPlanes::emit_rows(const StageTile& tile, std::int64_t channels) {
    const Gpr rows = rows_, plane_rows = plane_rows_, pixel = pixel_, plane = plane_;
    const std::int64_t width = tile.segment.width;
    code_.mov(rows, code_.ptr[args_ + offsetof(TileArgs, output_rows)]);
    code_.mov(plane_rows, code_.ptr[args_ + offsetof(TileArgs, plane_rows)]);
    Label& row = routines_.get(fmt::format("{} planes {}", channels, width),
                               [this, channels, width] { emit_row(channels, width); });
    emit_loop(code_, code_.qword[args_ + local_offset(Local::rows)], std::ssize(tile.taps), [&] {
        code_.mov(pixel, code_.ptr[rows]);
        code_.add(pixel, channel_);
        code_.mov(plane, code_.ptr[plane_rows]);
        code_.add(plane, first_plane_);
        code_.call(row);
        emit_add(code_, rows, 8);
        emit_add(code_, plane_rows, 8);
    });
}

void OutputPlanes::emit_row(std::int64_t channels, std::int64_t width) {
    code_.note(fmt::format("output: {} pixels to {} planes", width, channels));
    emit_loop(code_, count_.operator Gpr(), width / simd_.lanes, [&] {
        emit_pixels(channels, simd_.lanes);
        emit_add(code_, pixel_, simd_.lanes * from_.pixel);
        emit_add(code_, plane_, simd_.lanes * to_.pixel);
    });
    if (width % simd_.lanes > 0) emit_pixels(channels, width % simd_.lanes);
}

// A vector of pixels, of which `pixels` exist.
void OutputPlanes::emit_pixels(std::int64_t channels, std::int64_t pixels) {
    const std::int64_t piece = plane_piece / from_.element;
    for (std::int64_t first = 0; first < channels; first += piece) {
        emit_transposed(first, pixels);
        emit_stores(first, std::min(piece, channels - first), pixels);
    }
}

// Registers 0 to 3 = the dwords of all pixels that begin with channel `first`. What pixels that do not exist
// leave in their lanes is not stored.
void OutputPlanes::emit_transposed(std::int64_t first, std::int64_t pixels) {
    const Gpr pixel = pixel_;
    const auto at = [&](std::int64_t p) {
        return code_.ptr[pixel + static_cast<std::size_t>(p * from_.pixel + from_.channel(first))];
    };
    for (std::int64_t p = 0; p < pixels; ++p) {
        const Vec v = simd_.vec(static_cast<int>(p % lane_dwords));
        const auto lane = static_cast<std::uint8_t>(p / lane_dwords);
        if (lane == 0)
            code_.vmovups(Xbyak::Xmm(v.getIdx()), at(p));
        else if (v.isZMM())
            code_.vinsertf32x4(Xbyak::Zmm(v.getIdx()), Xbyak::Zmm(v.getIdx()), at(p), lane);
        else
            code_.vinsertf128(Xbyak::Ymm(v.getIdx()), Xbyak::Ymm(v.getIdx()), at(p), lane);
    }
    const auto v = [&](int index) {
        return simd_.vec(index);
    };
    code_.vunpcklps(v(4), v(0), v(1));
    code_.vunpckhps(v(5), v(0), v(1));
    code_.vunpcklps(v(6), v(2), v(3));
    code_.vunpckhps(v(7), v(2), v(3));
    code_.vunpcklpd(v(0), v(4), v(6));
    code_.vunpckhpd(v(1), v(4), v(6));
    code_.vunpcklpd(v(2), v(5), v(7));
    code_.vunpckhpd(v(3), v(5), v(7));
}

// The channels of the dwords, each to its plane.
void OutputPlanes::emit_stores(std::int64_t first, std::int64_t channels, std::int64_t pixels) {
    const Gpr plane = plane_;
    const std::int64_t per_dword = 4 / from_.element;
    const Simd::Lanes lanes{static_cast<int>(pixels % simd_.lanes), simd_.avx512() ? output_mask : avx2_mask};
    for (std::int64_t c = 0; c < channels; ++c) {
        const std::int64_t part = c % per_dword;
        const Vec dwords = simd_.vec(static_cast<int>(c / per_dword));
        const Vec v = part == 0 ? dwords : simd_.vec(shifted);
        if (part > 0) code_.vpsrld(v, dwords, static_cast<std::uint8_t>(part * 8 * from_.element));
        emit_store_bits(simd_, from_.element,
                        code_.ptr[plane + static_cast<std::size_t>(to_.channel(first + c))], v, lanes, temp);
    }
}

}  // namespace tandem::jit
