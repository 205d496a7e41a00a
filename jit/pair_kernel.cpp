#include "jit/pair_kernel.hpp"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "core/plan/ceil_div.hpp"
#include "jit/amx_dense.hpp"
#include "jit/dense.hpp"
#include "jit/depthwise.hpp"
#include "jit/staging.hpp"
#include "jit/winograd.hpp"

namespace tandem::jit {
namespace {

using Key = std::vector<std::int64_t>;
constexpr std::size_t no_code = static_cast<std::size_t>(-1);

// Everything of a tile's shape that depends on its row in the grid.
Key row_key(const Problem& problem, const TileShape& shape) {
    Key key;
    for (std::size_t i = 0; i < shape.stages.size(); ++i) {
        const StageTile& tile = shape.stages[i];
        const Stage& stage = problem.stage(problem.stage_count - static_cast<int>(shape.stages.size() - i));
        key.insert(key.end(),
                   {tile.rows.size(), tile.in_rows.size(),
                    row_axis(stage).first_tap(tile.rows.begin) - tile.in_rows.begin,
                    tile.rows.begin - tile.grid_rows.begin,
                    shape.stages.size() == 2 && i == 0 ? tile.rows.begin - shape.mid_rows.begin : 0});
        for (const Span& taps : tile.taps)
            key.insert(key.end(), {taps.begin, taps.end});
    }
    return key;
}

Key column_key(const TileShape& shape) {
    Key key;
    for (const StageTile& tile : shape.stages)
        key.insert(key.end(), {tile.cols.size(), tile.segment.columns.begin, tile.segment.columns.end,
                               tile.in_columns.begin, tile.in_columns.end, tile.shift});
    return key;
}

std::size_t class_of(std::map<Key, std::size_t>& known, std::vector<TileTable::Class>& classes, Key key,
                     const TileTable::Class& tile) {
    const auto [it, fresh] = known.try_emplace(std::move(key), classes.size());
    if (fresh) classes.push_back(tile);
    return it->second;
}

class PairEmitter {
public:
    PairEmitter(CodeBlock& code, const Problem& problem, const Plan& plan)
        : code_(code), problem_(problem), plan_(plan), mid_(mid_buffer(problem, plan)) {
        for (int i = 0; i < problem.stage_count; ++i) {
            panels_.push_back(uses_winograd(i) ? post_op_panel(problem, plan, i)
                                               : panel_layout(problem, plan, i));
            pools_.push_back(RegPool::general_purpose());
            args_.push_back(pools_.back().lease("arguments"));
        }
        if (stages_source(problem, plan))
            staging_ = std::make_unique<Staging>(code, problem, plan, panels_[0], args_[0]);
        for (int i = 0; i < problem.stage_count; ++i)
            bodies_.push_back(make_body(i));
    }

    void emit_function(const TileShape& shape, std::int64_t split, bool reuse) {
        emit_prologue();
        const bool pair = problem_.stage_count == 2;
        if (staging_ && !(pair && reuse)) staging_->emit_tile(shape.stages[0]);
        if (pair && !reuse && bodies_[0])
            bodies_[0]->emit_tile(shape.stages[0], panels_[0].runs,
                                  shape.stages[0].rows.begin - shape.mid_rows.begin);
        const std::vector<GroupRun> runs =
            split_runs(panels_.back(), static_cast<int>(split), plan_.channel_splits);
        if (bodies_.back()) bodies_.back()->emit_tile(shape.stages.back(), runs, 0);
        emit_epilogue();
    }

    void emit_routines() {
        for (const auto& body : bodies_)
            if (body) body->emit_routines(code_);
        if (staging_) staging_->emit_routines();
    }

    /// Some stage is computed by the tile functions.
    bool has_bodies() const {
        return std::ranges::any_of(bodies_, [](const auto& body) { return body != nullptr; });
    }

    /// Offsets of the functions that finish the rows of stage i, two for each run of its panel; no_code
    /// where there is no need.
    std::vector<std::size_t> emit_finishers(int i) {
        std::vector<std::size_t> offsets;
        if (!uses_libxsmm(problem_.stage(i), plan_)) return offsets;
        const StageContext context = stage_context(i);
        for (const GroupRun& run : context.panel.runs) {
            for (const RowSums sums : {RowSums::present, RowSums::none}) {
                code_.align(64);
                const bool needed = sums == RowSums::none || needs_row_finish(context, run);
                offsets.push_back(needed ? code_.getSize() : no_code);
                if (needed) emit_row_finish(context, run, sums);
            }
        }
        return offsets;
    }

private:
    bool uses_winograd(int i) const { return plan_.stage(i).algorithm != Algorithm::direct; }

    StageContext stage_context(int i) const {
        const bool first = i == 0, last = i == problem_.stage_count - 1;
        const Stage& stage = problem_.stage(i);
        StageContext context{
            .simd = {code_, plan_.isa, vector_lanes(plan_.isa, problem_.layout)},
            .stage = &stage,
            .plan = plan_.stage(i),
            .index = i,
            .panel = panels_[static_cast<std::size_t>(i)],
            .in = first ? input_strides(problem_) : mid_.strides,
            .out = last ? output_strides(problem_) : mid_.strides,
            .residual = residual_strides(problem_, i),
            .in_element = source_element(problem_, plan_, i),
            .out_element = output_element(problem_, plan_, i),
            .out_dtype = problem_.output_dtype(i),
            .tail_store = tail_store(i),
            .source_rows = first ? offsetof(TileArgs, source_rows) : offsetof(TileArgs, mid_rows),
            .output_rows = last ? offsetof(TileArgs, output_rows) : offsetof(TileArgs, mid_rows)};
        context.rows_ahead = rows_ahead(i);
        if (first && staging_) {
            context.in = staging_->buffer().strides;
            context.source_rows = offsetof(TileArgs, staged_rows);
        }
        return context;
    }

    TailStore tail_store(int i) const {
        if (i == problem_.stage_count - 1)
            return problem_.layout == Layout::nhwc ? TailStore::masked : TailStore::zeroed;
        // What a dot instruction reads beside the last channel meets weights of zero, but must be a number;
        // AMX reads whole blocks.
        const Dot dot = plan_.stage(i + 1).dot;
        const std::int64_t together = problem_.stage(i + 1).depthwise() ? 1
                                      : uses_amx(dot)                   ? amx_rows
                                                                        : dot_channels(dot);
        return problem_.stage(i).out_channels % together == 0 ? TailStore::anything : TailStore::cleared;
    }

    std::unique_ptr<StageBody> make_body(int i) {
        if (uses_libxsmm(problem_.stage(i), plan_)) return nullptr;
        RegPool& pool = pools_[static_cast<std::size_t>(i)];
        const Gpr args = args_[static_cast<std::size_t>(i)];
        if (problem_.stage(i).depthwise())
            return std::make_unique<DepthwiseBody>(stage_context(i), args, pool);
        if (uses_winograd(i))
            return std::make_unique<WinogradBody>(stage_context(i), winograd_layout(problem_, plan_, i),
                                                  args);
        if (uses_amx(plan_.stage(i).dot)) return std::make_unique<AmxDenseBody>(stage_context(i), args, pool);
        return std::make_unique<DenseBody>(stage_context(i), args, pool, prefetch_plan(i));
    }

    // With AMX the GEMM is over too soon to spread prefetches over: the depthwise stage fetches the next
    // band's rows while it reads this one's.
    std::int64_t rows_ahead(int i) const {
        if (!plan_.prefetch_next || i != 0 || problem_.stage_count != 2 || !problem_.stage(0).depthwise() ||
            !uses_amx(plan_.stages[1].dot))
            return 0;
        return plan_.tile_h * problem_.stage(0).conv.stride.h * input_strides(problem_).row;
    }

    // The last stage's GEMM walks the channel blocks of the intermediate, which are those of the input when
    // the first stage is
    // depthwise: while it works on a block it fetches the next band's pixels of that block.
    PrefetchPlan prefetch_plan(int i) const {
        if (!plan_.prefetch_next || i != 1 || uses_amx(plan_.stages[1].dot) ||
            !problem_.stage(0).depthwise() || problem_.stage(0).conv.multiplier != 1)
            return {};
        const Stage& first = problem_.stage(0);
        std::int64_t calls = 0;
        for (const GroupRun& run : split_runs(panels_[1], 0, plan_.channel_splits))
            calls += run.count;
        const std::int64_t blocks = ceil_div(plan_.tile_h * plan_.tile_w, plan_.stages[1].block_pixels);
        const std::int64_t pixels =
            std::min<std::int64_t>(plan_.tile_h * first.conv.stride.h, first.in_h) * first.in_w;
        const std::int64_t all = std::max<std::int64_t>(1, calls * blocks);
        return {ceil_div(pixels, all), input_strides(problem_)};
    }

    void emit_prologue() {
        code_.align(64);
        code_.note("prologue");
        for (const int reg : saved_)
            code_.push(Gpr(reg));
        const Gpr args = args_.front();
        code_.mov(args, Gpr(Xbyak::Operand::RDI));
        if (splits_operands(problem_, plan_)) emit_flush_denormals();
    }

    void emit_epilogue() {
        code_.note("epilogue");
        if (uses_amx(problem_, plan_)) code_.tilerelease();
        if (splits_operands(problem_, plan_))
            code_.ldmxcsr(code_.dword[args_.front().operator Gpr() + local_offset(Local::mxcsr)]);
        code_.vzeroupper();
        for (auto reg = saved_.rbegin(); reg != saved_.rend(); ++reg)
            code_.pop(Gpr(*reg));
        code_.ret();
    }

    // What is left of a number that is split may be denormal, which costs a microcode assist each time,
    // only for AMX to take it for zero.
    void emit_flush_denormals() {
        constexpr std::uint32_t exceptions_masked = 0x1f80, flush_to_zero = 0x8000,
                                denormals_are_zero = 0x0040;
        code_.stmxcsr(code_.dword[args_.front().operator Gpr() + local_offset(Local::mxcsr)]);
        code_.ldmxcsr(code_.constant_bits(exceptions_masked | flush_to_zero | denormals_are_zero));
    }

    CodeBlock& code_;
    const Problem& problem_;
    const Plan& plan_;
    RowBuffer mid_;
    std::vector<PanelLayout> panels_;
    std::deque<RegPool> pools_;
    std::deque<RegPool::Lease> args_;
    std::unique_ptr<Staging> staging_;
    std::vector<std::unique_ptr<StageBody>> bodies_;
    const std::vector<int> saved_{Xbyak::Operand::RBX, Xbyak::Operand::RBP, Xbyak::Operand::R12,
                                  Xbyak::Operand::R13, Xbyak::Operand::R14, Xbyak::Operand::R15};
};

std::string describe(const TileShape& shape, std::int64_t split, bool reuse) {
    const StageTile& last = shape.stages.back();
    std::string text =
        fmt::format("tile function: {} x {} output pixels", last.rows.size(), last.cols.size());
    if (shape.stages.size() == 2) {
        text += reuse ? ", intermediate reused"
                      : fmt::format(", {} of {} intermediate rows computed", shape.stages[0].rows.size(),
                                    shape.mid_rows.size());
    }
    return text + (split > 0 ? fmt::format(", channel split {}", split) : "");
}

}  // namespace

TileTable::TileTable(const Problem& problem, const Plan& plan)
    : splits_(static_cast<std::size_t>(plan.channel_splits)) {
    const TileGrid grid = tile_grid(problem, plan);
    std::map<Key, std::size_t> rows, columns;
    for (std::int64_t ty = 0; ty < grid.tiles_y; ++ty)
        for (const bool start : {false, true})
            row_of_.push_back(class_of(rows, row_classes_,
                                       row_key(problem, tile_shape(problem, plan, ty, 0, start)),
                                       {ty, 0, start}));
    for (std::int64_t tx = 0; tx < grid.tiles_x; ++tx)
        column_of_.push_back(class_of(columns, column_classes_,
                                      column_key(tile_shape(problem, plan, 0, tx, true)), {0, tx, true}));
}

namespace {

// Every tile function; their offsets by TileTable::index.
std::vector<std::size_t> emit_tile_functions(PairEmitter& emitter, CodeBlock& block, const Problem& problem,
                                             const Plan& plan, const TileTable& table) {
    std::vector<std::size_t> offsets;
    for (const TileTable::Class& row : table.row_classes()) {
        for (const TileTable::Class& column : table.column_classes()) {
            const TileShape shape = tile_shape(problem, plan, row.ty, column.tx, row.start);
            for (std::int64_t split = 0; split < plan.channel_splits; ++split) {
                for (const bool reuse : {false, true}) {
                    // The intermediate is reused only between the channel splits of one tile.
                    if (reuse && (plan.channel_splits == 1 || problem.stage_count == 1)) {
                        offsets.push_back(offsets.back());
                        continue;
                    }
                    block.align(64);
                    block.note(describe(shape, split, reuse));
                    offsets.push_back(block.getSize());
                    emitter.emit_function(shape, split, reuse);
                }
            }
        }
    }
    emitter.emit_routines();
    return offsets;
}

}  // namespace

Result<PairCode> emit_pair_kernel(const Problem& problem, const Plan& plan) {
    TileTable table(problem, plan);
    std::vector<std::size_t> offsets;
    std::array<std::vector<std::size_t>, max_stages> finishers;
    auto code = emit_code([&](CodeBlock& block) {
        PairEmitter emitter(block, problem, plan);
        if (emitter.has_bodies()) offsets = emit_tile_functions(emitter, block, problem, plan, table);
        for (int i = 0; i < problem.stage_count; ++i)
            finishers[static_cast<std::size_t>(i)] = emitter.emit_finishers(i);
    });
    if (!code) return code.error();
    const auto base = reinterpret_cast<std::uintptr_t>(code->memory->bytes().data());
    PairCode pair{std::move(*code), std::move(table), {}, {}};
    for (const std::size_t offset : offsets)
        pair.functions.push_back(reinterpret_cast<TileFunction>(base + offset));
    const auto finisher = [base](std::size_t offset) {
        return offset == no_code ? nullptr : reinterpret_cast<RowFinish>(base + offset);
    };
    for (std::size_t i = 0; i < finishers.size(); ++i)
        for (std::size_t at = 0; at < finishers[i].size(); at += 2)
            pair.finishers[i].push_back({finisher(finishers[i][at]), finisher(finishers[i][at + 1])});
    return pair;
}

}  // namespace tandem::jit
