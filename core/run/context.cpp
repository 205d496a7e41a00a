#include "tandem/context.hpp"

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include <fmt/format.h>

#include "core/plan/machine_detail.hpp"
#include "core/plan/arithmetic.hpp"
#include "core/plan/float_state.hpp"
#include "core/plan/tiling.hpp"
#include "core/run/amx_permission.hpp"
#include "core/run/code_cache.hpp"
#include "core/run/compile.hpp"
#include "core/run/dispatch_memo.hpp"
#include "core/run/host_profile.hpp"
#include "core/run/parallel_indices.hpp"
#include "core/run/planner.hpp"
#include "core/run/profile_measurement.hpp"

namespace tandem {
namespace {

constexpr std::size_t default_capacity = 4096;  // kernels; about 100 MB of code at 25 KB each

std::size_t capacity_of(const ContextOptions& options) {
    if (options.cache_capacity > 0) return options.cache_capacity;
    const char* text = std::getenv("TANDEM_CACHE_CAPACITY");
    std::size_t capacity = 0;
    if (text == nullptr || std::from_chars(text, text + std::strlen(text), capacity).ec != std::errc{} ||
        capacity == 0)
        return default_capacity;
    return capacity;
}

// The least ISA, or the next weaker one where AMX may not be used.
Isa usable_isa(const Problem& problem, Isa isa) {
    const Isa least = least_isa(problem.dtype, problem.math, isa);
    return has_amx(least) && !request_amx()
               ? least_isa(problem.dtype, problem.math, isa.without(IsaFeature::amx_tile))
               : least;
}

// Why a CPU with AMX does without it; empty where it does not, or has none.
std::string amx_note(const Problem& problem) {
    if (os_withholds_amx() && has_amx(least_isa(problem.dtype, problem.math, Isa::amx)))
        return "; AMX is not used: the operating system does not save its tiles";
    if (host_isas().empty() || !has_amx(least_isa(problem.dtype, problem.math, host_isas().back())))
        return {};
    const Status permission = request_amx();
    return permission ? "" : "; AMX is not used: " + permission.error().message;
}

}  // namespace

struct Context::Impl {
    explicit Impl(const ContextOptions& options)
        : observer(options.observer), profile(options.profile), measures(options.measure_machine),
          cache(capacity_of(options)) {}
    std::shared_ptr<CodeObserver> observer;
    std::optional<MachineProfile> profile;
    bool measures;
    CodeCache cache;
    Planner planner;

    Result<std::shared_ptr<const KernelCode>> compile(const CacheKey& key, Machine machine) {
        const Result<std::shared_ptr<const MeasuredRates>> known =
            key.plan && measures ? std::shared_ptr<const MeasuredRates>() : rates();
        if (known) machine.measured = *known;
        if (key.plan) {
            if (auto status = check_plan(key.problem, *key.plan); !status) return status.error();
            if (uses_amx(key.problem, *key.plan))
                if (auto status = request_amx(); !status) return status.error();
            return KernelCode::create(key.problem, *key.plan, "the caller's plan",
                                      code_options(key, machine));
        }
        if (!known) return known.error();
        PlanChoice choice = planner.choose(key.problem, machine, key.threads, key.effort);
        choice.reason += amx_note(key.problem);
        if (choice.tuned) forget_estimate(key);
        return emit_choice(choice, key.problem, machine, code_options(key, machine));
    }

    KernelCode::Options code_options(const CacheKey& key, const Machine& machine) const {
        KernelCode::Options options{.threads = key.threads};
        options.machine = machine;
        options.observer = observer;
        return options;
    }

    // The next dispatch without effort is to get the better plan.
    void forget_estimate(CacheKey key) {
        key.effort = Effort::estimate;
        cache.erase(key);
    }

    Result<Kernel> dispatch(const ConvChain& chain, const DispatchOptions& options) {
        if (auto kernel = DispatchMemo::find(cache, chain, options)) return Kernel(std::move(kernel));
        auto found = find_or_compile(make_problem(chain), options);
        if (!found) return found.error();
        DispatchMemo::remember(cache, chain, options, *found);
        return Kernel(std::move(found->kernel));
    }

    // What is known of the host, for plans.
    Result<std::shared_ptr<const MeasuredRates>> rates() const {
        if (profile) return profile->machine().measured;
        if (measures) return measured_host();
        const Result<Machine> host = profiled_machine();
        if (!host) return host.error();
        return host->measured;
    }

    Result<CodeCache::Found> find_or_compile(const Result<Problem>& problem, const DispatchOptions& options) {
        if (!problem) return problem.error();
        auto machine = host_machine(options.plan ? std::optional(options.plan->isa) : options.isa);
        if (!machine) return machine.error();
        if (options.threads < 1)
            return Error{ErrorCode::invalid_argument,
                         fmt::format("options.threads is {}; 1 or more is accepted.", options.threads)};
        if (!options.plan) machine->isa = usable_isa(*problem, machine->isa);
        CacheKey key{*problem, machine->isa, options.threads, options.effort, std::nullopt};
        key.problem.input.n = 1;
        if (options.plan) {
            key.plan = *options.plan;
            key.effort = Effort::estimate;  // nothing is looked for
        }
        return cache.get(key, *problem, [&] { return compile(key, *machine); });
    }
};

Context::Context(const ContextOptions& options) : impl_(std::make_unique<Impl>(options)) {}
Context::~Context() = default;
Context::Context(Context&&) noexcept = default;
Context& Context::operator=(Context&&) noexcept = default;

Context& Context::shared() {
    static Context context;
    return context;
}

Result<Kernel> Context::dispatch(const ConvChain& chain, const DispatchOptions& options) {
    const DefaultFloatState float_state;
    return impl_->dispatch(chain, options);
}
Status Context::prewarm(std::span<const ConvChain> chains, const DispatchOptions& options, int workers) {
    if (workers < 0)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("workers is {}; 1 or more is accepted, or 0 for one per CPU.", workers)};
    std::mutex mutex;
    std::size_t failed = chains.size();  // the first that did, by number
    Status status;
    for_each_index(chains.size(), workers > 0 ? workers : usable_cpus(), [&](std::size_t i) {
        const Result<Kernel> kernel = dispatch(chains[i], options);
        const std::lock_guard lock(mutex);
        if (kernel || i >= failed) return;
        failed = i;
        status = Error{kernel.error().code, fmt::format("chain {}: {}", i + 1, kernel.error().message)};
    });
    return status;
}
Status Context::load_wisdom(const std::string& path) {
    const DefaultFloatState float_state;
    Status status = impl_->planner.load(path);
    if (status) impl_->cache.clear();
    return status;
}
Status Context::save_wisdom(const std::string& path) const {
    const DefaultFloatState float_state;
    return impl_->planner.save(path);
}
std::vector<std::string> Context::wisdom_notes() const { return impl_->planner.notes(); }
CacheStats Context::cache_stats() const { return impl_->cache.stats(); }
void Context::clear_cache() { impl_->cache.clear(); }

}  // namespace tandem
