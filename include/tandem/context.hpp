// Context: the way from a descriptor to a Kernel, and the cache of those already generated.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "tandem/descriptor.hpp"
#include "tandem/kernel.hpp"

namespace tandem {

enum class Isa : std::uint8_t { avx2, avx512 };
const char* to_string(Isa isa) noexcept;
Result<Isa> parse_isa(std::string_view text);

/// What dispatch may choose by itself is optional here.
struct DispatchOptions {
    std::optional<Isa> isa{};               // default: TANDEM_ISA, else the best this CPU and OS offer
    int threads = 1;                        // how many parts are meant to run at once: a hint for the plan, never a condition
    std::shared_ptr<const Plan> plan{};     // overrides the planner; an impossible plan is an error
};

struct CacheStats {
    std::uint64_t hits = 0, misses = 0, evictions = 0, failures = 0;
    std::uint64_t entries = 0, code_bytes = 0;
    double emission_seconds = 0;  // summed over misses
};

struct ContextOptions {
    std::size_t cache_capacity = 0;  // kernels kept; 0: TANDEM_CACHE_CAPACITY, else 4096
};

/// Thread-safe: any number of threads may dispatch at once; a key is compiled once however many ask.
class Context {
public:
    explicit Context(const ContextOptions& options = {});
    ~Context();
    Context(Context&&) noexcept;
    Context& operator=(Context&&) noexcept;

    /// A process-wide context, made at first use.
    static Context& shared();

    Result<Kernel> dispatch(const ConvPair& pair, const DispatchOptions& options = {});
    Result<Kernel> dispatch(const SingleConv& single, const DispatchOptions& options = {});

    CacheStats cache_stats() const;
    /// Forgets every entry; kernels in use stay valid.
    void clear_cache();

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace tandem
