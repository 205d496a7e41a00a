#include "core/run/cgroup.hpp"

#include "support/doctest.hpp"
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace fs = std::filesystem;

namespace {

/// A directory that stands for "/" and is removed at the end.
class FakeRoot {
public:
    FakeRoot() {
        std::string name = (fs::temp_directory_path() / "tandem-cgroup-XXXXXX").string();
        path_ = mkdtemp(name.data());
    }
    ~FakeRoot() { fs::remove_all(path_); }
    FakeRoot(const FakeRoot&) = delete;
    FakeRoot& operator=(const FakeRoot&) = delete;

    FakeRoot& file(const std::string& name, const std::string& text) {
        fs::create_directories((path_ / name).parent_path());
        std::ofstream(path_ / name) << text;
        return *this;
    }
    double quota() const { return tandem::cpu_quota(path_); }

private:
    fs::path path_;
};

constexpr auto v2_mount = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr auto v1_mount =
    "33 25 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n";

}  // namespace

TEST_CASE("no proc files: no quota") { CHECK(FakeRoot().quota() == 0); }

TEST_CASE("v2: the group's own cpu.max") {
    FakeRoot root;
    root.file("proc/self/mountinfo", v2_mount).file("proc/self/cgroup", "0::/app.slice/job\n");
    SUBCASE("a number") {
        CHECK(root.file("sys/fs/cgroup/app.slice/job/cpu.max", "250000 100000\n").quota() == 2.5);
    }
    SUBCASE("max") { CHECK(root.file("sys/fs/cgroup/app.slice/job/cpu.max", "max 100000\n").quota() == 0); }
    SUBCASE("garbage") { CHECK(root.file("sys/fs/cgroup/app.slice/job/cpu.max", "?").quota() == 0); }
    SUBCASE("missing") { CHECK(root.quota() == 0); }
}

TEST_CASE("v2: the smallest quota on the way up counts") {
    FakeRoot root;
    root.file("proc/self/mountinfo", v2_mount).file("proc/self/cgroup", "0::/a/b/c\n");
    root.file("sys/fs/cgroup/a/b/c/cpu.max", "800000 100000\n");
    root.file("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    root.file("sys/fs/cgroup/a/cpu.max", "150000 50000\n");
    root.file("sys/fs/cgroup/other/cpu.max", "10000 100000\n");
    CHECK(root.quota() == 3);
}

TEST_CASE("v2: in a container the mount point is the group itself") {
    FakeRoot root;
    root.file("sys/fs/cgroup/cpu.max", "50000 100000\n");
    SUBCASE("own cgroup namespace") {
        root.file("proc/self/mountinfo", v2_mount).file("proc/self/cgroup", "0::/\n");
    }
    SUBCASE("a path above the namespace") {
        root.file("proc/self/mountinfo", v2_mount).file("proc/self/cgroup", "0::/../other\n");
    }
    SUBCASE("the host's path, and only a subtree mounted") {
        root.file("proc/self/mountinfo", "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
        root.file("proc/self/cgroup", "0::/docker/abc\n");
    }
    CHECK(root.quota() == 0.5);
}

TEST_CASE("a subtree mount: the path below it is searched") {
    FakeRoot root;
    root.file("proc/self/mountinfo", "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
    root.file("proc/self/cgroup", "0::/docker/abc/inner\n");
    root.file("sys/fs/cgroup/inner/cpu.max", "100000 100000\n");
    CHECK(root.quota() == 1);
}

TEST_CASE("v1: quota and period files") {
    FakeRoot root;
    root.file("proc/self/mountinfo", v1_mount);
    root.file("proc/self/cgroup", "5:memory:/job\n4:cpu,cpuacct:/job\n");
    const std::string group = "sys/fs/cgroup/cpu,cpuacct/job/";
    root.file(group + "cpu.cfs_period_us", "100000\n");
    SUBCASE("limited") { CHECK(root.file(group + "cpu.cfs_quota_us", "400000\n").quota() == 4); }
    SUBCASE("-1 is unlimited") { CHECK(root.file(group + "cpu.cfs_quota_us", "-1\n").quota() == 0); }
    SUBCASE("the parent limits") {
        root.file(group + "cpu.cfs_quota_us", "-1\n");
        root.file("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "200000\n");
        root.file("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
        CHECK(root.quota() == 2);
    }
}

TEST_CASE("v1: the cpuset and cpuacct hierarchies are not the cpu one") {
    FakeRoot root;
    root.file("proc/self/mountinfo", "34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n");
    root.file("proc/self/cgroup", "3:cpuset:/\n2:cpuacct:/\n");
    root.file("sys/fs/cgroup/cpuset/cpu.cfs_quota_us", "100000\n");
    root.file("sys/fs/cgroup/cpuset/cpu.cfs_period_us", "100000\n");
    CHECK(root.quota() == 0);
}

TEST_CASE("v1 and v2 side by side: the smaller counts") {
    FakeRoot root;
    root.file("proc/self/mountinfo",
              std::string(v1_mount) + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    root.file("proc/self/cgroup", "1:cpu,cpuacct:/\n0::/\n");
    root.file("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "300000\n");
    root.file("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    CHECK(root.quota() == 3);
    CHECK(root.file("sys/fs/cgroup/unified/cpu.max", "200000 100000\n").quota() == 2);
}

TEST_CASE("an escaped mount point") {
    FakeRoot root;
    root.file("proc/self/mountinfo", "30 23 0:26 / /my\\040groups rw - cgroup2 cgroup2 rw\n");
    root.file("proc/self/cgroup", "0::/\n").file("my groups/cpu.max", "100000 100000\n");
    CHECK(root.quota() == 1);
}
