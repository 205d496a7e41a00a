#include "core/run/explain_arithmetic.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/plan/candidates.hpp"
#include "core/plan/cost_model.hpp"
#include "core/plan/tiling.hpp"
#include "core/plan/winograd.hpp"
#include "core/run/probes.hpp"

namespace tandem {
namespace {

std::string way_text(const Stage& stage, const StagePlan& way) {
    if (way.algorithm == Algorithm::strassen) return "one level of Strassen-Winograd in f32 FMAs";
    if (way.algorithm != Algorithm::direct)
        return fmt::format("Winograd {} in f32 FMAs", winograd_name(stage, way.algorithm));
    const std::int64_t parts = dot_parts(way.dot);
    const std::string split =
        parts > 1 ? fmt::format(" (f32 as {} bf16 parts, {} products)", parts, parts * (parts + 1) / 2) : "";
    return fmt::format("{}{} by {}", to_string(way.dot), split, dot_instruction(way.dot));
}

bool same_way(const StagePlan& a, const StagePlan& b) { return a.algorithm == b.algorithm && a.dot == b.dot; }

// Why the kernel has this way, as far as it is known: the planner's rules are those of choose_algorithm()
// and choose_dot() (tiling.cpp).
std::string reason(const KernelImpl& kernel, const MachineRates& rates, const StagePlan& own,
                   const std::vector<StagePlan>& others) {
    const std::string& chosen = kernel.code->plan_reason;
    if (others.empty()) return "nothing else applies";
    if (chosen.starts_with("wisdom")) return "measured the fastest";
    if (!chosen.starts_with("chosen by")) return chosen;
    if (own.algorithm == Algorithm::strassen)
        return "the rules take it where channels are many and rows of pixels fill the register blocks";
    if (own.algorithm != Algorithm::direct)
        return "the rules take it where channels and tiles are many enough to pay for the transforms";
    if (dot_parts(own.dot) > 1)
        return "the rules take it where channels are many enough to pay for splitting the operands";
    const auto allows = [&](const auto& what) {
        return std::any_of(others.begin(), others.end(), what);
    };
    if (own.dot == Dot::f32 && rates.peak(Dot::bf16) < rates.gflops() &&
        allows([](const StagePlan& way) { return way.dot == Dot::bf16; }))
        return "this CPU multiplies bf16 at half the rate of f32";
    if (own.dot == Dot::f32 &&
        allows([](const StagePlan& way) { return is_winograd(way.algorithm) || dot_parts(way.dot) > 1; }))
        return "the rules leave Winograd to stages of more channels or tiles at stride 1, and split operands "
               "to more channels";
    return "the rules take what needs the fewest instructions";
}

std::string no_winograd(const Problem& problem, int i) {
    const Stage& stage = problem.stage(i);
    if (problem.quantized()) return "sums of integers stay exact";
    if (problem.math == Math::strict) return "math strict excludes it";
    const Size2 kernel = stage.conv.kernel;
    const auto odd = [](std::int64_t extent) {
        return extent % 2 == 1 && extent <= 7;
    };
    if (kernel == Size2{1, 1} || !odd(kernel.h) || !odd(kernel.w))
        return fmt::format("the kernel is {}x{}", kernel.h, kernel.w);
    if (stage.conv.dilation != Size2{1, 1}) return "the kernel is dilated";
    const Padding& pad = stage.padding;
    if (std::max(pad.top, pad.bottom) >= kernel.h || std::max(pad.left, pad.right) >= kernel.w)
        return "some outputs read nothing but padding";
    if (stage.conv.stride != Size2{1, 1})
        return fmt::format("the stride is {}x{} with {} input channels", stage.conv.stride.h,
                           stage.conv.stride.w, stage.in_channels);
    if (problem.reads_planes(i)) return "the input is nchw";
    if (winograd_error(stage, Algorithm::winograd2) > fast_error)
        return fmt::format("its error would be {:.1e} of max|y|",
                           winograd_error(stage, Algorithm::winograd2));
    return fmt::format("vectors do not fit the blocks of {}", to_string(problem.layout));
}

std::string stage_line(const KernelImpl& kernel, const MachineRates& rates, int i) {
    const KernelCode& code = *kernel.code;
    const auto stage = static_cast<std::size_t>(i);
    const StagePlan& own = code.plan.stages[stage];
    std::vector<StagePlan> others;
    for (const StagePlan& way : stage_ways(code.problem, code.plan, i))
        if (!same_way(way, own)) others.push_back(way);
    std::string text = fmt::format("Arithmetic of stage {}: {} ({}).", i + 1,
                                   way_text(code.problem.stage(i), own), reason(kernel, rates, own, others));
    const double seconds = estimate_cost(code.problem, code.plan, rates, code.threads).seconds;
    std::string list;
    for (const StagePlan& way : others) {
        Plan plan = code.plan;
        plan.stages[stage] = way;
        list += list.empty() ? "" : "; ";
        list += way_text(code.problem.stage(i), way) + ", ";
        if (!check_plan(code.problem, plan))
            list += "not with these tiles";
        else
            list += fmt::format("predicted {:.2f} times as long",
                                estimate_cost(code.problem, plan, rates, code.threads).seconds / seconds);
    }
    if (!list.empty()) text += fmt::format(" The math mode also allows {}.", list);
    const auto winograd = [](const StagePlan& way) {
        return is_winograd(way.algorithm);
    };
    if (!code.problem.stage(i).depthwise() && !winograd(own) &&
        std::none_of(others.begin(), others.end(), winograd))
        text += fmt::format(" Winograd does not apply: {}.", no_winograd(code.problem, i));
    return text + "\n";
}

// docs/math-modes.md
std::string f16_error_line(const Problem& problem) {
    std::string stages;
    for (int i = 0; i < problem.stage_count; ++i) {
        const Stage& stage = problem.stage(i);
        if (stage.depthwise()) continue;
        const auto products =
            static_cast<double>(stage.in_channels * stage.conv.kernel.h * stage.conv.kernel.w);
        stages += fmt::format("{}{:.1e} for stage {}", stages.empty() ? "" : " and ",
                              0x1p-11 * std::sqrt(products), i + 1);
    }
    return fmt::format(
        "Error bound of math f16, on data of both signs: {} of max|y| where sums are f16, beside the "
        "rounding of every stored tensor to f16.\n",
        stages.empty() ? "1e-5" : "1e-5 and " + stages);
}

std::string error_line(const Problem& problem) {
    if (problem.quantized())
        return "Error: sums are exact integers, every rounding is defined; only transcendental post-ops have "
               "an error.\n";
    if (problem.math == Math::f16) return f16_error_line(problem);
    const char* bound = problem.math == Math::strict
                            ? "that of f32 sums in one fixed order, about 1e-6 of max|y|"
                        : problem.math == Math::bf16 ? "0.02 of max|y|"
                                                     : "1e-5 of max|y|";
    const std::string rounded =
        problem.dtype == DataType::f32
            ? ""
            : fmt::format(", beside the rounding of every stored tensor to {}", to_string(problem.dtype));
    return fmt::format("Error bound of math {}: {}{}.\n", to_string(problem.math), bound, rounded);
}

}  // namespace

std::string arithmetic_lines(const KernelImpl& kernel, const MachineRates& rates) {
    std::string text;
    for (int i = 0; i < kernel.problem.stage_count; ++i)
        if ((!kernel.problem.stage(i).depthwise() || kernel.problem.quantized()) &&
            !uses_libxsmm(kernel.problem.stage(i), kernel.code->plan))
            text += stage_line(kernel, rates, i);
    return text + error_line(kernel.problem);
}

}  // namespace tandem
