// The 33 layers of suite paper on a machine: how fast they are here, and which plans are chosen for any.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/cpu/report.hpp"

namespace tandem::tool {

/// GFLOP/s of each layer as it is planned for this machine, on one thread, by FLOP a byte of tensors.
Result<ReportTable> time_layers(const Machine& machine, double seconds_each,
                                const std::function<void(double)>& progress);

struct LayerPlan {
    std::string layer, plan;
};
/// As choose_plan() has them for one thread of a machine that need not be this one.
Result<std::vector<LayerPlan>> layer_plans(const Machine& machine);

}  // namespace tandem::tool
