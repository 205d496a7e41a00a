// Partition: splitting a number of items (output tiles) into balanced contiguous parts. Pure functions.
#pragma once

#include <cstdint>

namespace tandem {

/// Items begin .. end-1.
struct Range {
    std::int64_t begin = 0, end = 0;

    std::int64_t size() const noexcept { return end - begin; }
    bool empty() const noexcept { return begin >= end; }
    bool operator==(const Range&) const = default;
};

/// Part `part` (0 .. nparts-1) of `items` items. The parts follow each other without gaps, cover every item
/// once, and their sizes differ by at most one, the longer ones first; with fewer items than parts the last
/// parts are empty. Out-of-range arguments (items < 0, nparts < 1, part outside 0 .. nparts-1) give an
/// empty range. Never overflows.
Range part_range(std::int64_t items, int part, int nparts) noexcept;

}  // namespace tandem
