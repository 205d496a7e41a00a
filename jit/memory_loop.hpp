// Memory loops: probe loops over `bytes` of `memory` (jit/probe_loop.hpp has their signature): streams,
// chases of pointers, and what a core does with addresses that are awkward.
#pragma once

#include "jit/probe_loop.hpp"

namespace tandem::jit {

enum class Stream : std::uint8_t { read, write, copy };
const char* to_string(Stream stream) noexcept;

/// Goes through `bytes` (a multiple of 2048), vector by vector; a copy has its source in the first half. An
/// iteration is one pass. Units: 1.
Result<ProbeLoop> stream_loop(Stream stream, Isa isa);
/// Loads tiles from all of `bytes` (a multiple of 16 * stride), whose rows are `stride` bytes apart. An
/// iteration is one pass. Units: 1.
Result<ProbeLoop> tile_stream_loop(std::int64_t stride, Isa isa);

/// Follows pointers: `memory` begins with one, and wherever it leads is another. Units: steps.
Result<ProbeLoop> chase_loop();
/// Visits lines in an order that no prefetcher knows, each only once the one before has arrived, and
/// prefetches the line that is `distance` steps ahead (0: none). bytes: a power of two, all zero. The order
/// is that of next_line(). Units: steps.
Result<ProbeLoop> prefetch_loop(int distance);
/// The line visited after `line`, of `lines` (a power of two, 4 or more): all are visited before one is
/// again.
std::uint64_t next_line(std::uint64_t line, std::uint64_t lines) noexcept;

enum class AwkwardAccess : std::uint8_t {
    aligned_load,    // as the measure of the others
    line_split,      // loads across the border of two lines
    page_split,      // of two pages
    forward,         // a store and a load of the same bytes, that waits for it
    forward_narrow,  // a load of a part of what was stored
    forward_wide,    // a load of more than was stored
    // a load whose address agrees with that of the store before in the low 12 bits only; what is stored next
    // is what it loads, so that waiting for the store shows
    alias_4k,
    no_alias,  // the same without that, as its measure
};
inline constexpr int awkward_access_count = 8;
const char* to_string(AwkwardAccess access) noexcept;
/// Units: loads.
Result<ProbeLoop> awkward_loop(AwkwardAccess access, Isa isa);

}  // namespace tandem::jit
