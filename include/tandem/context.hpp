// Context: the way from a descriptor to a Kernel, and the cache of those already generated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tandem/code_observer.hpp"
#include "tandem/descriptor.hpp"
#include "tandem/export.h"
#include "tandem/isa.hpp"
#include "tandem/kernel.hpp"
#include "tandem/machine_profile.hpp"

namespace tandem {

/// How hard to look for a plan.
enum class Effort : std::uint8_t {
    estimate,    // wisdom where there is some, else the planner's rules; nothing is measured
    measure,     // the same, but without wisdom the most promising plans are timed first: a second or two
    exhaustive,  // every candidate is timed, with more patience: up to half a minute
};
TANDEM_API const char* to_string(Effort effort) noexcept;
TANDEM_API Result<Effort> parse_effort(std::string_view text) noexcept;

/// What dispatch may choose by itself is optional here.
struct DispatchOptions {
    std::optional<Isa> isa{};  // default: TANDEM_ISA, else the best this CPU and OS offer
    int threads = 1;  // 1 to 4096: how many parts are meant to run at once: a hint for the plan, never a
                      // condition
    std::shared_ptr<const Plan> plan{};  // overrides wisdom and planner; an impossible plan is an error
    Effort effort =
        Effort::estimate;  // how hard to look for a plan where neither the cache nor wisdom has one
};

struct CacheStats {
    std::uint64_t hits = 0, misses = 0, evictions = 0, failures = 0;
    std::uint64_t entries = 0;     // those being compiled, too
    std::uint64_t code_bytes = 0;  // of machine code
    double emission_seconds = 0;   // summed over misses
};

struct ContextOptions {
    std::size_t cache_capacity = 0;            // kernels kept; 0: TANDEM_CACHE_CAPACITY, else 4096
    std::size_t cache_bytes = 0;               // of machine code kept; 0: TANDEM_CACHE_BYTES, else 256 MB
    std::shared_ptr<CodeObserver> observer{};  // told of the code of this context's kernels
    /// What to plan with, of the profile its rates; default: MachineProfile::of_this_machine(), or, where
    /// `measure_machine`, measured by the first dispatch that compiles under no plan of the caller's, once a
    /// process. A profile changes plans, and with them speed, but no bit of any result: arithmetic follows
    /// from descriptor, ISA and the kind of CPU.
    std::optional<MachineProfile> profile{};
    bool measure_machine = false;
};

/// Thread-safe: any number of threads may dispatch at once; a key is compiled once however many ask. After
/// fork() at any moment the child may dispatch, too, with what was compiled by then.
///
/// A Context that was moved from, or that there was no memory to make, is empty: every call on it returns an
/// Error.
class TANDEM_API Context {
public:
    explicit Context(const ContextOptions& options = {}) noexcept;
    ~Context();
    Context(Context&&) noexcept;
    Context& operator=(Context&&) noexcept;
    /// Is it not empty?
    explicit operator bool() const noexcept { return impl_ != nullptr; }

    /// A process-wide context, made at first use, which lives until the process has ended: static
    /// destructors may use it.
    static Context& shared() noexcept;

    Result<Kernel> dispatch(const ConvChain& chain, const DispatchOptions& options = {}) noexcept;

    /// Compiles what later dispatches of these chains with these options will find, on up to `workers`
    /// threads of its own at once (0: one per CPU that the caller may run on; 1: on the caller's thread
    /// alone). All that can be compiled are, whatever fails; the error is that of the first chain that
    /// failed, by number.
    Status prewarm(std::span<const ConvChain> chains, const DispatchOptions& options = {},
                   int workers = 0) noexcept;

    /// Wisdom: plans that measuring found best, by descriptor, machine and thread count (docs/tuning.md).
    /// The file at the default location, if there is one, is read at the first dispatch that has to
    /// compile; what a dispatch with effort `measure` or `exhaustive` learns is remembered, and saved there
    /// too. Neither failing makes a dispatch fail: see wisdom_notes().
    ///
    /// Default location: TANDEM_WISDOM; else $XDG_CACHE_HOME/tandem/wisdom.json; else
    /// ~/.cache/tandem/wisdom.json. With TANDEM_WISDOM set to the empty string nothing is read or saved
    /// unless asked for by path.
    ///
    /// Adds the wisdom in a file, by default the one at the default location, and forgets cached kernels,
    /// so that dispatches from now on use it. Errors: the file is missing, unreadable or malformed. Entries
    /// of other machines are skipped with a note.
    Status load_wisdom(const std::string& path = {}) noexcept;
    /// Adds what this context knows to a file, atomically, and keeps whatever else is in it; other
    /// processes may do so at once.
    Status save_wisdom(const std::string& path = {}) const noexcept;
    /// Why wisdom was not read, not saved, or not used, a sentence each. May throw std::bad_alloc.
    std::vector<std::string> wisdom_notes() const;

    CacheStats cache_stats() const noexcept;
    /// Forgets every entry; kernels in use stay valid.
    void clear_cache() noexcept;

private:
    struct TANDEM_HIDDEN Impl;
    TANDEM_HIDDEN explicit Context(std::nullptr_t) noexcept;
    template <class Fn>
    auto with_impl(Fn&& fn) const noexcept -> decltype(fn(std::declval<Impl&>()));
    std::unique_ptr<Impl> impl_;
};

}  // namespace tandem
