#include "core/run/compile.hpp"

#include "core/plan/choice.hpp"

namespace tandem {

Result<std::shared_ptr<const KernelCode>> emit_choice(const PlanChoice& choice, const Problem& problem,
                                                      const Machine& machine,
                                                      const KernelCode::Options& options) {
    auto code = KernelCode::create(problem, choice.plan, choice.reason, options);
    if (code || !choice.wisdom) return code;
    const PlanDecision own = decide_plan(problem, machine, options.threads);
    return KernelCode::create(problem, own.plan,
                              to_string(own) + ", as wisdom's plan failed: " + code.error().message, options);
}

Result<Kernel> kernel_for(const Problem& problem, const Machine& machine, int threads) {
    Problem image = problem;
    image.input.n = 1;
    Planner planner;
    const PlanChoice choice = planner.choose(image, machine, threads, Effort::estimate);
    KernelCode::Options options{.threads = threads};
    options.machine = machine;
    options.foreign = true;
    auto code = emit_choice(choice, image, machine, options);
    if (!code) return code.error();
    return Kernel(KernelImpl::create(problem, std::move(*code)));
}

}  // namespace tandem
