#include "jit/chain_kernel.hpp"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "core/plan/ceil_div.hpp"
#include "jit/amx_dense.hpp"
#include "jit/dense.hpp"
#include "jit/depthwise.hpp"
#include "jit/output_planes.hpp"
#include "jit/staging.hpp"
#include "jit/strassen.hpp"
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
        const Stage& stage = problem.stages[i];
        const bool reads = tile.in_rows.size() > 0;
        key.insert(key.end(), {tile.rows.size(), tile.in_rows.size(),
                               reads ? row_axis(stage).first_tap(tile.rows.begin) - tile.in_rows.begin : 0,
                               tile.rows.begin - tile.grid_rows.begin, tile.first_row});
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

class ChainEmitter {
public:
    ChainEmitter(CodeBlock& code, const Problem& problem, const Plan& plan)
        : code_(code), problem_(problem), plan_(plan) {
        for (int i = 0; i + 1 < problem.stage_count; ++i)
            mids_.push_back(mid_buffer(problem, plan, i).strides);
        for (int i = 0; i < problem.stage_count; ++i) {
            winograd_.push_back(uses_winograd(i) ? std::optional(winograd_layout(problem, plan, i))
                                                 : std::nullopt);
            panels_.push_back(winograd_.back() ? winograd_.back()->post_ops : panel_layout(problem, plan, i));
            pools_.push_back(RegPool::general_purpose());
            args_.push_back(pools_.back().lease("arguments"));
        }
        if (stages_source(problem, plan))
            staging_ = std::make_unique<Staging>(code, problem, plan, panels_[0], args_[0]);
        for (int i = 0; i < problem.stage_count; ++i)
            bodies_.push_back(make_body(i));
        if (problem.writes_planes())
            planes_ = std::make_unique<OutputPlanes>(code, problem, plan, args_.back());
    }

    /// `reuse`: the intermediates of the tile are there already.
    void emit_function(const TileShape& shape, std::int64_t split, bool reuse) {
        emit_prologue();
        const int last = problem_.stage_count - 1, first = reuse ? last : 0;
        if (staging_ && first == 0) staging_->emit_tile(shape.stages[0]);
        for (int i = first; i <= last; ++i) {
            const auto s = static_cast<std::size_t>(i);
            const PanelLayout& panel = winograd_[s] ? winograd_[s]->gemm : panels_[s];
            const std::vector<GroupRun> runs =
                i == last ? split_runs(panel, static_cast<int>(split), plan_.channel_splits) : panel.runs;
            if (bodies_[s])
                bodies_[s]->emit_tile(shape.stages[s], runs, i == last ? 0 : shape.stages[s].first_row);
            if (planes_ && i == last) planes_->emit_tile(shape.stages[s], channels_of(i, runs));
        }
        emit_epilogue();
    }

    void emit_routines() {
        for (const auto& body : bodies_)
            if (body) body->emit_routines(code_);
        if (staging_) staging_->emit_routines();
        if (planes_) planes_->emit_routines();
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
                const bool needed = sums == RowSums::none || needs_row_finish(context, run);
                offsets.push_back(needed ? emit_row_finish(context, run, sums) : no_code);
            }
        }
        return offsets;
    }

private:
    bool uses_winograd(int i) const { return is_winograd(plan_.stage(i).algorithm); }

    // Output channels of neighbouring runs.
    Span channels_of(int i, std::span<const GroupRun> runs) const {
        const std::int64_t lanes = vector_lanes(plan_.isa, problem_.layout);
        const GroupRun& last = runs.back();
        const std::int64_t end = (last.first_vector + last.count * last.vectors) * lanes;
        return {runs.front().first_vector * lanes, std::min(end, problem_.stage(i).out_channels)};
    }

    StageContext stage_context(int i) const {
        const bool first = i == 0, last = i == problem_.stage_count - 1;
        const auto s = static_cast<std::size_t>(i);
        StageContext context{.simd = {code_, plan_.isa, vector_lanes(plan_.isa, problem_.layout)},
                             .stage = &problem_.stages[s],
                             .plan = plan_.stages[s],
                             .index = i,
                             .panel_at = panel_offset(i),
                             .panel = panels_[s],
                             .in = first ? input_strides(problem_) : mids_[s - 1],
                             .out = last ? written_strides(problem_, plan_) : mids_[s],
                             .residual = residual_strides(problem_, i),
                             .in_element = source_element(problem_, plan_, i),
                             .out_element = output_element(problem_, plan_, i),
                             .out_dtype = problem_.output_dtype(i),
                             .tail_store = tail_store(problem_, plan_, i),
                             .source_rows = first ? offsetof(TileArgs, source_rows) : mid_offset(i - 1),
                             .output_rows = last ? offsetof(TileArgs, output_rows) : mid_offset(i),
                             .rows_ahead = rows_ahead(problem_, plan_, i)};
        if (first && staging_) {
            context.in = staging_->buffer().strides;
            context.source_rows = offsetof(TileArgs, staged_rows);
            context.rows_ahead = 0;  // staging reads the tensor
        }
        return context;
    }

    std::unique_ptr<StageBody> make_body(int i) {
        if (uses_libxsmm(problem_.stage(i), plan_)) return nullptr;
        RegPool& pool = pools_[static_cast<std::size_t>(i)];
        const Gpr args = args_[static_cast<std::size_t>(i)];
        if (problem_.stage(i).depthwise())
            return std::make_unique<DepthwiseBody>(stage_context(i), args, pool);
        if (uses_winograd(i))
            return std::make_unique<WinogradBody>(stage_context(i), *winograd_[static_cast<std::size_t>(i)],
                                                  args);
        if (plan_.stage(i).algorithm == Algorithm::strassen)
            return std::make_unique<StrassenBody>(stage_context(i), strassen_layout(problem_, plan_, i), args,
                                                  pool);
        if (uses_amx(plan_.stage(i).dot)) return std::make_unique<AmxDenseBody>(stage_context(i), args, pool);
        return std::make_unique<DenseBody>(stage_context(i), args, pool, input_prefetch(problem_, plan_, i));
    }

    void emit_prologue() {
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
    std::vector<TensorStrides> mids_;  // of each stage's output but the last's
    std::vector<std::optional<WinogradLayout>> winograd_;
    std::vector<PanelLayout> panels_;
    std::deque<RegPool> pools_;
    std::deque<RegPool::Lease> args_;
    std::unique_ptr<Staging> staging_;
    std::unique_ptr<OutputPlanes> planes_;
    std::vector<std::unique_ptr<StageBody>> bodies_;
    const std::vector<int> saved_{Xbyak::Operand::RBX, Xbyak::Operand::RBP, Xbyak::Operand::R12,
                                  Xbyak::Operand::R13, Xbyak::Operand::R14, Xbyak::Operand::R15};
};

std::string describe(const TileShape& shape, std::int64_t split, bool reuse) {
    const StageTile& last = shape.stages.back();
    std::string text =
        fmt::format("tile function: {} x {} output pixels", last.rows.size(), last.cols.size());
    for (std::size_t i = 0; i + 1 < shape.stages.size() && !reuse; ++i)
        text += fmt::format(", {} new rows of intermediate {}", shape.stages[i].rows.size(), i + 1);
    if (reuse) text += ", intermediates reused";
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
std::vector<std::size_t> emit_tile_functions(ChainEmitter& emitter, CodeBlock& block, const Problem& problem,
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
                    offsets.push_back(block.begin_function(describe(shape, split, reuse)));
                    emitter.emit_function(shape, split, reuse);
                }
            }
        }
    }
    emitter.emit_routines();
    return offsets;
}

// A segment's code, as offsets until the bytes have found their place.
struct EmittedSegment {
    std::vector<std::size_t> functions;
    std::array<std::vector<std::size_t>, max_stages> finishers;
};

EmittedSegment emit_segment(CodeBlock& block, const Segment& segment, const TileTable& table) {
    ChainEmitter emitter(block, segment.problem, segment.plan);
    EmittedSegment emitted;
    if (emitter.has_bodies())
        emitted.functions = emit_tile_functions(emitter, block, segment.problem, segment.plan, table);
    for (int i = 0; i < segment.problem.stage_count; ++i)
        emitted.finishers[static_cast<std::size_t>(i)] = emitter.emit_finishers(i);
    return emitted;
}

SegmentFunctions at_address(const EmittedSegment& emitted, TileTable table, std::uintptr_t base) {
    SegmentFunctions result{std::move(table), {}, {}};
    for (const std::size_t offset : emitted.functions)
        result.functions.push_back(reinterpret_cast<TileFunction>(base + offset));
    const auto finisher = [base](std::size_t offset) {
        return offset == no_code ? nullptr : reinterpret_cast<RowFinish>(base + offset);
    };
    for (std::size_t i = 0; i < emitted.finishers.size(); ++i)
        for (std::size_t at = 0; at < emitted.finishers[i].size(); at += 2)
            result.finishers[i].push_back(
                {finisher(emitted.finishers[i][at]), finisher(emitted.finishers[i][at + 1])});
    return result;
}

}  // namespace

Result<ChainCode> emit_chain_kernel(std::span<const Segment> segments) {
    std::vector<TileTable> tables;
    for (const Segment& segment : segments)
        tables.emplace_back(segment.problem, segment.plan);
    std::vector<EmittedSegment> emitted;
    auto code = emit_code([&](CodeBlock& block) {
        emitted.clear();
        for (std::size_t i = 0; i < segments.size(); ++i)
            emitted.push_back(emit_segment(block, segments[i], tables[i]));
    });
    if (!code) return code.error();
    const auto base = reinterpret_cast<std::uintptr_t>(code->memory->bytes().data());
    ChainCode chain{std::move(*code), {}};
    for (std::size_t i = 0; i < segments.size(); ++i)
        chain.segments.push_back(at_address(emitted[i], std::move(tables[i]), base));
    return chain;
}

}  // namespace tandem::jit
