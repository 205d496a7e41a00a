// Contexts and dispatch.
#include <climits>
#include <vector>

#include <fmt/format.h>

#include "core/c_api/code.hpp"
#include "core/c_api/handles.hpp"
#include "core/c_api/structs.hpp"
#include "core/plan/as_result.hpp"
#include "core/run/plan_json.hpp"

using namespace tandem;
using namespace tandem::c_api;

static_assert(TANDEM_EFFORT_MEASURE == static_cast<int>(Effort::measure));
static_assert(TANDEM_EFFORT_EXHAUSTIVE == static_cast<int>(Effort::exhaustive));

namespace {

Result<std::shared_ptr<const Plan>> read_plan(const char* text) {
    const Result<Plan> plan = plan_from_text(text, "the text");
    if (!plan) return Error{plan.error().code, "options->plan: " + plan.error().message};
    return std::make_shared<const Plan>(*plan);
}

Result<DispatchOptions> read_dispatch_options(const tandem_dispatch_options* options) {
    tandem_dispatch_options read;
    if (Status status = read_options("options", options, read); !status) return status.error();
    if (Status status = check_range("options->threads", read.threads, 0, INT_MAX); !status)
        return status.error();
    if (Status status =
            check_range("options->effort", read.effort, TANDEM_EFFORT_ESTIMATE, TANDEM_EFFORT_EXHAUSTIVE);
        !status)
        return status.error();
    DispatchOptions result;
    result.threads = read.threads == 0 ? 1 : read.threads;
    result.effort = static_cast<Effort>(read.effort);
    if (read.isa != nullptr) {
        const Result<Isa> isa = parse_isa(read.isa);
        if (!isa) return isa.error();
        result.isa = *isa;
    }
    if (read.plan != nullptr) {
        const auto plan = read_plan(read.plan);
        if (!plan) return plan.error();
        result.plan = *plan;
    }
    return result;
}

std::string path_of(const char* path) { return path == nullptr ? std::string() : std::string(path); }

}  // namespace

const char* tandem_effort_name(std::int32_t effort) noexcept { return name_of(effort, Effort::exhaustive); }

tandem_error* tandem_effort_parse(const char* text, std::int32_t* effort) noexcept {
    return parsed("effort", text, effort, &parse_effort);
}

tandem_error* tandem_context_create(const tandem_context_options* options,
                                    tandem_context** context) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"context", context}}); !status) return status;
        *context = nullptr;
        tandem_context_options read;
        if (Status status = read_options("options", options, read); !status) return status;
        if (read.reserved != 0) return not_accepted("options->reserved", read.reserved, "0 is");
        if (Status status = check_range("options->measure_machine", read.measure_machine, 0, 1); !status)
            return status;
        ContextOptions made{.cache_capacity = read.cache_capacity, .cache_bytes = read.cache_bytes};
        if (read.profile != nullptr) made.profile = read.profile->profile;
        made.measure_machine = read.measure_machine != 0;
        std::shared_ptr<CallbackObserver> observer;
        if (read.observer != nullptr) {
            const auto told = make_observer(read.observer);
            if (!told) return told.error();
            made.observer = observer = *told;
        }
        auto handle = std::make_unique<tandem_context>();
        handle->own = std::make_unique<Context>(made);
        if (!*handle->own) return out_of_memory();
        *context = handle.release();
        if (observer) observer->accept();
        return {};
    });
}

tandem_error* tandem_context_shared(tandem_context** context) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"context", context}}); !status) return status;
        *context = nullptr;
        *context = new tandem_context{nullptr};
        return {};
    });
}

void tandem_context_free(tandem_context* context) noexcept { delete context; }

tandem_error* tandem_dispatch(tandem_context* context, const tandem_chain* chain,
                              const tandem_dispatch_options* options, tandem_kernel** kernel) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"kernel", kernel}}); !status) return status;
        *kernel = nullptr;
        if (Status status = check_given({{"context", context}, {"chain", chain}}); !status) return status;
        const Result<DispatchOptions> read = read_dispatch_options(options);
        if (!read) return read.error();
        return give(kernel, context->context().dispatch(chain->chain, *read));
    });
}

tandem_error* tandem_prewarm(tandem_context* context, const tandem_chain* const* chains,
                             std::size_t chain_count, const tandem_dispatch_options* options,
                             std::int32_t workers) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"context", context}}); !status) return status;
        if (chain_count > 0)
            if (Status status = check_given({{"chains", chains}}); !status) return status;
        const Result<DispatchOptions> read = read_dispatch_options(options);
        if (!read) return read.error();
        std::vector<ConvChain> copies;
        for (std::size_t i = 0; i < chain_count; ++i) {
            const std::string name = fmt::format("chains[{}]", i);
            if (Status status = check_given({{name.c_str(), chains[i]}}); !status) return status;
            copies.push_back(chains[i]->chain);
        }
        return context->context().prewarm(copies, *read, workers);
    });
}

tandem_error* tandem_load_wisdom(tandem_context* context, const char* path) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"context", context}}); !status) return status;
        return context->context().load_wisdom(path_of(path));
    });
}

tandem_error* tandem_save_wisdom(const tandem_context* context, const char* path) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"context", context}}); !status) return status;
        return context->context().save_wisdom(path_of(path));
    });
}

tandem_error* tandem_wisdom_notes(const tandem_context* context, char** notes) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"notes", notes}}); !status) return status;
        *notes = nullptr;
        if (Status status = check_given({{"context", context}}); !status) return status;
        return give_text(joined(context->context().wisdom_notes()), notes);
    });
}

tandem_error* tandem_get_cache_stats(const tandem_context* context, tandem_cache_stats* stats) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"context", context}}); !status) return status;
        const CacheStats found = context->context().cache_stats();
        return write_struct(
            "stats",
            tandem_cache_stats{sizeof(tandem_cache_stats), found.hits, found.misses, found.evictions,
                               found.failures, found.entries, found.code_bytes, found.emission_seconds},
            stats);
    });
}

tandem_error* tandem_clear_cache(tandem_context* context) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"context", context}}); !status) return status;
        context->context().clear_cache();
        return {};
    });
}
