// Thread pools.
#include <climits>

#include "core/c_api/handles.hpp"
#include "core/c_api/kernel.hpp"
#include "core/c_api/structs.hpp"

using namespace tandem;
using namespace tandem::c_api;

namespace {

constexpr Pinning pinnings[] = {Pinning::avoid_caller, Pinning::none,
                                Pinning::one_core};  // by TANDEM_PIN_...
static_assert(TANDEM_PIN_AVOID_CALLER == 0 && TANDEM_PIN_NONE == 1 && TANDEM_PIN_ONE_CORE == 2);

}  // namespace

tandem_error* tandem_pool_create(const tandem_pool_options* options, tandem_pool** pool) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"pool", pool}}); !status) return status;
        *pool = nullptr;
        tandem_pool_options read;
        if (Status status = read_options("options", options, read); !status) return status;
        if (Status status = check_range("options->threads", read.threads, 0, INT_MAX); !status) return status;
        if (Status status =
                check_range("options->pinning", read.pinning, TANDEM_PIN_AVOID_CALLER, TANDEM_PIN_ONE_CORE);
            !status)
            return status;
        return give(pool, ThreadPool::create({read.threads, pinnings[read.pinning]}));
    });
}

void tandem_pool_free(tandem_pool* pool) noexcept { delete pool; }

tandem_error* tandem_pool_threads(const tandem_pool* pool, std::int32_t* threads) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"pool", pool}, {"threads", threads}}); !status) return status;
        *threads = pool->pool.threads();
        return {};
    });
}

tandem_error* tandem_pool_run(tandem_pool* pool, const tandem_kernel* kernel,
                              const tandem_args* args) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"pool", pool}, {"kernel", kernel}}); !status) return status;
        Args read;
        if (Status status = read_args(args, read); !status) return status;
        return pool->pool.run(kernel->kernel, read);
    });
}

tandem_error* tandem_pool_parallel(tandem_pool* pool, void (*function)(void* user, std::int32_t part),
                                   void* user) noexcept {
    return guarded([&]() -> Status {
        if (Status status =
                check_given({{"pool", pool}, {"function", reinterpret_cast<const void*>(function)}});
            !status)
            return status;
        return pool->pool.parallel([&](int part) { function(user, part); });
    });
}
