#include "tools/cpu_layers.hpp"

#include "core/plan/choice.hpp"
#include "core/plan/cost_model.hpp"
#include "core/run/plan_timer.hpp"
#include "tools/suites.hpp"

namespace tandem::tool {
namespace {

/// A layer's problem, and the machine as its data type uses it.
struct PlannedLayer {
    Problem problem{};
    Machine machine{};
};

Result<PlannedLayer> planned(const Layer& layer, const Machine& machine) {
    const Result<ConvChain> chain = ConvChain::parse(layer.pair);
    if (!chain) return chain.error();
    const Result<Problem> problem = make_problem(*chain);
    if (!problem) return problem.error();
    return PlannedLayer{*problem, machine_with(machine, least_isa(chain->dtype, chain->math, machine.isa))};
}

}  // namespace

Result<ReportTable> time_layers(const Machine& machine, double seconds_each,
                                const std::function<void(double)>& progress) {
    ReportTable table{"layers", "GFLOP/s", "FLOP/byte", {}};
    const std::vector<Layer>& layers = find_suite("paper")->layers;
    for (const Layer& layer : layers) {
        const Result<PlannedLayer> own = planned(layer, machine);
        if (!own) return own.error();
        const Plan plan = choose_plan(own->problem, own->machine, 1);
        Result<PlanTimer> timer = PlanTimer::create(own->problem, 1);
        if (!timer) return timer.error();
        const std::vector<Result<Series>> series = timer->time(std::vector{plan}, {.seconds = seconds_each});
        if (!series.front()) return series.front().error();
        std::vector<double> kept;
        for (std::size_t i = 0; i < series.front()->seconds.size(); ++i)
            if (series.front()->kept[i]) kept.push_back(series.front()->seconds[i]);
        Circumstances seen;
        seen.dropped = series.front()->dropped;
        const double flops = roofline(own->problem, plan, default_rates(own->machine), 1, false).flops;
        table.readings.push_back({std::string(layer.name), intensity(own->problem, false), 1,
                                  inverse(judge(kept, seen), flops * 1e-9)});
        if (progress)
            progress(static_cast<double>(table.readings.size()) / static_cast<double>(layers.size()));
    }
    return table;
}

Result<std::vector<LayerPlan>> layer_plans(const Machine& machine) {
    std::vector<LayerPlan> plans;
    for (const Layer& layer : find_suite("paper")->layers) {
        const Result<PlannedLayer> own = planned(layer, machine);
        if (!own) return own.error();
        plans.push_back({std::string(layer.name), to_string(choose_plan(own->problem, own->machine, 1))});
    }
    return plans;
}

}  // namespace tandem::tool
