// ThreadPool: set-up, serialisation of runs and survival of fork(). The threads themselves are in
// worker_team.
//
// fork(): a child has none of its parent's workers, and whatever they were doing to the team's memory, or
// another thread to the mutex, stays half done. So the child abandons the team (which leaks it, once a
// fork) and starts a new one at its first run. A child forked from inside a part may only exec or exit.
#include "tandem/thread_pool.hpp"

#include <fmt/format.h>

#include <array>
#include <memory>
#include <mutex>
#include <span>

#include "core/plan/as_result.hpp"
#include "core/plan/float_state.hpp"
#include "core/plan/limits.hpp"
#include "core/plan/fork_hook.hpp"
#include "core/run/topology.hpp"
#include "core/run/worker_affinity.hpp"
#include "core/run/worker_team.hpp"

namespace tandem {
namespace {

Status validate(const PoolOptions& options) {
    if (options.threads < 0 || options.threads > max_threads) {
        return Error{ErrorCode::invalid_argument,
                     fmt::format("threads is {}; accepted are 1 to {}, or 0 for one per physical core",
                                 options.threads, max_threads)};
    }
    if (!is_one_of(options.pinning, std::array{Pinning::none, Pinning::avoid_caller, Pinning::one_core})) {
        return Error{ErrorCode::invalid_argument,
                     fmt::format("pinning is {}; 0 (none) to 2 (one_core) is accepted",
                                 static_cast<int>(options.pinning))};
    }
    return {};
}

struct KernelCall {
    const Kernel& kernel;
    const Args& args;
    int nparts;
    int step = 0;
    std::span<std::byte> shared{};  // of a kernel with several steps
};

Status call_kernel(void* context, int part, Scratch& scratch) {
    const KernelCall& call = *static_cast<const KernelCall*>(context);
    const auto buffer = scratch.reserve(call.kernel.scratch_bytes());
    if (!buffer) {
        return buffer.error();
    }
    if (call.shared.empty()) return call.kernel.run(part, call.nparts, call.args, *buffer);
    return call.kernel.run_step(call.step, part, call.nparts, call.args, *buffer, call.shared);
}

Status check_outside() {
    if (!WorkerTeam::inside_part()) return {};
    return Error{ErrorCode::invalid_argument,
                 "a thread pool's run was called from inside a part; call it from outside, or "
                 "compute in the part itself"};
}

Error moved_from() {
    return {ErrorCode::invalid_argument, "the thread pool was moved from; use the one it was moved to"};
}

Status call_function(void* context, int part, Scratch&) {
    (*static_cast<const std::function<void(int)>*>(context))(part);
    return {};
}

}  // namespace

struct ThreadPool::Impl {
    Impl(Topology host, Placement where, Pinning pinning)
        : topology(std::move(host)), placement(std::move(where)), affinity(placement, pinning) {}

    Status run(const Job& job);
    Status run_steps(KernelCall& call);
    Status start_team();
    static void forget_team(void* impl) noexcept;

    const Topology topology;
    const Placement placement;
    const WorkerAffinity affinity;
    std::mutex run_mutex;              // held during a run; guards `team` and `shared`
    Scratch shared{shared_in_page};    // memory between the steps of a kernel
    std::unique_ptr<WorkerTeam> team;  // null in a forked child until its first run
    ForkHook hook{{.in_child = &forget_team}, this};
};

Status ThreadPool::Impl::run(const Job& job) {
    if (Status status = check_outside(); !status) return status;
    const std::lock_guard lock(run_mutex);
    if (Status status = start_team(); !status) return status;
    return team->run(job);
}

// Every step on all workers, one after the other.
Status ThreadPool::Impl::run_steps(KernelCall& call) {
    if (Status status = check_outside(); !status) return status;
    const std::lock_guard lock(run_mutex);
    if (Status status = start_team(); !status) return status;
    const auto buffer = shared.reserve(call.kernel.shared_bytes());
    if (!buffer) return buffer.error();
    call.shared = *buffer;
    Status status;
    for (call.step = 0; status && call.step < call.kernel.steps(); ++call.step)
        status = team->run({&call_kernel, &call});
    return status;
}

Status ThreadPool::Impl::start_team() {
    if (team) return {};
    auto started = WorkerTeam::start(topology.get(), placement, affinity);
    if (!started) {
        return started.error();
    }
    team = std::move(*started);
    return {};
}

void ThreadPool::Impl::forget_team(void* impl) noexcept {
    auto* self = static_cast<Impl*>(impl);
    static_cast<void>(self->team.release());
    std::construct_at(&self->run_mutex);
}

ThreadPool::ThreadPool(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ThreadPool::ThreadPool(ThreadPool&&) noexcept = default;
ThreadPool& ThreadPool::operator=(ThreadPool&&) noexcept = default;
ThreadPool::~ThreadPool() = default;

Result<ThreadPool> ThreadPool::create(const PoolOptions& options) noexcept {
    const DefaultFloatState float_state;  // which the workers inherit
    return as_result([&]() -> Result<ThreadPool> {
        if (Status status = validate(options); !status) return status.error();
        auto topology = load_topology();
        if (!topology) return topology.error();
        Placement placement = place_on_host(topology->get(), options.threads);
        auto impl = std::make_unique<Impl>(std::move(*topology), std::move(placement), options.pinning);
        if (Status status = impl->start_team(); !status) return status.error();
        return ThreadPool(std::move(impl));
    });
}

int ThreadPool::threads() const noexcept {
    return impl_ ? static_cast<int>(impl_->placement.workers.size()) : 0;
}

Status ThreadPool::run(const Kernel& kernel, const Args& args) noexcept {
    return as_result([&]() -> Status {
        if (!impl_) return moved_from();
        if (!kernel)
            return Error{ErrorCode::invalid_argument, "kernel is empty; pass one that dispatch returned"};
        KernelCall call{kernel, args, threads()};
        if (kernel.steps() > 1 && threads() > 1) return impl_->run_steps(call);
        return impl_->run({&call_kernel, &call});
    });
}

Status ThreadPool::parallel(const std::function<void(int part)>& fn) noexcept {
    return as_result([&]() -> Status {
        if (!impl_) return moved_from();
        if (!fn)
            return Error{ErrorCode::invalid_argument,
                         "fn is empty; pass a function that takes a part number"};
        return impl_->run({&call_function, const_cast<std::function<void(int)>*>(&fn)});
    });
}

}  // namespace tandem
