// File formats: proc(5) for mountinfo, cgroups(7) for /proc/self/cgroup, and the kernel's
// Documentation/admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst for the quota files.
#include "core/run/cgroup.hpp"

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace tandem {
namespace {

namespace fs = std::filesystem;

struct Mount {
    fs::path root;   // the directory of the cgroup hierarchy that is mounted
    fs::path point;  // where
    bool v2 = false;
};

/// Is `item` one of the comma-separated names in `list`?
bool lists(std::string_view list, std::string_view item) {
    while (!list.empty()) {
        const std::size_t comma = list.find(',');
        if (list.substr(0, comma) == item) {
            return true;
        }
        list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
    }
    return false;
}

/// mountinfo writes space, tab, newline and backslash as a backslash and three octal digits.
std::string unescape(std::string_view text) {
    const auto octal = [](char c) {
        return c >= '0' && c <= '7';
    };
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && i + 3 < text.size() && octal(text[i + 1]) && octal(text[i + 2]) &&
            octal(text[i + 3])) {
            out +=
                static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
            i += 3;
        } else {
            out += text[i];
        }
    }
    return out;
}

/// One line of mountinfo if it mounts a hierarchy that can hold CPU quotas:
///   36 35 98:0 <root> <mount point> rw,noatime master:1 - <type> <source> <super options>
std::optional<Mount> parse_mount(const std::string& line) {
    const std::size_t separator = line.find(" - ");
    if (separator == std::string::npos) {
        return std::nullopt;
    }
    std::istringstream before(line.substr(0, separator)), after(line.substr(separator + 3));
    std::string id, parent, device, root, point, type, source, options;
    before >> id >> parent >> device >> root >> point;
    after >> type >> source >> options;
    const bool v2 = type == "cgroup2";
    if (point.empty() || !(v2 || (type == "cgroup" && lists(options, "cpu")))) {
        return std::nullopt;
    }
    return Mount{unescape(root), unescape(point), v2};
}

std::vector<Mount> cgroup_mounts(const fs::path& root) {
    std::vector<Mount> mounts;
    std::ifstream file(root / "proc/self/mountinfo");
    for (std::string line; std::getline(file, line);) {
        if (auto mount = parse_mount(line)) {
            mounts.push_back(std::move(*mount));
        }
    }
    return mounts;
}

/// This process's group in the v2 hierarchy ("0::<path>") or in v1's cpu one ("<id>:cpu,cpuacct:<path>").
std::optional<fs::path> own_group(const fs::path& root, bool v2) {
    std::ifstream file(root / "proc/self/cgroup");
    for (std::string line; std::getline(file, line);) {
        const std::size_t first = line.find(':');
        const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
        if (second == std::string::npos) {
            continue;
        }
        const std::string controllers = line.substr(first + 1, second - first - 1);
        if (v2 ? controllers.empty() && line.starts_with("0:") : lists(controllers, "cpu")) {
            return line.substr(second + 1);
        }
    }
    return std::nullopt;
}

/// CPUs allowed by one group directory; 0: no limit.
double group_quota(const fs::path& directory, bool v2) {
    double quota = 0, period = 0;  // microseconds; extracting v2's "max" fails and leaves a quota of 0
    if (v2) {
        std::ifstream(directory / "cpu.max") >> quota >> period;
    } else {
        std::ifstream(directory / "cpu.cfs_quota_us") >> quota;
        std::ifstream(directory / "cpu.cfs_period_us") >> period;
    }
    return quota > 0 && period > 0 ? quota / period : 0;
}

/// The group's path below the mount point. A container may see a path of the host that is not below what it
/// has mounted, or one above its namespace ("/../x"); the mount point itself is then the nearest group.
fs::path path_in_mount(const fs::path& group, const Mount& mount) {
    const fs::path relative = group.lexically_relative(mount.root);
    const bool outside = relative.empty() || relative == "." || *relative.begin() == "..";
    return outside ? fs::path() : relative;
}

double smaller_quota(double a, double b) { return a > 0 && b > 0 ? std::min(a, b) : std::max(a, b); }

double hierarchy_quota(const fs::path& root, const Mount& mount, const fs::path& group) {
    const fs::path top = root / mount.point.relative_path();
    double smallest = group_quota(top, mount.v2);
    fs::path directory = top;
    for (const fs::path& name : path_in_mount(group, mount)) {
        directory /= name;
        smallest = smaller_quota(smallest, group_quota(directory, mount.v2));
    }
    return smallest;
}

}  // namespace

double cpu_quota(const fs::path& root) {
    double smallest = 0;
    for (const Mount& mount : cgroup_mounts(root)) {
        if (const auto group = own_group(root, mount.v2)) {
            smallest = smaller_quota(smallest, hierarchy_quota(root, mount, *group));
        }
    }
    return smallest;
}

}  // namespace tandem
