#include "core/run/core_kinds.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace tandem {
namespace {

/// FMA throughput of Intel's E-cores per cycle against their P-cores': Gracemont and Crestmont execute two
/// 128-bit FMAs where the P-cores execute two 256-bit ones. From the vendor's optimisation manual; later
/// E-cores are wider, so this is a lower bound.
constexpr double atom_speed = 0.5;

/// For a kind that is ranked lower and about which nothing else is known. A guess, the same as for E-cores.
constexpr double unknown_speed = 0.5;

/// Kinds within this factor are one. Favoured cores of server and desktop parts differ by up to about 10 %
/// in their maximum frequency, compact cores of the same design by 25 % or more.
constexpr double same_kind_speed = 0.8;

/// What hwloc tells of one kind; megahertz is 0 where unknown.
struct KindFacts {
    Cpuset cpuset;
    double megahertz = 0;
    bool atom = false;
};

KindFacts read_kind(hwloc_topology_t topology, unsigned index) {
    KindFacts facts{new_cpuset()};
    unsigned info_count = 0;
    hwloc_info_s* infos = nullptr;
    int efficiency = 0;
    hwloc_cpukinds_get_info(topology, index, facts.cpuset.get(), &efficiency, &info_count, &infos, 0);
    for (unsigned i = 0; i < info_count; ++i) {
        const std::string_view name = infos[i].name;
        if (name == "FrequencyMaxMHz") {
            facts.megahertz = std::atof(infos[i].value);
        } else if (name == "CoreType") {
            facts.atom = std::strcmp(infos[i].value, "IntelAtom") == 0;
        }
    }
    return facts;
}

double relative_speed(const KindFacts& kind, const KindFacts& best) {
    const double per_cycle = kind.atom && !best.atom ? atom_speed : 1;
    if (kind.megahertz > 0 && best.megahertz > 0) {
        return per_cycle * kind.megahertz / best.megahertz;
    }
    return per_cycle < 1 ? per_cycle : unknown_speed;
}

bool ranked(hwloc_topology_t topology) {
    int efficiency = -1;
    return hwloc_cpukinds_get_info(topology, 0, nullptr, &efficiency, nullptr, nullptr, 0) == 0 &&
           efficiency >= 0;
}

}  // namespace

std::vector<CoreKind> core_kinds(hwloc_topology_t topology) {
    const int count = hwloc_cpukinds_get_nr(topology, 0);
    std::vector<CoreKind> kinds;
    if (count < 2 || !ranked(topology)) {
        return kinds;
    }
    const KindFacts best =
        read_kind(topology, static_cast<unsigned>(count) - 1);  // hwloc lists the most capable last
    kinds.push_back({copy_of(best.cpuset.get()), 1});
    for (int index = count - 2; index >= 0; --index) {
        KindFacts facts = read_kind(topology, static_cast<unsigned>(index));
        const double speed = std::min(relative_speed(facts, best), kinds.back().speed);
        if (speed >= same_kind_speed * kinds.back().speed) {
            hwloc_bitmap_or(kinds.back().cpuset.get(), kinds.back().cpuset.get(), facts.cpuset.get());
        } else {
            kinds.push_back({std::move(facts.cpuset), speed});
        }
    }
    return kinds;
}

int kind_of(const std::vector<CoreKind>& kinds, unsigned cpu) {
    const auto has_cpu = [&](const CoreKind& kind) {
        return hwloc_bitmap_isset(kind.cpuset.get(), cpu) != 0;
    };
    const auto found = std::ranges::find_if(kinds, has_cpu);
    return found == kinds.end() ? 0 : static_cast<int>(found - kinds.begin());
}

}  // namespace tandem
