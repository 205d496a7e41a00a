#include "jit/staging.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace tandem::jit {
namespace {

constexpr std::array temps{2, 3};  // vector registers; 0 and 1 hold the elements
constexpr int factor = 4, avx2_mask = 15;
constexpr std::int64_t unrolled_pixels = 4;

}  // namespace

Staging::Staging(CodeBlock& code, const Problem& problem, const Plan& plan, const PanelLayout& panel,
                 const Gpr& args)
    : code_(code), simd_{code, plan.isa, vector_lanes(plan.isa, problem.layout)}, dtype_(problem.dtype),
      to_(source_element(problem, plan, 0)), planes_(problem.reads_planes(0)),
      channels_(problem.stage(0).in_channels), source_(input_strides(problem)),
      buffer_(staging_buffer(problem, plan)), zero_offset_(panel.input_zero_offset()), args_(args),
      factors_(problem.input.factors), gprs_(RegPool::general_purpose()), own_args_(gprs_.lease("arguments")),
      rows_(gprs_.lease("input rows")), staged_(gprs_.lease("staged rows")), row_(gprs_.lease("input row")),
      copy_(gprs_.lease("staged row")), from_(gprs_.lease("input pixel")), at_(gprs_.lease("staged pixel")),
      panel_(gprs_.lease("panel")), count_(gprs_.lease("pixel loop")), factor_(gprs_.lease("factors")) {}

// Which lanes of a vector exist; 0: all.
Simd::Lanes Staging::some(int lanes) const { return {lanes, simd_.avx512() ? input_mask : avx2_mask}; }

void Staging::emit_tile(const StageTile& tile) {
    if (tile.in_rows.size() == 0 || tile.in_columns.size() == 0) return;
    const Gpr rows = rows_, staged = staged_, panel = panel_;
    code_.note(fmt::format("first: {} input rows of {} pixels from {} to its dot instruction's operands",
                           tile.in_rows.size(), tile.in_columns.size(), to_string(dtype_)));
    code_.mov(rows, code_.ptr[args_ + offsetof(TileArgs, source_rows)]);
    code_.mov(staged, code_.ptr[args_ + offsetof(TileArgs, staged_rows)]);
    if (is_quantized(dtype_)) code_.mov(panel, code_.ptr[args_ + panel_offset(0)]);
    const Span columns = tile.in_columns;
    const Simd::Lanes tail = some(static_cast<int>((planes_ ? columns.size() : channels_) % simd_.lanes));
    if (simd_.avx512())
        simd_.set_opmask(tail, count_);
    else if (factors_ || planes_)
        simd_.load_mask(tail);
    Label& row = routines_.get(fmt::format("{}-{}", columns.begin, columns.end), [this, columns] {
        code_.note(fmt::format("first: staging of a row, columns {}-{}", columns.begin, columns.end));
        emit_pointers(columns);
        planes_ ? emit_planes(columns) : emit_row(columns);
    });
    emit_loop(code_, code_.qword[args_ + local_offset(Local::rows)], tile.in_rows.size(), [&] {
        code_.call(row);
        emit_add(code_, rows, 8);
        emit_add(code_, staged, 8);
    });
}

// To the row's first pixel, in the source and in the copy.
void Staging::emit_pointers(const Span& columns) {
    const Gpr row = row_, copy = copy_;
    code_.mov(row, code_.ptr[rows_.operator Gpr()]);
    code_.mov(copy, code_.ptr[staged_.operator Gpr()]);
    if (factors_) code_.mov(factor_, code_.ptr[args_ + offsetof(TileArgs, factors)]);
    emit_add(code_, row, columns.begin * source_.pixel);
    emit_add(code_, copy, columns.begin * buffer_.strides.pixel);
}

// The row of every plane of dot groups.
void Staging::emit_planes(const Span& columns) {
    const Gpr from = from_, at = at_, row = row_, copy = copy_;
    const std::int64_t lanes = simd_.lanes;
    for (std::int64_t first = 0; first < channels_; first += buffer_.strides.block) {
        code_.lea(from, code_.ptr[row + static_cast<std::size_t>(source_.channel(first))]);
        code_.lea(at, code_.ptr[copy + static_cast<std::size_t>(buffer_.strides.channel(first))]);
        emit_loop(code_, count_.operator Gpr(), columns.size() / lanes, [&] {
            emit_groups(first, 0);
            emit_add(code_, from, lanes * source_.pixel);
            emit_add(code_, at, lanes * buffer_.strides.pixel);
        });
        if (columns.size() % lanes > 0) emit_groups(first, static_cast<int>(columns.size() % lanes));
    }
}

// A vector of pixels' dot groups that begin with channel `first`.
void Staging::emit_groups(std::int64_t first, int lanes) {
    const Gpr from = from_, at = at_;
    const Vec groups = simd_.vec(0);
    const std::int64_t channels = std::min(buffer_.strides.block, channels_ - first);
    for (std::int64_t c = 0; c < channels; ++c) {
        const Vec v = simd_.vec(c == 0 ? 0 : 1);
        if (factors_)
            code_.vbroadcastss(simd_.vec(factor),
                               code_.ptr[factor_.operator Gpr() + static_cast<std::size_t>((first + c) * 4)]);
        emit_elements(v, code_.ptr[from + static_cast<std::size_t>(source_.channel(c))], lanes);
        emit_bits(simd_, to_, v, temps);
        if (c == 0) continue;
        code_.vpslld(v, v, static_cast<std::uint8_t>(c * 8 * buffer_.strides.element));
        if (simd_.avx512())
            code_.vpord(groups, groups, v);
        else
            code_.vpor(groups, groups, v);
    }
    simd_.store(code_.ptr[at], groups, some(lanes));
}

// Every vector of channels of the row.
void Staging::emit_row(const Span& columns) {
    const Gpr row = row_, copy = copy_;
    // One turn of the loop takes as many vectors as make the same step in both, source and copy.
    const std::int64_t lanes = simd_.lanes,
                       per_turn =
                           std::max({std::int64_t{1}, source_.block < channels_ ? source_.block / lanes : 1,
                                     buffer_.strides.block / lanes});
    const std::int64_t full = channels_ / lanes, turns = full / per_turn;
    emit_loop(code_, code_.qword[args_ + local_offset(Local::channels)], turns, [&] {
        for (std::int64_t v = 0; v < per_turn; ++v)
            emit_vector(columns, v, 0);
        emit_add(code_, row, source_.channel(per_turn * lanes));
        emit_add(code_, copy, buffer_.strides.channel(per_turn * lanes));
        if (factors_) emit_add(code_, factor_, per_turn * simd_.bytes());
    });
    for (std::int64_t v = 0; v < full % per_turn; ++v)
        emit_vector(columns, v, 0);
    if (channels_ % lanes > 0) emit_vector(columns, full % per_turn, static_cast<int>(channels_ % lanes));
}

// A vector of channels of every pixel of the row.
void Staging::emit_vector(const Span& columns, std::int64_t vector, int lanes) {
    const Gpr from = from_, at = at_, row = row_, copy = copy_;
    const std::int64_t first = vector * simd_.lanes;
    code_.lea(from, code_.ptr[row + static_cast<std::size_t>(source_.channel(first))]);
    code_.lea(at, code_.ptr[copy + static_cast<std::size_t>(buffer_.strides.channel(first))]);
    if (factors_)
        simd_.load(simd_.vec(factor), code_.ptr[factor_.operator Gpr() + static_cast<std::size_t>(first * 4)],
                   some(lanes));
    const auto pixels = [&](std::int64_t count) {
        const bool pairs = stores_pairs(simd_, to_);
        for (std::int64_t p = 0; p < count; ++p) {
            if (pairs && p + 1 < count) {
                emit_pixel_pair(p, lanes);
                ++p;
            } else {
                emit_pixel(p, lanes);
            }
        }
        emit_add(code_, from, count * source_.pixel);
        emit_add(code_, at, count * buffer_.strides.pixel);
    };
    emit_loop(code_, count_.operator Gpr(), columns.size() / unrolled_pixels,
              [&] { pixels(unrolled_pixels); });
    if (columns.size() % unrolled_pixels > 0) pixels(columns.size() % unrolled_pixels);
}

// Register v = the elements at `from`, as numbers that `to_` can hold.
void Staging::emit_elements(const Vec& v, const Address& from, int lanes) {
    const Gpr panel = panel_;
    emit_load(simd_, element_of(dtype_), v, from, some(lanes));
    if (factors_) {
        code_.vmulps(v, v, simd_.vec(factor));
        if (element_of(dtype_) != to_ && dtype_ != DataType::f32)
            emit_round(simd_, element_of(dtype_), v, temps);  // else the store rounds
    }
    if (is_quantized(dtype_) && loses_zero_point(to_))
        code_.vsubps(v, v, code_.ptr[panel + static_cast<std::size_t>(zero_offset_)]);
    if (stored_bias(dtype_, to_) != 0)
        code_.vaddps(v, v, code_.constant(static_cast<float>(stored_bias(dtype_, to_))));
}

Address Staging::pixel_at(std::int64_t pixel) const {
    const Gpr from = from_;
    return code_.ptr[from + static_cast<std::size_t>(pixel * source_.pixel)];
}

Address Staging::copy_of(std::int64_t pixel) const {
    const Gpr at = at_;
    return code_.ptr[at + static_cast<std::size_t>(pixel * buffer_.strides.pixel)];
}

void Staging::emit_pixel(std::int64_t pixel, int lanes) {
    const Vec v = simd_.vec(0);
    emit_elements(v, pixel_at(pixel), lanes);
    if (element_parts(to_) > 1)
        emit_store_parts(simd_, to_, copy_of(pixel), buffer_.strides.part, v, temps);
    else
        emit_store(simd_, to_, copy_of(pixel), v, {}, temps);
}

void Staging::emit_pixel_pair(std::int64_t pixel, int lanes) {
    const Vec first = simd_.vec(0), second = simd_.vec(1);
    emit_elements(first, pixel_at(pixel), lanes);
    emit_elements(second, pixel_at(pixel + 1), lanes);
    emit_store_pair(simd_, to_, {copy_of(pixel), copy_of(pixel + 1), buffer_.strides.part}, first, second,
                    temps);
}

}  // namespace tandem::jit
