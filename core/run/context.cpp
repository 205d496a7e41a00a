#include "tandem/context.hpp"

#include <charconv>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

#include "core/plan/machine.hpp"
#include "core/plan/tiling.hpp"
#include "core/run/code_cache.hpp"

namespace tandem {
namespace {

constexpr std::size_t default_capacity = 4096;  // kernels; about 100 MB of code at 25 KB each

std::size_t capacity_of(const ContextOptions& options) {
    if (options.cache_capacity > 0) return options.cache_capacity;
    const char* text = std::getenv("TANDEM_CACHE_CAPACITY");
    std::size_t capacity = 0;
    if (text == nullptr || std::from_chars(text, text + std::strlen(text), capacity).ec != std::errc{} || capacity == 0) return default_capacity;
    return capacity;
}

}  // namespace

struct Context::Impl {
    explicit Impl(std::size_t capacity) : cache(capacity) {}
    CodeCache cache;

    Result<std::shared_ptr<const KernelCode>> compile(const CacheKey& key, const Machine& machine) const {
        Plan plan = key.plan ? *key.plan : choose_plan(key.problem, machine, key.threads);
        if (auto status = check_plan(key.problem, plan); !status) return status.error();
        return KernelCode::create(key.problem, plan, key.plan ? "the caller's plan" : "chosen by the planner's rules");
    }

    Result<Kernel> dispatch(const Result<Problem>& problem, const DispatchOptions& options) {
        if (!problem) return problem.error();
        auto machine = host_machine(options.plan ? std::optional(options.plan->isa) : options.isa);
        if (!machine) return machine.error();
        if (options.threads < 1)
            return Error{ErrorCode::invalid_argument, fmt::format("options.threads is {}; 1 or more is accepted.", options.threads)};
        CacheKey key{*problem, machine->isa, options.threads, std::nullopt};
        key.problem.input.n = 1;
        if (options.plan) key.plan = *options.plan;
        auto kernel = cache.get(key, *problem, [&] { return compile(key, *machine); });
        if (!kernel) return kernel.error();
        return Kernel(std::move(*kernel));
    }
};

Context::Context(const ContextOptions& options) : impl_(std::make_unique<Impl>(capacity_of(options))) {}
Context::~Context() = default;
Context::Context(Context&&) noexcept = default;
Context& Context::operator=(Context&&) noexcept = default;

Context& Context::shared() {
    static Context context;
    return context;
}

Result<Kernel> Context::dispatch(const ConvPair& pair, const DispatchOptions& options) { return impl_->dispatch(make_problem(pair), options); }
Result<Kernel> Context::dispatch(const SingleConv& single, const DispatchOptions& options) { return impl_->dispatch(make_problem(single), options); }
CacheStats Context::cache_stats() const { return impl_->cache.stats(); }
void Context::clear_cache() { impl_->cache.clear(); }

}  // namespace tandem
