#include "jit/winograd.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "core/plan/ceil_div.hpp"

namespace tandem::jit {
namespace {

constexpr int mask_vector = 15;  // of input lanes on AVX2; the transforms leave it free

StageContext gemm_context(const StageContext& stage, const WinogradLayout& layout, const Stage* gemm) {
    StageContext context = stage;
    context.stage = gemm;
    context.panel_at = panel_offset(max_stages);
    context.panel = layout.gemm;
    context.in = layout.inputs;
    context.out = layout.products;
    context.in_element = context.out_element = Element::f32;
    context.out_dtype = DataType::f32;
    context.tail_store = TailStore::anything;
    context.source_rows = offsetof(TileArgs, gemm_sources);
    context.output_rows = offsetof(TileArgs, gemm_outputs);
    // All points' weights together exceed L2 and come from further out: while some are in use others are
    // fetched, at most those of the next point.
    context.weights_ahead = std::min<std::int64_t>(stage.plan.weights_ahead, layout.gemm.bytes);
    return context;
}

}  // namespace

WinogradBody::WinogradBody(StageContext context, const WinogradLayout& layout, const Gpr& args)
    : context_(std::move(context)), layout_(layout), code_(context_.simd.code), args_(args),
      gemm_stage_(winograd_gemm_stage(*context_.stage, layout.tiles)),
      gemm_registers_(RegPool::general_purpose()), gemm_args_(gemm_registers_.lease("arguments")),
      gemm_(std::make_unique<DenseBody>(gemm_context(context_, layout_, &gemm_stage_), args, gemm_registers_,
                                        InputPrefetch{})),
      registers_(RegPool::general_purpose()), own_args_(registers_.lease("arguments")),
      table_(registers_.lease("row table")), channel_(registers_.lease("channel offset")),
      panel_(registers_.lease("channel panel")), epilogue_(context_, layout_.post_ops, panel_),
      data_(registers_.lease("workspace")), temporary_(registers_.lease("temporary tile")) {
    const std::int64_t pointers =
        std::max<std::int64_t>(layout_.alpha, layout_.m * (epilogue_.has_sum() ? 2 : 1));
    for (std::int64_t i = 0; i < pointers; ++i)
        rows_.push_back(registers_.lease(fmt::format("row {}", i)));
}

void WinogradBody::emit_tile(const StageTile& tile, std::span<const GroupRun>, std::int64_t first_row) {
    if (tile.rows.size() <= 0 || tile.cols.size() <= 0) return;
    emit_input_transforms(tile);
    emit_gemms(tile.grid_rows.size() / layout_.m * ceil_div(tile.cols.size(), layout_.m));
    emit_output_transforms(tile, first_row);
}

void WinogradBody::emit_routines(CodeBlock& code) {
    routines_.emit_pending(code);
    gemm_->emit_routines(code);
}

// Input row `r` of a phase's tile, in the image.
std::int64_t WinogradBody::input_row(const StageTile& tile, std::int64_t tile_row, std::int64_t phase,
                                     std::int64_t r) const {
    return row_axis(*context_.stage).first_tap(tile.grid_rows.begin + tile_row * layout_.m) +
           r * layout_.phases.stride + layout_.phases.row(phase);
}

// Those of them that taps meet and that lie inside the image.
Span WinogradBody::existing_rows(const StageTile& tile, std::int64_t tile_row, std::int64_t phase) const {
    Span rows{0, layout_.phases.used(layout_.m, layout_.phases.row(phase))};
    while (rows.size() > 0 && input_row(tile, tile_row, phase, rows.begin) < 0)
        ++rows.begin;
    while (rows.size() > 0 && input_row(tile, tile_row, phase, rows.end - 1) >= context_.stage->in_h)
        --rows.end;
    return rows;
}

std::vector<WinogradBody::TileRun> WinogradBody::input_runs(const StageTile& tile, std::int64_t phase) const {
    const std::int64_t stride = layout_.phases.stride, first = layout_.phases.column(phase);
    std::vector<TileRun> runs;
    for (std::int64_t x = 0; x < tile.cols.size(); x += layout_.m) {
        Span columns{0, layout_.phases.used(layout_.m, first)};
        while (columns.size() > 0 && (x + columns.begin) * stride + first < tile.segment.columns.begin)
            ++columns.begin;
        while (columns.size() > 0 && (x + columns.end - 1) * stride + first >= tile.segment.columns.end)
            --columns.end;
        if (runs.empty() || runs.back().columns != columns) runs.push_back({0, columns});
        ++runs.back().count;
    }
    return runs;
}

std::vector<WinogradBody::TileRun> WinogradBody::output_runs(const StageTile& tile) const {
    const std::int64_t whole = tile.cols.size() / layout_.m, rest = tile.cols.size() % layout_.m;
    std::vector<TileRun> runs;
    if (whole > 0) runs.push_back({whole, {0, layout_.m}});
    if (rest > 0) runs.push_back({1, {0, rest}});
    return runs;
}

void WinogradBody::emit_input_transforms(const StageTile& tile) {
    const Gpr table = table_, temporary = temporary_, scratch = channel_;
    code_.note(fmt::format("{}: Winograd F({}x{},3x3), input transform of {} rows of tiles", context_.name(),
                           layout_.m, layout_.m, tile.grid_rows.size() / layout_.m));
    code_.mov(table, code_.ptr[args_ + context_.source_rows]);
    code_.mov(temporary, code_.ptr[args_ + offsetof(TileArgs, workspace)]);
    emit_add(code_, temporary, layout_.temporary_offset);
    const std::int64_t lanes = context_.simd.lanes, channels = context_.stage->in_channels;
    const bool exact_tail =
        context_.in.block >= channels && channels % lanes != 0;  // NHWC: the last vector must not overrun
    const int tail = exact_tail ? static_cast<int>(channels % lanes) : 0;
    if (context_.simd.avx512())
        context_.simd.set_opmask({tail, input_mask}, scratch);
    else
        context_.simd.load_mask({tail, mask_vector});
    const std::int64_t vectors = ceil_div(channels, lanes) - (exact_tail ? 1 : 0);
    for (std::int64_t row = 0; row < tile.grid_rows.size() / layout_.m; ++row) {
        for (std::int64_t phase = 0; phase < layout_.phases.count(); ++phase) {
            if (vectors > 0) emit_input_row(tile, {row, phase, 0, vectors, 0});
            if (exact_tail) emit_input_row(tile, {row, phase, vectors, 1, tail});
        }
    }
}

void WinogradBody::emit_input_row(const StageTile& tile, const InputRow& row) {
    const Gpr table = table_, channel = channel_, data = data_;
    const std::int64_t lanes = context_.simd.lanes, stride = layout_.phases.stride,
                       column_phase = layout_.phases.column(row.phase);
    const Span rows = existing_rows(tile, row.tile_row, row.phase);
    const std::int64_t vector_stride = context_.stage->in_channels > lanes ? context_.in.channel(lanes) : 0;
    const std::int64_t columns = ceil_div(tile.cols.size(), layout_.m),
                       block = row.phase * ceil_div(context_.stage->in_channels, lanes) + row.first_vector;
    code_.mov(data, code_.ptr[args_ + offsetof(TileArgs, workspace)]);
    emit_add(code_, data,
             block * layout_.inputs.block_stride + row.tile_row * columns * layout_.inputs.pixel);
    code_.mov(channel, row.first_vector * vector_stride + tile.shift * context_.in.pixel);
    emit_loop(code_, local(Local::groups), row.vectors, [&] {
        for (std::int64_t r = rows.begin; r < rows.end; ++r) {
            const Gpr pointer = rows_[static_cast<std::size_t>(r)];
            code_.mov(pointer,
                      code_.ptr[table +
                                static_cast<std::size_t>(
                                    (input_row(tile, row.tile_row, row.phase, r) - tile.in_rows.begin) * 8)]);
            code_.add(pointer, channel);
        }
        for (const TileRun& run : input_runs(tile, row.phase)) {
            const std::string key =
                fmt::format("in {}-{} {}-{} p{} t{}", rows.begin, rows.end, run.columns.begin,
                            run.columns.end, column_phase, row.tail_lanes);
            emit_loop(code_, local(Local::blocks), run.count, [&] {
                code_.call(routines_.get(key, [=, this, tail = row.tail_lanes] {
                    emit_input_tile(rows, run.columns, column_phase, tail);
                }));
                for (std::int64_t r = rows.begin; r < rows.end; ++r)
                    emit_add(code_, rows_[static_cast<std::size_t>(r)],
                             layout_.m * stride * context_.in.pixel);
                emit_add(code_, data, layout_.inputs.pixel);
            });
        }
        emit_add(code_, data, layout_.inputs.block_stride - columns * layout_.inputs.pixel);
        emit_add(code_, channel, vector_stride);
    });
}

// B^T d B of one tile and channel vector.
void WinogradBody::emit_input_tile(const Span& rows, const Span& columns, std::int64_t column_phase,
                                   int tail_lanes) {
    const Simd& simd = context_.simd;
    const Gpr data = data_;
    const Simd::Lanes lanes{tail_lanes, simd.avx512() ? input_mask : mask_vector};
    code_.note(fmt::format("{}: Winograd input tile, rows {}-{}, columns {}-{}", context_.name(), rows.begin,
                           rows.end, columns.begin, columns.end));
    for (std::int64_t j = columns.begin; j < columns.end; ++j) {
        const std::int64_t column = j * layout_.phases.stride + column_phase;
        for (std::int64_t i = 0; i < layout_.alpha; ++i) {
            if (i < rows.begin || i >= rows.end) {
                simd.zero(reg(false, i));
            } else {
                const Gpr row = rows_[static_cast<std::size_t>(i)];
                emit_load(simd, context_.in_element, reg(false, i),
                          code_.ptr[row + static_cast<std::size_t>(column * context_.in.pixel)], lanes);
            }
        }
        emit_input_1d(false);
        for (std::int64_t i = 0; i < layout_.alpha; ++i)
            code_.vmovaps(temporary(i, j), reg(false, layout_.alpha + i));
    }
    for (std::int64_t i = 0; i < layout_.alpha; ++i) {
        for (std::int64_t j = 0; j < layout_.alpha; ++j) {
            if (j < columns.begin || j >= columns.end) {
                simd.zero(reg(false, j));
            } else {
                code_.vmovaps(reg(false, j), temporary(i, j));
            }
        }
        emit_input_1d(false);
        for (std::int64_t j = 0; j < layout_.alpha; ++j)
            code_.vmovups(
                code_.ptr[data + static_cast<std::size_t>((i * layout_.alpha + j) * layout_.inputs.row)],
                reg(false, layout_.alpha + j));
    }
}

void WinogradBody::emit_gemms(std::int64_t tiles) {
    const Gpr scratch = data_;
    const auto field = [&](std::size_t offset) {
        return code_.qword[args_ + offset];
    };
    code_.note(
        fmt::format("{}: Winograd products, {} points, {} tiles", context_.name(), layout_.points, tiles));
    code_.mov(scratch, field(offsetof(TileArgs, workspace)));
    code_.mov(field(offsetof(TileArgs, gemm_source)), scratch);
    emit_add(code_, scratch, layout_.products_offset);
    code_.mov(field(offsetof(TileArgs, gemm_output)), scratch);
    code_.mov(scratch, field(context_.panel_at));
    emit_add(code_, scratch, layout_.gemm_offset);
    code_.mov(field(panel_offset(max_stages)), scratch);
    StageTile gemm;
    gemm.rows = gemm.grid_rows = gemm.in_rows = {0, 1};
    gemm.cols = {0, tiles};
    gemm.segment = {tiles, {0, tiles}};
    gemm.taps = {{0, 1}};
    emit_loop(code_, local(Local::points), layout_.points, [&] {
        gemm_->emit_tile(gemm, layout_.gemm.runs, 0);
        code_.add(field(offsetof(TileArgs, gemm_source)), immediate(layout_.inputs.row));
        code_.add(field(offsetof(TileArgs, gemm_output)), immediate(layout_.products.row));
        code_.add(field(panel_offset(max_stages)), immediate(layout_.gemm.bytes));
    });
}

void WinogradBody::emit_output_transforms(const StageTile& tile, std::int64_t first_row) {
    const Gpr panel = panel_, temporary = temporary_, channel = channel_;
    code_.note(fmt::format("{}: Winograd output transform", context_.name()));
    code_.mov(temporary, code_.ptr[args_ + offsetof(TileArgs, workspace)]);
    emit_add(code_, temporary, layout_.temporary_offset);
    code_.mov(panel, code_.ptr[args_ + context_.panel_at]);
    code_.mov(channel,
              code_.ptr[args_ + offsetof(TileArgs, workspace)]);  // products of the current output vector
    emit_add(code_, channel, layout_.products_offset);
    for (const GroupRun& run : layout_.post_ops.runs) {
        epilogue_.emit_opmasks(run, data_);
        emit_loop(code_, local(Local::groups), run.count, [&] {
            for (std::int64_t row = 0; row < tile.grid_rows.size() / layout_.m; ++row)
                emit_output_row(tile, run, row, first_row);
            emit_add(code_, panel, layout_.post_ops.group_bytes(run));
            emit_add(code_, channel, layout_.products.block_stride);
        });
    }
}

void WinogradBody::emit_output_row(const StageTile& tile, const GroupRun& run, std::int64_t tile_row,
                                   std::int64_t first_row) {
    const Gpr table = table_, panel = panel_, data = data_, channel = channel_;
    const std::int64_t begin = tile.grid_rows.begin + tile_row * layout_.m,
                       columns = ceil_div(tile.cols.size(), layout_.m);
    const Span rows{std::clamp<std::int64_t>(tile.rows.begin - begin, 0, layout_.m),
                    std::clamp<std::int64_t>(tile.rows.end - begin, 0, layout_.m)};
    if (rows.size() <= 0) return;
    const auto pointer = [&](std::int64_t row, bool residual) -> Gpr {
        return rows_[static_cast<std::size_t>(row + (residual ? layout_.m : 0))];
    };
    const auto point = [&](bool residual, std::size_t table_offset, std::int64_t table_row,
                           std::size_t header) {
        code_.mov(table, code_.ptr[args_ + table_offset]);
        for (std::int64_t r = rows.begin; r < rows.end; ++r) {
            code_.mov(
                pointer(r, residual),
                code_.ptr[table + static_cast<std::size_t>((begin + r - tile.rows.begin + table_row) * 8)]);
            code_.add(pointer(r, residual), code_.ptr[panel + header]);
        }
    };
    point(false, context_.output_rows, first_row, offsetof(GroupHeader, output));
    if (epilogue_.has_sum()) point(true, residual_offset(context_.index), 0, offsetof(GroupHeader, residual));
    code_.lea(data,
              code_.ptr[channel + static_cast<std::size_t>(tile_row * columns * layout_.products.pixel)]);
    for (const TileRun& tiles : output_runs(tile)) {
        const std::string key =
            fmt::format("out {}-{} {}-{} t{} r{}.{}", rows.begin, rows.end, tiles.columns.begin,
                        tiles.columns.end, run.tail_lanes, run.residual_vectors, run.residual_tail_lanes);
        emit_loop(code_, local(Local::blocks), tiles.count, [&] {
            code_.call(routines_.get(key, [=, this] { emit_output_tile(run, rows, tiles.columns); }));
            for (std::int64_t r = rows.begin; r < rows.end; ++r) {
                emit_add(code_, pointer(r, false), layout_.m * context_.out.pixel);
                if (epilogue_.has_sum())
                    emit_add(code_, pointer(r, true), layout_.m * context_.residual.pixel);
            }
            emit_add(code_, data, layout_.products.pixel);
        });
    }
}

// A^T m A of one tile and output vector, bias and post-ops.
void WinogradBody::emit_output_tile(const GroupRun& run, const Span& rows, const Span& columns) {
    const Gpr data = data_;
    const bool half = context_.tail_vector(run.tail_lanes).half;
    code_.note(fmt::format("{}: Winograd output tile, rows {}-{}, columns {}-{} {}", context_.name(),
                           rows.begin, rows.end, columns.begin, columns.end, epilogue_.text()));
    for (std::int64_t j = 0; j < layout_.alpha; ++j) {
        for (std::int64_t i = 0; i < layout_.alpha; ++i)
            code_.vmovups(
                reg(half, i),
                code_.ptr[data + static_cast<std::size_t>((i * layout_.alpha + j) * layout_.products.row)]);
        emit_output_1d(half);
        for (std::int64_t i = rows.begin; i < rows.end; ++i)
            code_.vmovaps(temporary(i, j), reg(half, layout_.alpha + i));
    }
    for (std::int64_t i = rows.begin; i < rows.end; ++i) {
        for (std::int64_t j = 0; j < layout_.alpha; ++j)
            code_.vmovaps(reg(half, j), temporary(i, j));
        emit_output_1d(half);
        emit_output_line(run, i, columns);
    }
}

// From one row of a tile's outputs, in registers alpha..., to the tensor.
void WinogradBody::emit_output_line(const GroupRun& run, std::int64_t row, const Span& columns) {
    using Place = EpilogueBlock::Place;
    const bool half = context_.tail_vector(run.tail_lanes).half;
    const auto address = [&](std::int64_t pointer, std::int64_t step, std::int64_t pixel) {
        return Gpr(rows_[static_cast<std::size_t>(pointer)]) +
               static_cast<std::size_t>((columns.begin + pixel) * step);
    };
    EpilogueBlock epilogue{
        .group = run,
        .vectors = {0, 1},
        .rows = 1,
        .pixels = columns.size(),
        .acc = [&](const Place& at) { return reg(half, layout_.alpha + columns.begin + at.pixel); },
        .output = [&](const Place& at) { return address(row, context_.out.pixel, at.pixel); },
        .residual =
            [&](const Place& at) { return address(layout_.m + row, context_.residual.pixel, at.pixel); },
        .temps = {}};
    for (int i = 0; i < static_cast<int>(layout_.alpha); ++i)
        epilogue.temps.push_back(i);  // the 1-d transform's inputs are free again
    epilogue_.emit(epilogue);
}

// t = B^T d. With the points 0, +-a, +-b, infinity and ab = 1 the rows are sums and differences of an even
// and an odd part.
void WinogradBody::emit_input_1d(bool half) {
    const auto d = [&](std::int64_t i) {
        return reg(half, i);
    };
    const auto t = [&](std::int64_t i) {
        return reg(half, layout_.alpha + i);
    };
    if (layout_.phases.stride == 2) return emit_input_1d_strided(half);
    if (layout_.m == 2) {
        code_.vsubps(t(0), d(2), d(0));
        code_.vaddps(t(1), d(1), d(2));
        code_.vsubps(t(2), d(2), d(1));
        code_.vsubps(t(3), d(3), d(1));
        return;
    }
    static_assert(winograd_a * winograd_b == 1);
    constexpr double aa = winograd_a * winograd_a, bb = winograd_b * winograd_b;
    const auto constant = [&](double value) {
        return code_.constant(static_cast<float>(value));
    };
    code_.vaddps(t(0), d(0), d(4));
    code_.vfnmadd231ps(t(0), d(2), constant(aa + bb));
    code_.vaddps(t(5), d(1), d(5));
    code_.vfnmadd231ps(t(5), d(3), constant(aa + bb));
    // Even parts d4 - bb d2 and d4 - aa d2, odd parts d3 - bb d1 and d3 - aa d1; registers d(0) and d(5)
    // are free now.
    code_.vmovaps(t(1), d(4));
    code_.vfnmadd231ps(t(1), d(2), constant(bb));
    code_.vmovaps(d(0), d(3));
    code_.vfnmadd231ps(d(0), d(1), constant(bb));
    code_.vmovaps(t(2), t(1));
    code_.vfmadd231ps(t(1), d(0), constant(winograd_a));
    code_.vfnmadd231ps(t(2), d(0), constant(winograd_a));
    code_.vfnmadd231ps(d(4), d(2), constant(aa));
    code_.vfnmadd231ps(d(3), d(1), constant(aa));
    code_.vmovaps(t(3), d(4));
    code_.vmovaps(t(4), d(4));
    code_.vfmadd231ps(t(3), d(3), constant(winograd_b));
    code_.vfnmadd231ps(t(4), d(3), constant(winograd_b));
}

// y = A^T m.
void WinogradBody::emit_output_1d(bool half) {
    const auto m = [&](std::int64_t i) {
        return reg(half, i);
    };
    const auto y = [&](std::int64_t i) {
        return reg(half, layout_.alpha + i);
    };
    if (layout_.phases.stride == 2) return emit_output_1d_strided(half);
    if (layout_.m == 2) {
        code_.vaddps(y(0), m(0), m(1));
        code_.vaddps(y(0), y(0), m(2));
        code_.vsubps(y(1), m(1), m(2));
        code_.vaddps(y(1), y(1), m(3));
        return;
    }
    constexpr double a = winograd_a, b = winograd_b;
    const auto constant = [&](double value) {
        return code_.constant(static_cast<float>(value));
    };
    const Vec sum_a = reg(half, layout_.alpha + 4), sum_b = reg(half, layout_.alpha + 5);
    code_.vaddps(sum_a, m(1), m(2));
    code_.vsubps(m(1), m(1), m(2));  // difference at +-a
    code_.vaddps(sum_b, m(3), m(4));
    code_.vsubps(m(3), m(3), m(4));  // difference at +-b
    code_.vaddps(y(0), m(0), sum_a);
    code_.vaddps(y(0), y(0), sum_b);
    code_.vmulps(y(1), m(1), constant(a));
    code_.vfmadd231ps(y(1), m(3), constant(b));
    code_.vmulps(y(2), sum_a, constant(a * a));
    code_.vfmadd231ps(y(2), sum_b, constant(b * b));
    code_.vmovaps(y(3), m(5));
    code_.vfmadd231ps(y(3), m(1), constant(a * a * a));
    code_.vfmadd231ps(y(3), m(3), constant(b * b * b));
}

// t = B^T d for the points 0, +-1, 2, infinity:
//   [2 -1 -2 1 0], [0 -2 -1 1 0], [0 2 -3 1 0], [0 -1 0 1 0], [0 2 -1 -2 1]
void WinogradBody::emit_input_1d_strided(bool half) {
    static_assert(winograd_p == 2);
    const auto d = [&](std::int64_t i) {
        return reg(half, i);
    };
    const auto t = [&](std::int64_t i) {
        return reg(half, layout_.alpha + i);
    };
    const Address two = code_.constant(2);
    code_.vsubps(t(3), d(3), d(1));  // d3 - d1
    code_.vsubps(d(0), d(0), d(2));  // d0 - d2
    code_.vmovaps(t(0), t(3));
    code_.vfmadd231ps(t(0), d(0), two);
    code_.vsubps(t(1), t(3), d(1));  // d3 - 2 d1 - d2
    code_.vsubps(t(1), t(1), d(2));
    code_.vaddps(t(2), d(1), d(3));  // d3 + 2 d1 - 3 d2
    code_.vaddps(t(2), t(2), d(1));
    code_.vfnmadd231ps(t(2), d(2), code_.constant(3));
    code_.vsubps(t(4), d(4), d(2));  // d4 - d2 - 2 (d3 - d1)
    code_.vfnmadd231ps(t(4), t(3), two);
}

// y = A^T m for the same points: [1 1 1 1 0], [0 1 -1 2 0], [0 1 1 4 0], [0 1 -1 8 1]
void WinogradBody::emit_output_1d_strided(bool half) {
    const auto m = [&](std::int64_t i) {
        return reg(half, i);
    };
    const auto y = [&](std::int64_t i) {
        return reg(half, layout_.alpha + i);
    };
    code_.vaddps(y(2), m(1), m(2));
    code_.vsubps(m(1), m(1), m(2));
    code_.vaddps(y(0), m(0), y(2));
    code_.vaddps(y(0), y(0), m(3));
    code_.vmovaps(y(1), m(1));
    code_.vfmadd231ps(y(1), m(3), code_.constant(2));
    code_.vfmadd231ps(y(2), m(3), code_.constant(4));
    code_.vaddps(y(3), m(1), m(4));
    code_.vfmadd231ps(y(3), m(3), code_.constant(8));
}

Vec WinogradBody::reg(bool half, std::int64_t index) const {
    return half ? Vec(Xbyak::Ymm(static_cast<int>(index))) : context_.simd.vec(static_cast<int>(index));
}

Address WinogradBody::temporary(std::int64_t row, std::int64_t column) const {
    const Gpr base = temporary_;
    return code_.ptr[base + static_cast<std::size_t>((row * layout_.alpha + column) * context_.simd.bytes())];
}

}  // namespace tandem::jit
