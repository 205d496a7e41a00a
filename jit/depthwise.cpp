#include "jit/depthwise.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "core/plan/tiling.hpp"

namespace tandem::jit {
DepthwiseBody::DepthwiseBody(StageContext context, const Gpr& args, RegPool& gprs)
    : context_(std::move(context)), code_(context_.simd.code), args_(args), rows_(gprs.lease("input rows")),
      outs_(gprs.lease("output rows")), residuals_(gprs.lease("residual rows")),
      panel_(gprs.lease("channel panel")), epilogue_(context_, context_.panel, panel_) {
    const int rows = context_.plan.block_rows;
    const bool looped = loops_kernel_rows(*context_.stage);
    const bool held = !looped && holds_row_pointers(*context_.stage, rows);
    const std::int64_t inputs = held ? distinct_input_rows(*context_.stage, rows) : 1;
    for (std::int64_t i = 0; i < inputs; ++i)
        input_.push_back(gprs.lease(fmt::format("input row {}", i)));
    for (int i = 0; i < rows; ++i)
        output_.push_back(gprs.lease(fmt::format("output row {}", i)));
    for (int i = 0; i < rows && epilogue_.has_sum(); ++i)
        residual_.push_back(gprs.lease(fmt::format("residual row {}", i)));
    if (!held) column_.emplace(gprs.lease("input column"));
    if (looped)
        loop_.emplace(KernelRowLoop{gprs.lease("first kernel row"), gprs.lease("kernel rows"),
                                    gprs.lease("input row table"), gprs.lease("kernel row"),
                                    gprs.lease("kernel rows left")});
}

std::string DepthwiseBody::RowGroup::key() const {
    std::string key =
        fmt::format("w{} c{}-{} s{}", segment.width, segment.columns.begin, segment.columns.end, shift);
    for (const Span& t : taps)
        key += fmt::format(" t{}-{}", t.begin, t.end);
    for (const GroupRun& run : runs)
        key += fmt::format(" v{}x{}", run.first_vector, run.count);
    return key;
}

void DepthwiseBody::emit_tile(const StageTile& tile, std::span<const GroupRun> runs, std::int64_t first_row) {
    if (runs.empty() || tile.taps.empty() || tile.segment.width == 0) return;
    const Gpr rows = rows_, outs = outs_, residuals = residuals_;
    const Axis axis = row_axis(*context_.stage);
    code_.note(fmt::format("{}: depthwise, {} rows of {} pixels", context_.name(), tile.taps.size(),
                           tile.segment.width));
    code_.mov(rows, code_.ptr[args_ + context_.source_rows]);
    emit_add(code_, rows, (axis.first_tap(tile.rows.begin) - tile.in_rows.begin) * 8);
    code_.mov(outs, code_.ptr[args_ + context_.output_rows]);
    emit_add(code_, outs, first_row * 8);
    if (epilogue_.has_sum()) code_.mov(residuals, code_.ptr[args_ + residual_offset(context_.index)]);

    const auto taps_at = [&](std::size_t row) {
        return std::span(tile.taps).subspan(
            row, std::min(static_cast<std::size_t>(context_.plan.block_rows), tile.taps.size() - row));
    };
    for (std::size_t row = 0; row < tile.taps.size();) {
        const std::span<const Span> taps = taps_at(row);
        const RowGroup group{routine_taps(taps), tile.segment, tile.shift, {runs.begin(), runs.end()}};
        const std::size_t size = taps.size();
        std::size_t end = row + size;
        while (end < tile.taps.size() && std::ranges::equal(taps_at(end), taps))
            end += size;
        emit_loop(code_, local(Local::rows), static_cast<std::int64_t>((end - row) / size), [&] {
            emit_group_call(group, taps.front());
            emit_add(code_, rows, static_cast<std::int64_t>(size) * axis.stride * 8);
            emit_add(code_, outs, static_cast<std::int64_t>(size) * 8);
            if (epilogue_.has_sum()) emit_add(code_, residuals, static_cast<std::int64_t>(size) * 8);
        });
        row = end;
    }
}

std::vector<Span> DepthwiseBody::routine_taps(std::span<const Span> taps) const {
    if (!loops()) return {taps.begin(), taps.end()};
    return {taps.front().size() > 0 ? Span{0, 1} : Span{0, 0}};
}

// Where kernel rows are looped over, `first_taps` are values at run time, those of the group's only row.
void DepthwiseBody::emit_group_call(const RowGroup& group, const Span& first_taps) {
    const Gpr rows = rows_;
    const std::int64_t first_row = loops() ? first_taps.begin * context_.stage->conv.dilation.h * 8 : 0;
    if (loops() && first_taps.size() > 0) {
        const Gpr first_weights = loop_->first_weights, count = loop_->count;
        code_.mov(first_weights,
                  immediate(first_taps.begin * context_.panel.row_taps * context_.panel.vector_bytes));
        code_.mov(count, immediate(first_taps.size()));
    }
    emit_add(code_, rows, first_row);
    code_.call(routines_.get(group.key(), [this, group] { emit_row_group(group); }));
    emit_add(code_, rows, -first_row);
}

std::vector<std::int64_t> DepthwiseBody::input_rows(const RowGroup& group) const {
    const Axis axis = row_axis(*context_.stage);
    std::vector<std::int64_t> rows;
    for (std::size_t row = 0; row < group.taps.size(); ++row)
        for (std::int64_t tap = group.taps[row].begin; tap < group.taps[row].end; ++tap)
            rows.push_back(static_cast<std::int64_t>(row) * axis.stride + tap * axis.dilation);
    std::sort(rows.begin(), rows.end());
    rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
    return rows;
}

void DepthwiseBody::emit_row_group(const RowGroup& group) {
    std::string taps;
    for (const Span& t : group.taps)
        taps += fmt::format(" {}-{}", t.begin, t.end);
    code_.note(fmt::format("{}: depthwise rows, {} at once, kernel rows{}", context_.name(),
                           group.taps.size(), taps));
    const Gpr panel = panel_, scratch = input_.front();
    const Simd& simd = context_.simd;
    code_.mov(panel, code_.ptr[args_ + context_.panel_at]);
    emit_add(code_, panel, group.runs.front().offset);
    for (const GroupRun& run : group.runs) {
        epilogue_.emit_opmasks(run, scratch);
        if (simd.avx512())
            simd.set_opmask(input_lanes(run), scratch);
        else
            simd.load_mask(input_lanes(run));
        if (context_.plan.channels_inner) {
            emit_channels_inner(group, run);
        } else {
            emit_channels_outer(group, run);
        }
    }
}

void DepthwiseBody::emit_channels_outer(const RowGroup& group, const GroupRun& run) {
    const Gpr panel = panel_;
    const Axis axis = column_axis(*context_.stage);
    emit_loop(code_, local(Local::groups), run.count, [&] {
        emit_pointers(group, false);
        for (const BlockRun& block : blocks(group, run)) {
            emit_loop(code_, local(Local::blocks), block.count, [&] {
                emit_block(group, run, block);
                emit_input_steps(group, block.width * axis.stride * context_.in.pixel);
                for (std::size_t i = 0; i < group.taps.size(); ++i)
                    emit_add(code_, output_[i], block.width * context_.out.pixel);
                for (std::size_t i = 0; i < group.taps.size() && epilogue_.has_sum(); ++i)
                    emit_add(code_, residual_[i], block.width * context_.residual.pixel);
            });
        }
        emit_add(code_, panel, context_.panel.group_bytes(run));
    });
}

void DepthwiseBody::emit_channels_inner(const RowGroup& group, const GroupRun& run) {
    const Gpr panel = panel_;
    const Axis axis = column_axis(*context_.stage);
    for (const Local x : {Local::input_x, Local::output_x, Local::residual_x})
        code_.mov(local(x), 0);
    for (const BlockRun& block : blocks(group, run)) {
        emit_loop(code_, local(Local::blocks), block.count, [&] {
            emit_loop(code_, local(Local::groups), run.count, [&] {
                emit_pointers(group, true);
                emit_block(group, run, block);
                emit_add(code_, panel, context_.panel.group_bytes(run));
            });
            emit_add(code_, panel, -run.count * context_.panel.group_bytes(run));
            code_.add(local(Local::input_x), immediate(block.width * axis.stride * context_.in.pixel));
            code_.add(local(Local::output_x), immediate(block.width * context_.out.pixel));
            code_.add(local(Local::residual_x), immediate(block.width * context_.residual.pixel));
        });
    }
    emit_add(code_, panel, run.count * context_.panel.group_bytes(run));
}

// Windows serve pairs of pixels, and outputs are packed by fours unless it is channels that are: blocks of
// whole fours or pairs, but for the last; of whole pixel pairs likewise. Single vectors behind quads have
// blocks of their own.
std::vector<BlockRun> DepthwiseBody::blocks(const RowGroup& group, const GroupRun& run) const {
    const StagePlan& plan = context_.plan;
    const int at_most =
        run.vectors == plan.block_vectors
            ? plan.block_pixels
            : max_depthwise_pixels(*context_.stage, context_.simd.isa, plan.dot, plan.block_rows);
    const bool quads = run.vectors == quad_vectors,
               fours = by_windows() && !quads && at_most >= packed_pixels,
               twos = context_.out.pairs || (quads && at_most >= 2);
    const std::int64_t step = fours ? packed_pixels : twos ? 2 : 1;
    return block_runs(column_axis(*context_.stage), group.segment, at_most, step);
}

// Points input_, output_ and residual_ at the current channels of the first pixel of the row, or of the
// current block.
void DepthwiseBody::emit_pointers(const RowGroup& group, bool with_columns) {
    const Gpr outs = outs_, residuals = residuals_, panel = panel_;
    const auto point = [&](const Gpr& reg, const Gpr& table, std::size_t row, std::size_t header,
                           Local column) {
        code_.mov(reg, code_.ptr[table + row * 8]);
        code_.add(reg, code_.ptr[panel + header]);
        if (with_columns) code_.add(reg, local(column));
    };
    emit_input_pointers(group, with_columns);
    for (std::size_t i = 0; i < group.taps.size(); ++i) {
        point(output_[i], outs, i, offsetof(GroupHeader, output), Local::output_x);
        if (epilogue_.has_sum())
            point(residual_[i], residuals, i, offsetof(GroupHeader, residual), Local::residual_x);
    }
}

// Where rows share a pointer, only what is added to each one's.
void DepthwiseBody::emit_input_pointers(const RowGroup& group, bool with_columns) {
    const Gpr rows = rows_, panel = panel_;
    const auto add_channels = [&](const Gpr& reg) {
        code_.add(reg, code_.ptr[panel + offsetof(GroupHeader, input)]);
        if (with_columns) code_.add(reg, local(Local::input_x));
    };
    if (column_) {
        const Gpr column = *column_;
        code_.mov(column, group.shift * context_.in.pixel);
        return add_channels(column);
    }
    const std::vector<std::int64_t> inputs = input_rows(group);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        code_.mov(input_[i], code_.ptr[rows + static_cast<std::size_t>(inputs[i] * 8)]);
        add_channels(input_[i]);
    }
    for (std::size_t i = 0; i < inputs.size(); ++i)
        emit_add(code_, input_[i], group.shift * context_.in.pixel);
}

void DepthwiseBody::emit_input_steps(const RowGroup& group, std::int64_t bytes) {
    if (column_) return emit_add(code_, *column_, bytes);
    const std::size_t inputs = input_rows(group).size();
    for (std::size_t i = 0; i < inputs; ++i)
        emit_add(code_, input_[i], bytes);
}

void DepthwiseBody::emit_block(const RowGroup& group, const GroupRun& run, const BlockRun& block) {
    code_.note(fmt::format("{}: depthwise block, {} rows x {} px, input columns {}-{}{}", context_.name(),
                           group.taps.size(), block.width, block.columns.begin, block.columns.end,
                           run.tail_lanes ? fmt::format(", tail of {} channels", run.tail_lanes) : ""));
    if (run.vectors == quad_vectors) return emit_block_by_quads(group, run, block);
    if (by_windows()) return emit_block_by_windows(group, run, block);
    if (context_.panel.permute)
        code_.vmovups(context_.simd.vec(permute_register()), panel_vector(context_.panel.permute_offset(1)));
    for (std::size_t row = 0; row < group.taps.size(); ++row) {
        for (std::int64_t p = 0; p < block.width; ++p) {
            const Vec a = acc(group, run, row, p);
            if (!epilogue_.starts_with_bias() || context_.panel.quantized) {
                context_.simd.zero(a);
            } else if (row == 0 && p == 0) {
                code_.vmovups(a, panel_vector(context_.panel.params_offset()));
            } else {
                code_.vmovaps(a, acc(group, run, 0, 0));
            }
        }
    }
    emit_sums(group, run, block,
              [&](std::size_t input_index) { emit_input_row(group, run, block, input_index); });
    emit_epilogue(group, run, block);
}

void DepthwiseBody::emit_input_pointer(const RowGroup& group, std::size_t input_index) {
    const Gpr pointer = input_pointer(input_index), rows = rows_, column = *column_;
    code_.mov(pointer, code_.ptr[rows + static_cast<std::size_t>(input_rows(group)[input_index] * 8)]);
    code_.add(pointer, column);
}

// `row` adds an input row to the accumulators; none where the block's columns are all padding.
void DepthwiseBody::emit_sums(const RowGroup& group, const GroupRun& run, const BlockRun& block,
                              const std::function<void(std::size_t)>& row) {
    const std::size_t inputs = block.columns.size() > 0 ? input_rows(group).size() : 0;
    if (!loops()) {
        for (std::size_t i = 0; i < inputs; ++i) {
            if (column_) emit_input_pointer(group, i);
            row(i);
        }
    } else if (inputs > 0) {
        emit_kernel_rows(run, [&] {
            const Gpr input = input_.front(), table = loop_->table, column = *column_;
            code_.mov(input, code_.ptr[table]);
            code_.add(input, column);
            row(0);
        });
    }
}

// The loop over the kernel rows inside the image; `row` finds its weights by row_vector(0, ...).
void DepthwiseBody::emit_kernel_rows(const GroupRun& run, const std::function<void()>& row) {
    const Gpr table = loop_->table, weights = loop_->weights, left = loop_->left, panel = panel_;
    code_.mov(table, rows_.operator Gpr());
    code_.lea(weights, code_.ptr[panel + loop_->first_weights.operator Gpr() * run.vectors +
                                 static_cast<std::size_t>(context_.panel.weights_offset(run.vectors))]);
    code_.mov(left.cvt32(), loop_->count.operator Gpr().cvt32());
    Label next_row;
    code_.align(16);
    code_.L(next_row);
    row();
    emit_add(code_, table, context_.stage->conv.dilation.h * 8);
    emit_add(code_, weights, context_.panel.row_taps * run.vectors * context_.panel.vector_bytes);
    code_.dec(left.cvt32());
    code_.jnz(next_row, CodeBlock::T_NEAR);
}

std::vector<DepthwiseBody::Use> DepthwiseBody::uses_of(const RowGroup& group, std::size_t input_index) const {
    const Axis y = row_axis(*context_.stage);
    std::vector<Use> uses;
    for (std::size_t row = 0; row < group.taps.size(); ++row) {
        const std::int64_t distance =
            input_rows(group)[input_index] - static_cast<std::int64_t>(row) * y.stride;
        const std::int64_t tap = distance / y.dilation;
        if (distance >= 0 && distance % y.dilation == 0 && tap >= group.taps[row].begin &&
            tap < group.taps[row].end)
            uses.push_back({row, tap});
    }
    return uses;
}

// One input row into every accumulator it reaches.
void DepthwiseBody::emit_input_row(const RowGroup& group, const GroupRun& run, const BlockRun& block,
                                   std::size_t input_index) {
    const Simd& simd = context_.simd;
    const Axis x = column_axis(*context_.stage);
    const Gpr input = input_pointer(input_index);
    const int first_weight = first_free(group, run, block);
    int next = first_weight;
    const std::vector<Use> uses = uses_of(group, input_index);
    const bool held = holds_kernel_row(*context_.stage, simd.isa, context_.plan.block_rows);
    for (const Use& use : uses)
        for (std::int64_t kw = 0; held && kw < x.kernel; ++kw)
            code_.vmovups(in_width(run, next++), row_vector(run, use.tap, kw));
    const int loaders = simd.registers() - reserved_registers(run) - next;
    const Simd::Lanes lanes = input_lanes(run);
    int turn = 0;
    for (std::int64_t column = block.columns.begin; column < block.columns.end; ++column) {
        struct Tap {
            Vec acc;
            int weight;       // its register, if it has one
            Address address;  // else this
        };
        std::vector<Tap> taps;
        for (std::size_t i = 0; i < uses.size(); ++i) {
            for (std::int64_t kw = 0; kw < x.kernel; ++kw) {
                const std::int64_t distance = column - kw * x.dilation;
                if (distance < 0 || distance % x.stride != 0 || distance / x.stride >= block.width) continue;
                taps.push_back({acc(group, run, uses[i].row, distance / x.stride),
                                first_weight + static_cast<int>(static_cast<std::int64_t>(i) * x.kernel + kw),
                                row_vector(run, uses[i].tap, kw)});
            }
        }
        if (taps.empty()) continue;
        const Address from = code_.ptr[input + static_cast<std::size_t>(column * context_.in.pixel)];
        emit_ahead(group, input_index, {column, column + 1});
        if (held && taps.size() == 1 && lanes.count == 0 && !context_.panel.permute &&
            context_.in_element == Element::f32) {
            code_.vfmadd231ps(taps.front().acc, in_width(run, taps.front().weight), from);
            continue;
        }
        const Vec value = in_width(run, next + turn++ % loaders);
        emit_load(simd, context_.in_element, value, from, lanes);
        if (context_.in_element == Element::u8 || context_.in_element == Element::s8)
            code_.vsubps(value, value, panel_vector(context_.panel.input_zero_offset()));
        if (context_.panel.permute) simd.permute(value, permute_register(), value);
        for (const Tap& tap : taps) {
            if (held)
                code_.vfmadd231ps(tap.acc, in_width(run, tap.weight), value);
            else
                code_.vfmadd231ps(tap.acc, value, tap.address);
        }
    }
}

// Prefetches columns of a row that the next tile is the first to read: it lies as far below this one as the
// tiles are high, and this one is among those that the row group above did not read. A line that
// neighbouring pixels share is fetched once.
void DepthwiseBody::emit_ahead(const RowGroup& group, std::size_t input_index, const Span& columns) {
    const std::size_t fresh = group.taps.size() * static_cast<std::size_t>(context_.stage->conv.stride.h);
    if (context_.rows_ahead == 0 || loops() || input_index + fresh < input_rows(group).size()) return;
    const Gpr input = input_pointer(input_index);
    const std::int64_t pixels_a_line = std::max<std::int64_t>(1, 64 / context_.in.pixel);
    for (std::int64_t column = columns.begin; column < columns.end; ++column)
        if (column % pixels_a_line == 0)
            code_.prefetcht1(
                code_
                    .ptr[input + static_cast<std::size_t>(column * context_.in.pixel + context_.rows_ahead)]);
}

// From sums to the output.
void DepthwiseBody::emit_epilogue(const RowGroup& group, const GroupRun& run, const BlockRun& block) {
    using Place = EpilogueBlock::Place;
    const auto address = [](const RegPool::Lease& row, std::int64_t offset) {
        return Gpr(row) + static_cast<std::size_t>(offset);
    };
    EpilogueBlock epilogue{
        .group = run,
        .vectors = {0, run.vectors},
        .rows = static_cast<std::int64_t>(group.taps.size()),
        .pixels = block.width,
        .acc =
            [&](const Place& at) {
                return acc(group, run, static_cast<std::size_t>(at.row), at.pixel, at.vector);
            },
        .output =
            [&](const Place& at) {
                return address(output_[static_cast<std::size_t>(at.row)], at.pixel * context_.out.pixel);
            },
        .residual =
            [&](const Place& at) {
                return address(residual_[static_cast<std::size_t>(at.row)],
                               at.pixel * context_.residual.pixel);
            },
        .temps = {},
        .biased = true};
    for (int i = first_free(group, run, block); i < context_.simd.registers() - reserved_registers(run); ++i)
        epilogue.temps.push_back(i);
    epilogue_.emit(epilogue);
}

// Which lanes an input load may touch. Blocked tensors and scratch hold whole vectors.
Simd::Lanes DepthwiseBody::input_lanes(const GroupRun& run) const {
    if (context_.in.block % context_.simd.lanes == 0 && context_.in.block != context_.stage->in_channels)
        return {0, input_mask_register()};
    if (by_windows()) return {run.input_tail_lanes, input_mask_register()};
    const int lanes = context_.tail_vector(run.tail_lanes).half ? context_.tail_vector(run.tail_lanes).lanes
                                                                : run.input_tail_lanes;
    return {lanes, input_mask_register()};
}

// The highest registers, held through a block: the permutation, and the input mask on AVX2.
int DepthwiseBody::reserved_registers(const GroupRun& run) const {
    if (!context_.simd.avx512() && input_lanes(run).count > 0) return 2;
    return context_.panel.permute ? 1 : 0;
}

Vec DepthwiseBody::in_width(const GroupRun& run, int index) const {
    return context_.tail_vector(run.tail_lanes).half ? Vec(Xbyak::Ymm(index)) : context_.simd.vec(index);
}

Vec DepthwiseBody::acc(const RowGroup& group, const GroupRun& run, std::size_t row, std::int64_t pixel,
                       int vector) const {
    const int place = static_cast<int>(pixel) * static_cast<int>(group.taps.size()) + static_cast<int>(row);
    return in_width(run, place * run.vectors + vector);
}

Address DepthwiseBody::panel_vector(std::int64_t offset) const {
    const Gpr panel = panel_;
    return code_.ptr[panel + static_cast<std::size_t>(offset)];
}

// A vector of a kernel row of the panel. Where kernel rows are looped over, row 0 is the current one.
Address DepthwiseBody::row_vector(const GroupRun& run, std::int64_t kernel_row, std::int64_t tap,
                                  int vector) const {
    const std::int64_t at =
        ((kernel_row * context_.panel.row_taps + tap) * run.vectors + vector) * context_.panel.vector_bytes;
    if (!loops()) return panel_vector(context_.panel.weights_offset(run.vectors) + at);
    const Gpr weights = loop_->weights;
    return code_.ptr[weights + static_cast<std::size_t>(at)];
}

}  // namespace tandem::jit
