#include "core/plan/partition.hpp"

#include <algorithm>

namespace tandem {

Range part_range(std::int64_t items, int part, int nparts) noexcept {
    if (items < 0 || part < 0 || part >= nparts) {
        return {};
    }
    const std::int64_t base = items / nparts;
    const std::int64_t longer_parts = items % nparts;
    const std::int64_t begin = base * part + std::min<std::int64_t>(part, longer_parts);
    return {begin, begin + base + (part < longer_parts ? 1 : 0)};
}

}  // namespace tandem
