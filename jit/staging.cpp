#include "jit/staging.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace tandem::jit {
namespace {

constexpr std::array temps{2, 3};  // vector registers; 0 and 1 hold the elements
constexpr std::int64_t unrolled_pixels = 4;

}  // namespace

Staging::Staging(CodeBlock& code, const Problem& problem, const Plan& plan, const PanelLayout& panel,
                 const Gpr& args)
    : code_(code), simd_{code, plan.isa, vector_lanes(plan.isa, problem.layout)}, dtype_(problem.dtype),
      to_(source_element(problem, plan, 0)), channels_(problem.stage(0).in_channels),
      source_(input_strides(problem)), buffer_(staging_buffer(problem, plan)),
      zero_offset_(panel.input_zero_offset()), args_(args), gprs_(RegPool::general_purpose()),
      own_args_(gprs_.lease("arguments")), rows_(gprs_.lease("input rows")),
      staged_(gprs_.lease("staged rows")), row_(gprs_.lease("input row")), copy_(gprs_.lease("staged row")),
      from_(gprs_.lease("input pixel")), at_(gprs_.lease("staged pixel")), panel_(gprs_.lease("panel")),
      count_(gprs_.lease("pixel loop")) {}

void Staging::emit_tile(const StageTile& tile) {
    const Gpr rows = rows_, staged = staged_, panel = panel_;
    code_.note(fmt::format("first: {} input rows of {} pixels from {} to its dot instruction's operands",
                           tile.in_rows.size(), tile.in_columns.size(), to_string(dtype_)));
    code_.mov(rows, code_.ptr[args_ + offsetof(TileArgs, source_rows)]);
    code_.mov(staged, code_.ptr[args_ + offsetof(TileArgs, staged_rows)]);
    if (is_quantized(dtype_)) code_.mov(panel, code_.ptr[args_ + panel_offset(0)]);
    if (simd_.avx512()) simd_.set_opmask({static_cast<int>(channels_ % simd_.lanes), input_mask}, count_);
    const Span columns = tile.in_columns;
    Label& row = routines_.get(fmt::format("{}-{}", columns.begin, columns.end),
                               [this, columns] { emit_row(columns); });
    emit_loop(code_, code_.qword[args_ + local_offset(Local::rows)], tile.in_rows.size(), [&] {
        code_.call(row);
        emit_add(code_, rows, 8);
        emit_add(code_, staged, 8);
    });
}

void Staging::emit_row(const Span& columns) {
    code_.note(fmt::format("first: staging of a row, columns {}-{}", columns.begin, columns.end));
    const Gpr row = row_, copy = copy_;
    code_.mov(row, code_.ptr[rows_.operator Gpr()]);
    code_.mov(copy, code_.ptr[staged_.operator Gpr()]);
    emit_add(code_, row, columns.begin * source_.pixel);
    emit_add(code_, copy, columns.begin * buffer_.strides.pixel);
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

// Register v = the elements of a pixel, as numbers that `to_` can hold.
void Staging::emit_elements(const Vec& v, std::int64_t pixel, int lanes) {
    const Gpr from = from_, panel = panel_;
    emit_load(simd_, element_of(dtype_), v, code_.ptr[from + static_cast<std::size_t>(pixel * source_.pixel)],
              {lanes, input_mask});
    if (is_quantized(dtype_) && loses_zero_point(to_))
        code_.vsubps(v, v, code_.ptr[panel + static_cast<std::size_t>(zero_offset_)]);
    if (stored_bias(dtype_, to_) != 0)
        code_.vaddps(v, v, code_.constant(static_cast<float>(stored_bias(dtype_, to_))));
}

Address Staging::copy_of(std::int64_t pixel) const {
    const Gpr at = at_;
    return code_.ptr[at + static_cast<std::size_t>(pixel * buffer_.strides.pixel)];
}

void Staging::emit_pixel(std::int64_t pixel, int lanes) {
    const Vec v = simd_.vec(0);
    emit_elements(v, pixel, lanes);
    if (element_parts(to_) > 1)
        emit_store_parts(simd_, to_, copy_of(pixel), buffer_.strides.part, v, temps);
    else
        emit_store(simd_, to_, copy_of(pixel), v, {}, temps);
}

void Staging::emit_pixel_pair(std::int64_t pixel, int lanes) {
    const Vec first = simd_.vec(0), second = simd_.vec(1);
    emit_elements(first, pixel, lanes);
    emit_elements(second, pixel + 1, lanes);
    emit_store_pair(simd_, to_, {copy_of(pixel), copy_of(pixel + 1), buffer_.strides.part}, first, second,
                    temps);
}

}  // namespace tandem::jit
