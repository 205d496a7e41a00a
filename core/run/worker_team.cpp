#include "core/run/worker_team.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>

#include "core/plan/as_result.hpp"
#include "core/run/signal_block.hpp"

namespace tandem {
namespace {

/// How long a worker spins for the next run before it sleeps: longer than the gap between two kernels of a
/// network, and of the order of what sleeping and being woken costs (5 us on bare metal, 70 us measured in
/// a virtual machine), which bounds the loss.
constexpr std::chrono::microseconds worker_spin{40};

/// How long the caller spins for the last worker: above the slowest wake-up measured. If it were below, a
/// pool whose workers once slept would stay slow: the caller sleeps while they wake, and they sleep again
/// while it does.
constexpr std::chrono::microseconds caller_spin{200};

thread_local bool in_part = false;

bool is_in(hwloc_const_bitmap_t cpus, int cpu) noexcept {
    return cpu >= 0 && hwloc_bitmap_isset(cpus, static_cast<unsigned>(cpu)) != 0;
}

void name_thread(int part) noexcept {
    char name[16];  // the kernel's limit, terminator included
    *fmt::format_to_n(name, sizeof name - 1, "tandem-{}", part).out = '\0';
    pthread_setname_np(pthread_self(), name);
}

}  // namespace

Result<std::unique_ptr<WorkerTeam>> WorkerTeam::start(hwloc_topology_t topology, const Placement& placement,
                                                      const WorkerAffinity& affinity) {
    std::unique_ptr<WorkerTeam> team(new WorkerTeam(topology, placement, affinity));
    if (Status status = team->start_threads(); !status) {
        return status.error();
    }
    return team;
}

WorkerTeam::WorkerTeam(hwloc_topology_t topology, const Placement& placement, const WorkerAffinity& affinity)
    : topology_(topology), placement_(placement), affinity_(affinity),
      caller_zone_(affinity.zone_of(sched_getcpu())), parts_(static_cast<int>(placement.workers.size())),
      slots_(new Slot[placement.workers.size()]) {
    for (int part = 0; part < parts_; ++part) {
        slots_[part].team = this;
        slots_[part].part = part;
    }
}

WorkerTeam::~WorkerTeam() {
    stop_.store(true, std::memory_order_relaxed);
    start_.advance();
    for (int part = 1; part <= started_; ++part) {
        pthread_join(slots_[part].thread, nullptr);
    }
}

Status WorkerTeam::start_threads() {
    const SignalBlock block;
    for (int part = 1; part < parts_; ++part) {
        if (const int error = pthread_create(&slots_[part].thread, nullptr, &thread_main, &slots_[part]);
            error != 0) {
            return Error{
                ErrorCode::system,
                fmt::format("thread {} of a pool of {} could not be started: {}; ask for fewer threads", part,
                            parts_, std::strerror(error))};
        }
        ++started_;
        settle(slots_[part]);
    }
    return {};
}

/// Lets the worker run where it now may; by way of its home if it is elsewhere.
void WorkerTeam::settle(Slot& slot) const noexcept {
    slot.cpus = affinity_.cpus(slot.part, caller_zone_);
    if (!slot.cpus) return;
    const hwloc_const_bitmap_t home =
        is_in(slot.cpus, slot.cpu) ? nullptr : affinity_.home(slot.part, caller_zone_);
    if (home) hwloc_set_thread_cpubind(topology_, slot.thread, home, 0);
    if (home != slot.cpus) hwloc_set_thread_cpubind(topology_, slot.thread, slot.cpus, 0);
}

/// Moves the workers that are in the way of a caller that is not where the last one was.
void WorkerTeam::make_way() noexcept {
    const int zone = affinity_.zone_of(sched_getcpu());
    if (zone == caller_zone_) return;
    caller_zone_ = zone;
    for (int part = 1; part < parts_; ++part)
        if (Slot& slot = slots_[part]; !is_in(affinity_.cpus(part, zone), slot.cpu)) settle(slot);
}

/// Where threads outnumber CPUs, one that spins keeps the one it waits for from running.
std::chrono::nanoseconds WorkerTeam::spin_or_none(std::chrono::nanoseconds spin) const noexcept {
    return placement_.oversubscribed ? std::chrono::nanoseconds(0) : spin;
}

bool WorkerTeam::inside_part() noexcept { return in_part; }

Status WorkerTeam::run(const Job& job) noexcept {
    make_way();
    job_ = job;
    failed_.store(false, std::memory_order_relaxed);
    pending_.store(started_, std::memory_order_relaxed);
    const std::uint32_t before = done_.load();
    if (started_ > 0) {
        start_.advance();
    }
    execute(slots_[0]);
    if (started_ > 0) {
        done_.wait_past(before, spin_or_none(caller_spin));
    }
    return failed_.load(std::memory_order_relaxed) ? take_error() : Status();
}

void* WorkerTeam::thread_main(void* argument) noexcept {
    Slot& slot = *static_cast<Slot*>(argument);
    name_thread(slot.part);
    slot.team->work(slot);
    return nullptr;
}

void WorkerTeam::work(Slot& slot) noexcept {
    // The first run may have been started before this thread got here, so the counter is compared with its
    // initial value.
    for (std::uint32_t seen = 0;;) {
        seen = start_.wait_past(seen, spin_or_none(worker_spin));
        if (stop_.load(std::memory_order_relaxed)) {
            return;
        }
        if (affinity_.cpus(slot.part, caller_zone_) != slot.cpus) {
            slot.cpu = sched_getcpu();
            settle(slot);
        }
        execute(slot);
        slot.cpu = sched_getcpu();
        if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            done_.advance();
        }
    }
}

void WorkerTeam::execute(Slot& slot) noexcept {
    in_part = true;
    Status status = as_result([&]() -> Status {
        try {
            return job_.call(job_.context, slot.part, slot.scratch);
        } catch (const std::exception& error) {
            return Error{ErrorCode::invalid_argument,
                         fmt::format("fn threw in part {}, which it must not: {}", slot.part, error.what())};
        } catch (...) {
            return Error{ErrorCode::invalid_argument,
                         fmt::format("fn threw in part {}, which it must not", slot.part)};
        }
    });
    in_part = false;
    if (!status) {
        slot.status = std::move(status);
        failed_.store(true, std::memory_order_relaxed);
    }
}

/// The error of the failed part with the lowest number; all are forgotten.
Status WorkerTeam::take_error() noexcept {
    Status first;
    for (int part = parts_ - 1; part >= 0; --part) {
        if (!slots_[part].status) {
            first = std::exchange(slots_[part].status, Status());
        }
    }
    return first;
}

}  // namespace tandem
