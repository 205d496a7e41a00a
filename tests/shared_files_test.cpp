// Wisdom that several users share by a group's directory. Other users are children that become them, so
// only root can run it.
#include "support/doctest.hpp"

#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/run/whole_file.hpp"
#include "core/run/wisdom_file.hpp"
#include "support/in_child.hpp"
#include "support/temporary_directory.hpp"

using namespace tandem;
using tandem::test::in_child;
using tandem::test::TemporaryDirectory;
namespace fs = std::filesystem;

namespace {

constexpr uid_t ann = 61001, bob = 61002;
constexpr gid_t team = 61010, others = 61011;

struct stat info_of(const std::string& path) {
    struct stat info {};
    REQUIRE(stat(path.c_str(), &info) == 0);
    return info;
}
unsigned mode_of(const std::string& path) { return info_of(path).st_mode & 07777; }

template <class Body>
bool as_user(uid_t user, gid_t group, mode_t mask, Body body) {
    const auto code = in_child([&] {
        umask(mask);
        if (setgroups(0, nullptr) != 0 || setgid(group) != 0 || setuid(user) != 0) return 2;
        return body() ? 0 : 1;
    });
    return code == 0;
}

WisdomEntry entry_named(const std::string& problem) {
    WisdomEntry entry;
    entry.key.problem = problem;
    entry.microseconds = 5;
    entry.plan.stages[0].block_pixels = 1;
    return entry;
}

bool save_as(uid_t user, gid_t group, mode_t mask, const std::string& path, const std::string& problem) {
    return as_user(user, group, mask, [&] {
        Wisdom wisdom;
        wisdom.add(entry_named(problem));
        return save_wisdom(path, wisdom).ok();
    });
}

/// That the team may write to, as one does for a group: chgrp, chmod 2775.
void give_to_team(const std::string& path) {
    REQUIRE(chmod(fs::path(path).parent_path().c_str(), 0755) == 0);
    fs::create_directory(path);
    REQUIRE(chown(path.c_str(), ann, team) == 0);
    REQUIRE(chmod(path.c_str(), 02775) == 0);
}

bool skipped() {
    if (geteuid() == 0) return false;
    MESSAGE("skipped: only root can become other users");
    return true;
}

}  // namespace

TEST_CASE("shared files: users of a group add to one wisdom file, whatever the umask of the first") {
    if (skipped()) return;
    for (const mode_t mask : {0022, 0002, 0027}) {
        INFO("umask " << mask);
        const TemporaryDirectory directory;
        give_to_team(directory / "team");
        const std::string path = directory / "team/wisdom.json";
        CHECK(save_as(ann, team, mask, path, "a"));
        CHECK(mode_of(path) == (0666 & ~mask));
        CHECK(save_as(bob, team, 0022, path, "b"));
        CHECK(save_as(ann, team, 0022, path, "c"));
        CHECK(mode_of(path) == (0666 & ~mask));
        CHECK(info_of(path).st_gid == team);
        const Result<Wisdom> wisdom = read_wisdom(path);
        REQUIRE(wisdom);
        CHECK(wisdom->entries().size() == 3);
        CHECK_FALSE(save_as(bob, others, 0022, path, "d"));  // the directory is not theirs
    }
}

TEST_CASE("shared files: saving keeps mode, group and, for root, owner") {
    if (skipped()) return;
    const TemporaryDirectory directory;
    give_to_team(directory / "team");
    const std::string path = directory / "team/wisdom.json";
    REQUIRE(save_as(ann, team, 0022, path, "a"));
    REQUIRE(chmod(path.c_str(), 0660) == 0);
    Wisdom wisdom;
    wisdom.add(entry_named("by root"));
    REQUIRE(save_wisdom(path, wisdom));
    CHECK(info_of(path).st_uid == ann);
    CHECK(info_of(path).st_gid == team);
    CHECK(mode_of(path) == 0660);
    // Who is in none of the file's groups cannot give the file to that one: it gets no rights of another.
    REQUIRE(chown(path.c_str(), bob, others) == 0);
    REQUIRE(chmod(path.c_str(), 0664) == 0);
    REQUIRE(chmod((directory / "team").c_str(), 0775) == 0);  // new files have their writer's group
    REQUIRE(save_as(ann, team, 0022, path, "b"));
    CHECK(info_of(path).st_gid == team);
    CHECK(mode_of(path) == 0644);
}

TEST_CASE("shared files: a new file follows the umask, and a link is kept") {
    const TemporaryDirectory directory;
    const mode_t old = umask(0077);
    REQUIRE(save_wisdom(directory / "wisdom.json", {}));
    umask(old);
    CHECK(mode_of(directory / "wisdom.json") == 0600);
    fs::create_symlink("wisdom.json", directory / "link.json");
    REQUIRE(save_wisdom(directory / "link.json", {}));
    CHECK(fs::is_symlink(directory / "link.json"));
    CHECK(mode_of(directory / "wisdom.json") == 0600);
    REQUIRE(chmod((directory / "wisdom.json").c_str(), 0400) == 0);
    CHECK(save_wisdom(directory / "link.json", {}).error().message.find("read-only") != std::string::npos);
}
