#include "core/run/explain.hpp"

#include <fmt/format.h>

#include "core/plan/choice.hpp"
#include "core/plan/cost_model.hpp"
#include "core/plan/float_state.hpp"
#include "core/run/explain_arithmetic.hpp"
#include "core/run/probes.hpp"

namespace tandem {
namespace {

struct Subject {
    const KernelImpl& kernel;
    const Machine& machine;
    MachineRates rates;

    const Problem& problem() const noexcept { return kernel.problem; }
    const Plan& plan() const noexcept { return kernel.code->plan; }
    int threads() const noexcept { return kernel.code->threads; }
};

std::string size_text(double bytes) {
    return bytes < 1e6 ? fmt::format("{:.1f} KB", bytes / 1024)
                       : fmt::format("{:.2f} MB", bytes / (1024 * 1024));
}
std::string time_text(double seconds) { return fmt::format("{:.1f} us", seconds * 1e6); }

std::string stage_line(const KernelImpl& kernel, int i) {
    const Stage& stage = kernel.problem.stage(i);
    const StagePlan& plan = kernel.code->plan.stage(i);
    const std::string blocking =
        uses_libxsmm(stage, kernel.code->plan)
            ? fmt::format("batches of GEMMs with {} vectors of output channels, whole runs of pixels",
                          plan.block_vectors)
        : stage.depthwise()
            ? fmt::format("{} rows x {} pixels of {} at a time, {} innermost", plan.block_rows,
                          plan.block_pixels,
                          plan.block_vectors == 1 ? "one channel vector"
                                                  : fmt::format("{} channel vectors", plan.block_vectors),
                          plan.channels_inner ? "channels" : "pixels")
        : plan.algorithm == Algorithm::strassen ? fmt::format(
                                                      "one level of Strassen-Winograd on pairs of rows, each "
                                                      "of 7 products of half the channels a GEMM "
                                                      "of {} pixels x {} vectors in registers",
                                                      plan.block_pixels, plan.block_vectors)
        : plan.algorithm != Algorithm::direct
            ? fmt::format(
                  "Winograd {}, the products of each point a GEMM of {} tiles x {} vectors in registers",
                  winograd_name(stage, plan.algorithm), plan.block_pixels, plan.block_vectors)
            : fmt::format("accumulators of {} pixels x {} vectors{}, {} summed in registers{}",
                          plan.block_pixels, plan.block_vectors,
                          plan.pixel_pairs ? " (pixel pairs, whose half-full vectors share registers)" : "",
                          plan.block_channels > 0 ? fmt::format("{} of {} input channels at a time",
                                                                plan.block_channels, stage.in_channels)
                                                  : fmt::format("all {} input channels", stage.in_channels),
                          plan.block_channels > 0 ? " and parked in between" : "");
    return fmt::format("Stage {}: {} from {}x{}x{} to {}x{}x{}, {:.1f} MFLOP: {}.\n", i + 1,
                       to_string(stage.conv), stage.in_channels, stage.in_h, stage.in_w, stage.out_channels,
                       stage.out_h, stage.out_w, stage.flops() / 1e6, blocking);
}

// What an untuned dispatch of a chain of three and more weighs.
std::string cut_line(const Subject& subject, const PlanDecision& decision) {
    const Problem& problem = subject.problem();
    std::vector<int> cuts;  // the stages before them
    for (int i = 0; i + 1 < problem.stage_count; ++i)
        if (decision.plan.edge(i) == Edge::stored) cuts.push_back(i + 1);
    return fmt::format(
        "Cut or not: with rates {} the cost model predicts {} in one piece and {} "
        "at best where cut ({:+.1f} %), so untuned dispatches {}; a cut has to be {:.0f} % faster.\n",
        rates_source(subject.machine), time_text(decision.fused_seconds), time_text(decision.unfused_seconds),
        (decision.unfused_seconds / decision.fused_seconds - 1) * 100,
        cuts.empty() ? "do not cut" : fmt::format("cut behind stage {}", fmt::join(cuts, " and ")),
        (least_unfused_gain - 1) * 100);
}

// What an untuned dispatch weighs.
std::string decision_line(const Subject& subject) {
    Machine machine = subject.machine;
    machine.isa = subject.plan().isa;
    const PlanDecision decision = decide_plan(subject.problem(), machine, subject.threads());
    if (subject.problem().stage_count > 2) return cut_line(subject, decision);
    if (decision.fused_seconds == 0)
        return "Fuse or not: the image has too few pixels to be cut into tiles worth their while; there is "
               "one way to run it.\n";
    return fmt::format(
        "Fuse or not: with rates {} the cost model predicts {} fused and {} not "
        "fused ({:+.1f} %), so untuned dispatches {}; not fusing has to be {:.0f} % faster.\n",
        rates_source(subject.machine), time_text(decision.fused_seconds), time_text(decision.unfused_seconds),
        (decision.unfused_seconds / decision.fused_seconds - 1) * 100, decision.fused ? "fuse" : "do not",
        (least_unfused_gain - 1) * 100);
}

// How the stages meet.
std::string edge_lines(const Subject& subject) {
    const KernelCode& code = *subject.kernel.code;
    std::string text;
    for (int i = 0; i + 1 < subject.problem().stage_count; ++i) {
        const char* how = code.plan.edge(i) == Edge::stored ? "is stored whole before the next stage begins"
                          : code.plan.edge(i) == Edge::sliding ? "is a ring of its last rows"
                                                               : "is there as the rows of one tile";
        text += fmt::format("{}intermediate {} {}", i == 0 ? "" : ", ", i + 1, how);
    }
    return text;
}

std::string fusion_lines(const Subject& subject) {
    const Problem& problem = subject.problem();
    if (problem.stage_count == 1) return "One convolution: nothing to fuse.\n";
    const KernelCode& code = *subject.kernel.code;
    double tensors = 0;
    for (int i = 0; i + 1 < problem.stage_count; ++i)
        tensors += tensor_bytes(problem.output_shape(i), problem.output_dtype(i));
    const double held = static_cast<double>(code.intermediate_bytes());
    const std::string level = to_string(level_of(held, subject.rates.caches));
    std::string text;
    if (code.segments.size() > 1) {
        text = fmt::format("Cut into {} segments: {}; scratch holds {} of them ({}).\n", code.segments.size(),
                           edge_lines(subject), size_text(held), level);
    } else if (!code.fused()) {
        text = fmt::format(
            "Not fused: a tile is a part's whole band, so scratch holds all it needs of {} ({}).\n",
            problem.stage_count == 2 ? "the intermediate" : "the intermediates", size_text(held));
    } else {
        text = fmt::format(
            "Fused: all stages run tile by tile{}; {}; scratch holds {} of them, which fit {}, instead of {} "
            "an image.\n",
            code.plan.backend == Backend::tandem ? " in one generated function" : "", edge_lines(subject),
            size_text(held), level, size_text(tensors / static_cast<double>(problem.input.n)));
    }
    text += decision_line(subject);
    const Level home = roofline(problem, subject.plan(), subject.rates, subject.threads(), true).home;
    text += fmt::format(
        "As tensors the intermediates would be {} written and {} read in {}: {} at {:.0f} GB/s a core.\n",
        size_text(tensors), size_text(tensors), to_string(home),
        time_text(2 * tensors / (subject.rates.bandwidth(home) * 1e9) / subject.threads()),
        subject.rates.bandwidth(home));
    return text;
}

std::string tile_line(const SegmentCode& segment, std::int64_t images, const std::string& stages) {
    return fmt::format(
        "Tiles{}: {} of {} x {} output pixels{}, in {} rows, {} columns, {} images.\n", stages,
        images * segment.grid.count(), segment.plan.tile_h, segment.plan.tile_w,
        segment.plan.channel_splits > 1
            ? fmt::format(", output channels split {} ways (the stages before are computed in each)",
                          segment.plan.channel_splits)
            : "",
        segment.grid.tiles_y, segment.grid.tiles_x, images);
}

std::string tiling_lines(const Subject& subject) {
    const KernelCode& code = *subject.kernel.code;
    const Problem& problem = subject.problem();
    std::string text;
    std::size_t functions = 0;
    for (int i = 0; i < problem.stage_count; ++i)
        text += stage_line(subject.kernel, i);
    for (const SegmentCode& segment : code.segments) {
        const int first = segment.first + 1, last = segment.first + segment.problem.stage_count;
        text += tile_line(segment, problem.input.n,
                          code.segments.size() == 1 ? std::string()
                          : first == last           ? fmt::format(" of stage {}", first)
                                                    : fmt::format(" of stages {} to {}", first, last));
        functions += segment.code.table.size();
    }
    text +=
        fmt::format("Scratch: {} bytes a thread. Code: {} bytes, {} tile functions, emitted in {:.0f} us.\n",
                    code.scratch_bytes, code.bytes().size(), functions, code.emission_seconds * 1e6);
    if (problem.input.factors)
        text += "Input: its rows are copied to scratch, multiplied by the factors of their image.\n";
    else if (problem.reads_planes(0))
        text +=
            fmt::format("Input: its planes, nchw, are {}.\n",
                        stages_source(problem, code.plan) ? "put together in scratch to what the dot reads"
                                                          : "read as they are");
    if (problem.writes_planes())
        text += fmt::format(
            "Output: the rows of a tile lie in scratch ({}), from where they go to the planes of "
            "nchw.\n",
            size_text(static_cast<double>(code.segments.back().written.bytes)));
    return text;
}

std::string intensity_lines(const Subject& subject) {
    const Problem& problem = subject.problem();
    const MachineRates& rates = subject.rates;
    const Roofline roof = roofline(problem, subject.plan(), rates, subject.threads(), false);
    const Dot dot = main_dot(problem, subject.plan());
    std::string text = "Arithmetic intensity, FLOP a byte of tensors: ";
    for (int i = 0; i < problem.stage_count && problem.stage_count > 1; ++i)
        text +=
            fmt::format("convolution {} alone {:.1f}, ", i + 1, intensity(stage_alone(problem, i), false));
    if (problem.stage_count > 1) text += "fused ";
    text += fmt::format(
        "{:.1f}. Machine balance ({} rates, {:.0f} GFLOP/s a core by {}):", intensity(problem, false),
        rates.measured ? "measured" : "assumed", rates.peak(dot), dot_instruction(dot));
    for (const Level level : {Level::l1, Level::l2, Level::l3, Level::dram})
        text += fmt::format("{} {:.1f} at {} ({:.0f} GB/s)", level == Level::l1 ? "" : ",",
                            machine_balance(rates, dot, level), to_string(level), rates.bandwidth(level));
    text += ".\nFootprints:";
    const double scratch = static_cast<double>(subject.kernel.code->working_bytes()), weights = [&] {
        double sum = 0;
        for (int i = 0; i < problem.stage_count; ++i)
            sum += static_cast<double>(element_bytes(problem.dtype) * problem.stage(i).weight_count());
        return sum;
    }();
    const std::pair<const char*, double> parts[] = {
        {"input", tensor_bytes(problem.input_shape(), problem.dtype)},
        {"weights", weights},
        {"output", tensor_bytes(problem.output_shape(problem.stage_count - 1),
                                problem.output_dtype(problem.stage_count - 1))},
        {"scratch a thread", scratch}};
    for (const auto& [name, bytes] : parts)
        text += fmt::format(" {} {} ({}),", name, size_text(bytes), to_string(level_of(bytes, rates.caches)));
    text.back() = ';';
    return text + fmt::format(" together they live in {}. Caches: L1 {}, L2 {}, L3 {}.\n",
                              to_string(roof.home), size_text(static_cast<double>(rates.caches.l1)),
                              size_text(static_cast<double>(rates.caches.l2)),
                              size_text(static_cast<double>(rates.caches.l3)));
}

std::string time_lines(const Subject& subject, std::optional<double> measured) {
    const CostEstimate cost =
        estimate_cost(subject.problem(), subject.plan(), subject.rates, subject.threads());
    const Roofline roof =
        roofline(subject.problem(), subject.plan(), subject.rates, subject.threads(), false);
    std::string text = fmt::format(
        "Work: {:.1f} MFLOP without the padding's taps, {:.1f} % of it computed again for halos or channel "
        "splits.\nTraffic:",
        cost.useful_flops / 1e6, cost.recomputation() * 100);
    for (const Level level : {Level::l1, Level::l2, Level::l3, Level::dram})
        text += fmt::format("{} {} {}", level == Level::l1 ? "" : ",", to_string(level),
                            size_text(cost.at(level).total()));
    text += fmt::format(
        " (input {}, intermediate {}, weights {}, output {} beyond L1).\n",
        size_text(cost.at(Level::l2).input + cost.at(Level::l3).input + cost.at(Level::dram).input),
        size_text(cost.at(Level::l2).intermediate + cost.at(Level::l3).intermediate +
                  cost.at(Level::dram).intermediate),
        size_text(cost.at(Level::l2).weights + cost.at(Level::l3).weights + cost.at(Level::dram).weights),
        size_text(cost.at(Level::l2).output + cost.at(Level::l3).output + cost.at(Level::dram).output));
    text += fmt::format(
        "Predicted with rates {}: {}, mostly {}. Roofline: {} ({}); the prediction is {:.0f} % of "
        "it.\n",
        rates_source(subject.machine), time_text(cost.seconds), to_string(cost.bound),
        time_text(roof.seconds),
        roof.compute_bound
            ? dot_instruction(main_dot(subject.problem(), subject.plan())) + std::string(" peak")
            : to_string(roof.home),
        100 * roof.seconds / cost.seconds);
    if (measured && *measured > 0)
        text += fmt::format(
            "Measured: {}, {:.2f} times the prediction, {:.0f} % of the roofline, {:.1f} GFLOP/s.\n",
            time_text(*measured), *measured / cost.seconds, 100 * roof.seconds / *measured,
            roof.flops / *measured * 1e-9);
    return text;
}

}  // namespace

std::string explain(const KernelImpl& kernel, const Machine& machine,
                    std::optional<double> measured_seconds) {
    const DefaultFloatState float_state;
    const Subject subject{kernel, machine, rates_of(machine)};
    return kernel.name + "\n" + fusion_lines(subject) + kernel.code->last().runner->explain() +
           tiling_lines(subject) + arithmetic_lines(kernel, subject.rates) + intensity_lines(subject) +
           time_lines(subject, measured_seconds) + "Plan: " + to_string(kernel.code->plan) + " (" +
           kernel.code->plan_reason + ")\n";
}

std::string explain(const KernelImpl& kernel, std::optional<double> measured_seconds) {
    return explain(kernel, kernel.code->machine, measured_seconds);
}

}  // namespace tandem
