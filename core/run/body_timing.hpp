// Body timing: how long the emitter's register blocks take, from kernels that do little else.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/plan/machine_rates.hpp"
#include "core/run/plan_timer.hpp"

namespace tandem {

/// Kernels by their texts and plans, each with the fastest sample of all times it was timed: what others do
/// to a shared machine only ever adds.
class KernelClock {
public:
    explicit KernelClock(const Machine& machine) : machine_(machine) {}

    using Change = std::function<void(const Problem&, Plan&)>;
    /// Seconds of a call of the kernel of a text such as "1x64x1x28:conv1o32/nchw16c" under the rules' plan
    /// as `change` makes it; timed now if it never was. nullopt: the plan is impossible or cannot be run.
    std::optional<double> seconds(const std::string& text, const Change& change = {});
    /// Times all of them once more.
    void again();

    const Machine& machine() const noexcept { return machine_; }

private:
    struct Timed {
        Plan plan{};
        std::unique_ptr<PlanTimer> timer{};  // null: cannot be run
        double seconds = 0;
    };
    void time(Timed& kernel);

    Machine machine_;
    std::map<std::string, Timed> kernels_;
};

/// What of a call's time is not the kernel's own work, in ns: checks, tables, the clock.
double call_ns(KernelClock& clock, const PortRates& port);

std::vector<DenseBodyRate> time_dense_bodies(KernelClock& clock, double call_ns);
std::vector<DepthwiseBodyRate> time_depthwise_bodies(KernelClock& clock, const PortRates& port,
                                                     double call_ns);

}  // namespace tandem
