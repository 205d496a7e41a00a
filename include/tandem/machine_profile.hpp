// MachineProfile: what is known of a machine: its CPU, caches and cores, and how fast it does what kernels
// consist of. The planner plans with it.
//
//   auto profile = MachineProfile::measure();       // half a second, on a quiet machine
//   Context context({.profile = *profile});
//
// Written and read as JSON; docs/new-cpu.md says what is in it. `tandem cpu` measures more thoroughly.
#pragma once

#include <memory>
#include <string>

#include "tandem/export.h"
#include "tandem/result.hpp"

namespace tandem {

struct Machine;  // core/plan/machine.hpp

/// An immutable value, cheap to copy. Thread-safe.
class TANDEM_API MachineProfile {
public:
    /// What a Context without a profile of its own plans with: the file that TANDEM_MACHINE names; else the
    /// one that `tandem cpu` saved for this CPU in $XDG_CACHE_HOME/tandem or ~/.cache/tandem (with
    /// TANDEM_MACHINE set to the empty string no file is read); else the figures built in for CPUs of this
    /// kind; else what its features let expect. Errors: TANDEM_MACHINE names a file that cannot be read or is
    /// no profile; no ISA that Tandem generates for.
    static Result<MachineProfile> of_this_machine() noexcept;

    /// Measures the calling thread's core for about half a second, with small kernels of every kind. What
    /// others do to the machine meanwhile makes it look slower. Errors: no ISA that Tandem generates for.
    static Result<MachineProfile> measure() noexcept;

    /// Errors name the file and what is wrong.
    static Result<MachineProfile> load(const std::string& path) noexcept;
    Status save(const std::string& path) const noexcept;

    /// Where the rates are from, e.g. "measured 2026-11-28T22:00:00Z". May throw std::bad_alloc.
    std::string source() const;

    const Machine& machine() const noexcept { return *machine_; }

private:
    explicit MachineProfile(std::shared_ptr<const Machine> machine) : machine_(std::move(machine)) {}
    std::shared_ptr<const Machine> machine_;  // never null
};

}  // namespace tandem
