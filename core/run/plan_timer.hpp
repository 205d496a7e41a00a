// PlanTimer: runs one problem under many plans, in turns, on data of its own. What the tuner measures with.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/run/kernel_code.hpp"
#include "core/run/measure.hpp"
#include "core/run/verification_data.hpp"
#include "tandem/thread_pool.hpp"

namespace tandem {

struct TimingRequest {
    double seconds = 0.1;          // to spend on samples, all plans together
    int min_rounds = 3;            // even if that takes longer
    double sample_seconds = 0;     // a sample lasts at least about this long; 0: as InterleaveOptions has it
    double prepare_seconds = 1e9;  // plans that are not generated and warmed up by then are given up
};

/// One series a plan, or why there is none.
using TimePlans =
    std::function<std::vector<Result<Series>>(std::span<const Plan> plans, const TimingRequest& request)>;

/// Every plan's output is compared with the first plan's before its time counts. Not thread-safe.
class PlanTimer {
public:
    /// Allocates tensors and weights; threads > 1: and a ThreadPool.
    static Result<PlanTimer> create(const Problem& problem, int threads);

    /// As TimePlans. Kernels of plans that are not asked for again are freed.
    std::vector<Result<Series>> time(std::span<const Plan> plans, const TimingRequest& request);

private:
    struct Runner {
        Plan plan{};
        Kernel kernel{};
        std::shared_ptr<PackedWeights> weights{};
        std::optional<Error> error{};  // why it cannot be timed
    };

    PlanTimer() = default;
    Runner prepare(const Plan& plan);
    Result<std::shared_ptr<PackedWeights>> packed_for(const Kernel& kernel);
    Status check_output(const Runner& runner);
    Status run(const Runner& runner) noexcept;
    std::vector<Runner> take_runners(std::span<const Plan> plans, double prepare_seconds);

    Problem problem_{};
    VerificationData data_;
    AlignedBuffer input_, output_;
    std::array<AlignedBuffer, max_stages> residual_;
    std::vector<float> expected_;
    float largest_ = 0;  // of |expected_|
    std::optional<ThreadPool> pool_;
    struct Packed {
        std::shared_ptr<const PanelSpecs> panels;
        std::weak_ptr<PackedWeights> weights;
    };
    std::vector<Packed> packed_;
    std::vector<Runner> runners_;
};

}  // namespace tandem
