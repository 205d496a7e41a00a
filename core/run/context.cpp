#include "tandem/context.hpp"

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include <fmt/format.h>

#include "core/plan/arithmetic.hpp"
#include "core/plan/as_result.hpp"
#include "core/plan/eternal.hpp"
#include "core/plan/float_state.hpp"
#include "core/plan/limits.hpp"
#include "core/plan/machine_detail.hpp"
#include "core/plan/tiling.hpp"
#include "core/run/amx_permission.hpp"
#include "core/run/code_cache.hpp"
#include "core/run/compile.hpp"
#include "core/run/host_profile.hpp"
#include "core/run/parallel_indices.hpp"
#include "core/run/planner.hpp"
#include "core/run/profile_measurement.hpp"
#include "core/run/thread_state.hpp"

namespace tandem {
namespace {

constexpr CacheLimits default_limits{.kernels = 4096, .bytes = std::size_t{256} << 20};

// A limit from the environment, where there is one.
Status read_limit(const char* variable, const char* unit, std::size_t& limit) {
    const char* const text = std::getenv(variable);
    if (text == nullptr || *text == '\0') return {};
    const char* const end = text + std::strlen(text);
    std::size_t number = 0;
    const auto [read_to, error] = std::from_chars(text, end, number);
    if (error != std::errc{} || read_to != end || number == 0)
        return Error{
            ErrorCode::invalid_argument,
            fmt::format("{} is '{}'; a whole number of {}, 1 or more, is accepted.", variable, text, unit)};
    limit = number;
    return {};
}

Result<CacheLimits> limits_of(const ContextOptions& options) {
    CacheLimits limits = default_limits;
    if (options.cache_capacity > 0)
        limits.kernels = options.cache_capacity;
    else if (auto status = read_limit("TANDEM_CACHE_CAPACITY", "kernels", limits.kernels); !status)
        return status.error();
    if (options.cache_bytes > 0)
        limits.bytes = options.cache_bytes;
    else if (auto status = read_limit("TANDEM_CACHE_BYTES", "bytes", limits.bytes); !status)
        return status.error();
    return limits;
}

Status check_options(const DispatchOptions& options) {
    if (options.threads < 1 || options.threads > max_threads)
        return Error{ErrorCode::invalid_argument, fmt::format("options.threads is {}; 1 to {} is accepted.",
                                                              options.threads, max_threads)};
    if (!is_one_of(options.effort, all_efforts))
        return Error{ErrorCode::invalid_argument,
                     fmt::format("options.effort is {}; 0 (estimate) to 2 (exhaustive) is accepted.",
                                 static_cast<int>(options.effort))};
    return {};
}

Error no_context() {
    return {ErrorCode::invalid_argument,
            "This Context is empty: it was moved from, or there was no memory to make it; another one is "
            "needed."};
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
          limits(limits_of(options)), cache(limits ? *limits : default_limits) {}
    std::shared_ptr<CodeObserver> observer;
    std::optional<MachineProfile> profile;
    bool measures;
    const Result<CacheLimits> limits;
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
        ThreadState* const thread = thread_state();
        if (thread)
            if (auto kernel = thread->memo.find(cache, chain, options)) return Kernel(std::move(kernel));
        if (!limits) return limits.error();
        auto found = find_or_compile(make_problem(chain), options);
        if (!found) return found.error();
        if (thread) thread->memo.remember(cache, chain, options, *found);
        return Kernel(std::move(found->kernel));
    }

    Status prewarm(std::span<const ConvChain> chains, const DispatchOptions& options, int workers);

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
        if (auto status = check_options(options); !status) return status.error();
        auto machine = host_machine(options.plan ? std::optional(options.plan->isa) : options.isa);
        if (!machine) return machine.error();
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

Status Context::Impl::prewarm(std::span<const ConvChain> chains, const DispatchOptions& options,
                              int workers) {
    if (workers < 0 || workers > max_threads)
        return Error{
            ErrorCode::invalid_argument,
            fmt::format("workers is {}; 1 to {} is accepted, or 0 for one per CPU.", workers, max_threads)};
    std::mutex mutex;
    std::size_t failed = chains.size();  // the first that did, by number
    Result<Kernel> first = Kernel();
    for_each_index(chains.size(), workers > 0 ? workers : usable_cpus(), [&](std::size_t i) {
        const DefaultFloatState float_state;  // of this thread
        Result<Kernel> kernel = as_result([&] { return dispatch(chains[i], options); });
        const std::lock_guard lock(mutex);
        if (kernel || i >= failed) return;
        failed = i;
        first = std::move(kernel);
    });
    if (failed == chains.size()) return {};
    return Error{first.error().code, fmt::format("chain {}: {}", failed + 1, first.error().message)};
}

Context::Context(const ContextOptions& options) noexcept {
    try {
        impl_ = std::make_unique<Impl>(options);
    } catch (...) {  // empty
    }
}
Context::Context(std::nullptr_t) noexcept {}
Context::~Context() = default;
Context::Context(Context&&) noexcept = default;
Context& Context::operator=(Context&&) noexcept = default;

// Neither is destroyed: static destructors may dispatch.
Context& Context::shared() noexcept {
    static constinit Eternal<Context> shared;
    static union Empty {
        Context context;
        Empty() : context(nullptr) {}
        ~Empty() {}
    } empty;
    try {
        return shared.get([] {
            Context made;
            if (!made.impl_) throw std::bad_alloc();
            return made;
        });
    } catch (...) {
        return empty.context;
    }
}

template <class Fn>
auto Context::with_impl(Fn&& fn) const noexcept -> decltype(fn(std::declval<Impl&>())) {
    return as_result([&]() -> decltype(fn(std::declval<Impl&>())) {
        if (!impl_) return no_context();
        const DefaultFloatState float_state;
        return fn(*impl_);
    });
}

Result<Kernel> Context::dispatch(const ConvChain& chain, const DispatchOptions& options) noexcept {
    return with_impl([&](Impl& impl) { return impl.dispatch(chain, options); });
}
Status Context::prewarm(std::span<const ConvChain> chains, const DispatchOptions& options,
                        int workers) noexcept {
    return with_impl([&](Impl& impl) { return impl.prewarm(chains, options, workers); });
}
Status Context::load_wisdom(const std::string& path) noexcept {
    return with_impl([&](Impl& impl) {
        Status status = impl.planner.load(path);
        if (status) impl.cache.clear();
        return status;
    });
}
Status Context::save_wisdom(const std::string& path) const noexcept {
    return with_impl([&](Impl& impl) { return impl.planner.save(path); });
}
std::vector<std::string> Context::wisdom_notes() const {
    return impl_ ? impl_->planner.notes() : std::vector<std::string>{no_context().message};
}
CacheStats Context::cache_stats() const noexcept { return impl_ ? impl_->cache.stats() : CacheStats{}; }
void Context::clear_cache() noexcept {
    if (impl_) impl_->cache.clear();
}

}  // namespace tandem
