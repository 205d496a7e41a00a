#include "jit/winograd.hpp"

#include <algorithm>
#include <map>
#include <numeric>

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

// Vector registers below `end`.
RegPool vector_pool(int end) {
    std::vector<int> indices(static_cast<std::size_t>(end));
    std::iota(indices.begin(), indices.end(), 0);
    return RegPool(std::move(indices));
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
    const std::int64_t pointers = std::max<std::int64_t>(
        layout_.form.rows.alpha(), layout_.form.rows.outputs * (epilogue_.has_sum() ? 2 : 1));
    for (std::int64_t i = 0; i < pointers && registers_.available() > 0; ++i)
        rows_.push_back(registers_.lease(fmt::format("row {}", i)));
}

void WinogradBody::emit_tile(const StageTile& tile, std::span<const GroupRun> runs, std::int64_t first_row) {
    if (runs.empty() || tile.rows.size() <= 0 || tile.cols.size() <= 0) return;
    emit_input_transforms(tile);
    const WinogradForm& form = layout_.form;
    emit_gemms(tile.grid_rows.size() / form.rows.outputs * ceil_div(tile.cols.size(), form.columns.outputs),
               runs);
    const GroupRun& last = runs.back();
    emit_output_transforms(tile, {runs.front().first_vector, last.first_vector + last.count * last.vectors},
                           first_row);
}

void WinogradBody::emit_routines(CodeBlock& code) {
    routines_.emit_pending(code);
    gemm_->emit_routines(code);
}

// Input row `r` of a phase's tile, in the image.
std::int64_t WinogradBody::input_row(const StageTile& tile, std::int64_t tile_row, std::int64_t phase,
                                     std::int64_t r) const {
    return row_axis(*context_.stage).first_tap(tile.grid_rows.begin + tile_row * layout_.form.rows.outputs) +
           r * layout_.form.phases.stride + layout_.form.phases.row(phase);
}

// Those of them that taps meet and that lie inside the image.
Span WinogradBody::existing_rows(const StageTile& tile, std::int64_t tile_row, std::int64_t phase) const {
    Span rows{0, layout_.form.rows.alpha() - layout_.form.phases.row(phase)};
    while (rows.size() > 0 && input_row(tile, tile_row, phase, rows.begin) < 0)
        ++rows.begin;
    while (rows.size() > 0 && input_row(tile, tile_row, phase, rows.end - 1) >= context_.stage->in_h)
        --rows.end;
    return rows;
}

std::vector<WinogradBody::TileRun> WinogradBody::input_runs(const StageTile& tile, std::int64_t phase) const {
    const std::int64_t stride = layout_.form.phases.stride, first = layout_.form.phases.column(phase);
    std::vector<TileRun> runs;
    for (std::int64_t x = 0; x < tile.cols.size(); x += layout_.form.columns.outputs) {
        Span columns{0, layout_.form.columns.alpha() - first};
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
    const std::int64_t width = layout_.form.columns.outputs, whole = tile.cols.size() / width,
                       rest = tile.cols.size() % width;
    std::vector<TileRun> runs;
    if (whole > 0) runs.push_back({whole, {0, width}});
    if (rest > 0) runs.push_back({1, {0, rest}});
    return runs;
}

void WinogradBody::emit_input_transforms(const StageTile& tile) {
    const Gpr table = table_, temporary = temporary_, scratch = channel_;
    const std::int64_t tile_rows = tile.grid_rows.size() / layout_.form.rows.outputs;
    code_.note(fmt::format("{}: Winograd {}, input transform of {} rows of tiles", context_.name(),
                           winograd_name(*context_.stage, context_.plan.algorithm), tile_rows));
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
    for (std::int64_t row = 0; row < tile_rows; ++row) {
        for (std::int64_t phase = 0; phase < layout_.form.phases.count(); ++phase) {
            if (vectors > 0) emit_input_row(tile, {row, phase, 0, vectors, 0});
            if (exact_tail) emit_input_row(tile, {row, phase, vectors, 1, tail});
        }
    }
}

void WinogradBody::emit_input_row(const StageTile& tile, const InputRow& row) {
    const Gpr table = table_, channel = channel_, data = data_;
    const std::int64_t lanes = context_.simd.lanes, width = layout_.form.columns.outputs,
                       column_phase = layout_.form.phases.column(row.phase);
    const Span rows = existing_rows(tile, row.tile_row, row.phase);
    const std::int64_t vector_stride = context_.stage->in_channels > lanes ? context_.in.channel(lanes) : 0;
    const std::int64_t columns = ceil_div(tile.cols.size(), width),
                       block = row.phase * ceil_div(context_.stage->in_channels, lanes) + row.first_vector;
    code_.mov(data, code_.ptr[args_ + offsetof(TileArgs, workspace)]);
    emit_add(code_, data,
             block * layout_.inputs.block_stride + row.tile_row * columns * layout_.inputs.pixel);
    code_.mov(channel, row.first_vector * vector_stride + tile.shift * context_.in.pixel);
    emit_loop(code_, local(Local::groups), row.vectors, [&] {
        for (std::int64_t r = rows.begin; r < rows.end; ++r) {
            const Gpr pointer = input_pointer(r);
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
                    emit_add(code_, input_pointer(r), width * layout_.form.phases.stride * context_.in.pixel);
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
    const WinogradForm& form = layout_.form;
    const Simd::Lanes lanes{tail_lanes, simd.avx512() ? input_mask : mask_vector};
    code_.note(fmt::format("{}: Winograd input tile, rows {}-{}, columns {}-{}", context_.name(), rows.begin,
                           rows.end, columns.begin, columns.end));
    RegPool vectors = vector_pool(simd.avx512() ? simd.registers() : mask_vector);
    LinearTransform transform(simd, false, vectors);
    emit_passes({
        .transform = transform,
        .vectors = vectors,
        .along_rows = form.rows.identity() ? nullptr : &form.rows.input,
        .along_columns = form.columns.identity() ? nullptr : &form.columns.input,
        .rows = {0, form.rows.alpha()},
        .load =
            [&](std::int64_t i, std::int64_t j, const Vec& to) {
                if (i < rows.begin || i >= rows.end || j < columns.begin || j >= columns.end)
                    return simd.zero(to);
                const std::int64_t column = j * form.phases.stride + column_phase;
                const Gpr row = input_pointer(i);
                emit_load(simd, context_.in_element, to,
                          code_.ptr[row + static_cast<std::size_t>(column * context_.in.pixel)], lanes);
            },
        .use =
            [&](std::int64_t i, std::int64_t j, RegPool::Lease value) {
                const Gpr data = data_;
                code_.vmovups(
                    code_.ptr[data + static_cast<std::size_t>(points_at(i, j) * layout_.inputs.row)],
                    transform.vec(value));
            },
        .row_done = [](std::int64_t) {},
    });
}

void WinogradBody::emit_passes(const Passes& passes) {
    const WinogradForm& form = layout_.form;
    RegPool& vectors = passes.vectors;
    LinearTransform& transform = passes.transform;
    const std::int64_t height = form.rows.alpha(), width = form.columns.alpha();
    const std::size_t needed =
        static_cast<std::size_t>(std::max(height, width)) + LinearTransform::working_registers;
    for (const LinearProgram* program : {passes.along_rows, passes.along_columns})
        if (program && context_.simd.avx512()) transform.hold_factors(*program, needed);
    std::size_t room = vectors.available() > needed ? vectors.available() - needed : 0;
    std::map<std::int64_t, RegPool::Lease> kept;  // of the tile between the passes
    const auto load = [&](std::int64_t i, std::int64_t j) {
        if (const auto found = kept.find(points_at(i, j)); found != kept.end())
            return std::move(kept.extract(found).mapped());
        RegPool::Lease to = vectors.lease("input");
        if (passes.along_rows)
            code_.vmovaps(transform.vec(to), temporary(i, j));
        else
            passes.load(i, j, transform.vec(to));
        return to;
    };
    for (std::int64_t j = 0; passes.along_rows && j < width; ++j) {
        std::vector<RegPool::Lease> inputs;
        for (std::int64_t i = 0; i < height; ++i) {
            inputs.push_back(vectors.lease("input"));
            passes.load(i, j, transform.vec(inputs.back()));
        }
        transform.emit(*passes.along_rows, std::move(inputs), [&](std::int64_t i, RegPool::Lease value) {
            if (!passes.along_columns) {
                passes.use(i, j, std::move(value));
                passes.row_done(i);
            } else if (room > 0) {
                kept.emplace(points_at(i, j), std::move(value));
                --room;
            } else {
                code_.vmovaps(temporary(i, j), transform.vec(value));
            }
        });
    }
    for (std::int64_t i = passes.rows.begin; passes.along_columns && i < passes.rows.end; ++i) {
        std::vector<RegPool::Lease> inputs;
        for (std::int64_t j = 0; j < width; ++j)
            inputs.push_back(load(i, j));
        transform.emit(*passes.along_columns, std::move(inputs),
                       [&](std::int64_t j, RegPool::Lease value) { passes.use(i, j, std::move(value)); });
        passes.row_done(i);
    }
}

void WinogradBody::emit_gemms(std::int64_t tiles, std::span<const GroupRun> runs) {
    const Gpr scratch = data_;
    const auto field = [&](std::size_t offset) {
        return code_.qword[args_ + offset];
    };
    code_.note(fmt::format("{}: Winograd products, {} points, {} tiles", context_.name(),
                           layout_.form.points(), tiles));
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
    emit_loop(code_, local(Local::points), layout_.form.points(), [&] {
        gemm_->emit_tile(gemm, runs, 0);
        code_.add(field(offsetof(TileArgs, gemm_source)), immediate(layout_.inputs.row));
        code_.add(field(offsetof(TileArgs, gemm_output)), immediate(layout_.products.row));
        code_.add(field(panel_offset(max_stages)), immediate(layout_.gemm.bytes));
    });
}

void WinogradBody::emit_output_transforms(const StageTile& tile, const Span& vectors,
                                          std::int64_t first_row) {
    const Gpr panel = panel_, temporary = temporary_, channel = channel_;
    code_.note(fmt::format("{}: Winograd output transform", context_.name()));
    code_.mov(temporary, code_.ptr[args_ + offsetof(TileArgs, workspace)]);
    emit_add(code_, temporary, layout_.temporary_offset);
    code_.mov(panel, code_.ptr[args_ + context_.panel_at]);
    code_.mov(channel,
              code_.ptr[args_ + offsetof(TileArgs, workspace)]);  // products of the current output vector
    emit_add(code_, panel, vectors.begin * layout_.post_ops.group_bytes(layout_.post_ops.runs.front()));
    emit_add(code_, channel, layout_.products_offset + vectors.begin * layout_.products.block_stride);
    for (const GroupRun& run : layout_.post_ops.runs) {
        const std::int64_t count =
            std::min(vectors.end, run.first_vector + run.count) - std::max(vectors.begin, run.first_vector);
        if (count <= 0) continue;
        epilogue_.emit_opmasks(run, data_);
        emit_loop(code_, local(Local::groups), count, [&] {
            for (std::int64_t row = 0; row < tile.grid_rows.size() / layout_.form.rows.outputs; ++row)
                emit_output_row(tile, run, row, first_row);
            emit_add(code_, panel, layout_.post_ops.group_bytes(run));
            emit_add(code_, channel, layout_.products.block_stride);
        });
    }
}

void WinogradBody::emit_output_row(const StageTile& tile, const GroupRun& run, std::int64_t tile_row,
                                   std::int64_t first_row) {
    const Gpr table = table_, panel = panel_, data = data_, channel = channel_;
    const std::int64_t height = layout_.form.rows.outputs, width = layout_.form.columns.outputs,
                       begin = tile.grid_rows.begin + tile_row * height,
                       columns = ceil_div(tile.cols.size(), width);
    const Span rows{std::clamp<std::int64_t>(tile.rows.begin - begin, 0, height),
                    std::clamp<std::int64_t>(tile.rows.end - begin, 0, height)};
    if (rows.size() <= 0) return;
    const auto pointer = [&](std::int64_t row, bool residual) -> Gpr {
        return rows_[static_cast<std::size_t>(row + (residual ? height : 0))];
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
                emit_add(code_, pointer(r, false), width * context_.out.pixel);
                if (epilogue_.has_sum()) emit_add(code_, pointer(r, true), width * context_.residual.pixel);
            }
            emit_add(code_, data, layout_.products.pixel);
        });
    }
}

// A^T m A of one tile and output vector, bias and post-ops.
void WinogradBody::emit_output_tile(const GroupRun& run, const Span& rows, const Span& columns) {
    const WinogradForm& form = layout_.form;
    code_.note(fmt::format("{}: Winograd output tile, rows {}-{}, columns {}-{} {}", context_.name(),
                           rows.begin, rows.end, columns.begin, columns.end, epilogue_.text()));
    RegPool vectors = vector_pool(context_.simd.registers());
    LinearTransform transform(context_.simd, context_.tail_vector(run.tail_lanes).half, vectors);
    const LinearProgram along_rows = form.rows.output.rows(rows.begin, rows.end),
                        along_columns = form.columns.output.rows(columns.begin, columns.end);
    std::vector<RegPool::Lease> line;
    emit_passes({
        .transform = transform,
        .vectors = vectors,
        .along_rows = form.rows.identity() ? nullptr : &along_rows,
        .along_columns = form.columns.identity() ? nullptr : &along_columns,
        .rows = rows,
        .load =
            [&](std::int64_t i, std::int64_t j, const Vec& to) {
                const Gpr data = data_;
                code_.vmovups(
                    to, code_.ptr[data + static_cast<std::size_t>(points_at(i, j) * layout_.products.row)]);
            },
        .use = [&](std::int64_t, std::int64_t, RegPool::Lease value) { line.push_back(std::move(value)); },
        .row_done =
            [&](std::int64_t i) {
                emit_output_line(run, i, transform, vectors, line);
                line.clear();
            },
    });
}

void WinogradBody::emit_output_line(const GroupRun& run, std::int64_t row, LinearTransform& transform,
                                    RegPool& vectors, const std::vector<RegPool::Lease>& outputs) {
    using Place = EpilogueBlock::Place;
    const auto address = [&](std::int64_t pointer, std::int64_t step, std::int64_t pixel) {
        return Gpr(rows_[static_cast<std::size_t>(pointer)]) + static_cast<std::size_t>(pixel * step);
    };
    EpilogueBlock epilogue{
        .group = run,
        .vectors = {0, 1},
        .rows = 1,
        .pixels = std::ssize(outputs),
        .acc = [&](const Place& at) { return transform.vec(outputs[static_cast<std::size_t>(at.pixel)]); },
        .output = [&](const Place& at) { return address(row, context_.out.pixel, at.pixel); },
        .residual =
            [&](const Place& at) {
                return address(layout_.form.rows.outputs + row, context_.residual.pixel, at.pixel);
            },
        .temps = {}};
    std::vector<RegPool::Lease> temps;
    while (std::ssize(temps) < epilogue_temps) {
        temps.push_back(vectors.lease("temporary of a post-op"));
        epilogue.temps.push_back(temps.back().index());
    }
    epilogue_.emit(epilogue);
}

// Where the registers do not reach, the channel panel's, which inputs have no use for.
Gpr WinogradBody::input_pointer(std::int64_t row) const {
    return row < std::ssize(rows_) ? rows_[static_cast<std::size_t>(row)] : panel_;
}

Address WinogradBody::temporary(std::int64_t row, std::int64_t column) const {
    const Gpr base = temporary_;
    return code_.ptr[base + static_cast<std::size_t>(points_at(row, column) * context_.simd.bytes())];
}

}  // namespace tandem::jit
