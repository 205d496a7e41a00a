#include "core/plan/sysfs.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <set>
#include <string_view>

namespace tandem {
namespace {

namespace fs = std::filesystem;

struct CacheEntry {
    int level = 0;
    std::size_t bytes = 0;
    int sharers = 1;  // hardware threads
};

std::string read_word(const fs::path& file) {
    std::string word;
    std::ifstream(file) >> word;
    return word;
}

/// "32K" or "16M" in bytes; 0 if it is neither.
std::size_t parse_size(std::string_view text) {
    std::size_t number = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc()) {
        return 0;
    }
    const std::string_view unit(rest, static_cast<std::size_t>(text.data() + text.size() - rest));
    return unit == "K" ? number << 10 : unit == "M" ? number << 20 : unit.empty() ? number : 0;
}

/// Calls visit(first, last) for every range of a list of CPUs like "0-3,8-11".
template <class Visit>
void each_range(std::string_view list, Visit visit) {
    while (!list.empty()) {
        const std::size_t comma = std::min(list.find(','), list.size());
        int first = 0, last = 0;
        const char* end = list.data() + comma;
        const auto parsed = std::from_chars(list.data(), end, first);
        last = first;
        if (parsed.ptr != end && *parsed.ptr == '-') {
            std::from_chars(parsed.ptr + 1, end, last);
        }
        visit(first, last);
        list.remove_prefix(std::min(comma + 1, list.size()));
    }
}

/// How many CPUs the list has; at least 1.
int count_cpus(std::string_view list) {
    int count = 0;
    each_range(list, [&](int first, int last) { count += std::max(0, last - first + 1); });
    return std::max(count, 1);
}

bool lists_cpu(std::string_view list, int cpu) {
    bool found = false;
    each_range(list, [&](int first, int last) { found |= first <= cpu && cpu <= last; });
    return found;
}

std::optional<CacheEntry> read_cache(const fs::path& directory) {
    const std::string type = read_word(directory / "type"), level = read_word(directory / "level");
    if ((type != "Data" && type != "Unified") || level.size() != 1) {
        return std::nullopt;
    }
    const CacheEntry entry{level[0] - '0', parse_size(read_word(directory / "size")),
                           count_cpus(read_word(directory / "shared_cpu_list"))};
    return entry.bytes > 0 ? std::optional(entry) : std::nullopt;
}

}  // namespace

int first_cpu() {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
            if (CPU_ISSET(cpu, &set)) {
                return cpu;
            }
        }
    }
    return 0;
}

/// Linux names the kinds of a hybrid Intel processor by their performance counters' devices; other
/// processors have neither.
std::string read_core_kind(int cpu) {
    for (const char* kind : {"core", "atom"}) {
        const std::string cpus = read_word(fmt::format("/sys/devices/cpu_{}/cpus", kind));
        if (!cpus.empty() && lists_cpu(cpus, cpu)) {
            return kind;
        }
    }
    return {};
}

CacheSizes read_caches(const fs::path& cpu_directory) {
    CacheSizes caches;
    constexpr int most_entries = 16;  // CPUs have 3 to 5: two L1, L2, L3 and perhaps L4
    int threads_per_core = 1;         // the sharers of L1, which is listed first
    for (int i = 0; i < most_entries; ++i) {
        const auto cache = read_cache(cpu_directory / "cache" / fmt::format("index{}", i));
        if (!cache) {
            continue;
        }
        const int cores = std::max(1, cache->sharers / threads_per_core);
        switch (cache->level) {
            case 1:
                caches.l1 = cache->bytes;
                threads_per_core = cache->sharers;
                break;
            case 2: caches.l2 = cache->bytes / static_cast<std::size_t>(cores); break;
            case 3:
                caches.l3 = cache->bytes;
                caches.l3_cores = cores;
                break;
        }
    }
    return caches;
}

CoreCounts read_cores(const fs::path& cpus_directory) {
    std::set<std::string> cores;
    int cpus = 0;
    each_range(read_word(cpus_directory / "online"), [&](int first, int last) {
        for (int cpu = first; cpu <= last; ++cpu) {
            const fs::path topology = cpus_directory / fmt::format("cpu{}", cpu) / "topology";
            const std::string siblings = read_word(topology / "thread_siblings_list");
            cores.insert(siblings.empty() ? std::to_string(cpu) : siblings);
            ++cpus;
        }
    });
    const int count = std::max<int>(1, static_cast<int>(cores.size()));
    return {.cores = count, .threads_per_core = std::max(1, cpus / count)};
}

}  // namespace tandem
