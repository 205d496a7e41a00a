#include "core/run/whole_file.hpp"

#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <fmt/format.h>

#include <array>
#include <atomic>
#include <cstring>
#include <filesystem>

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";
constexpr int max_links = 40;  // as many as Linux follows
constexpr mode_t group_bits = 0070, other_bits = 0007, all_bits = 0777;

Error unreadable(const std::string& path, const std::string& why) {
    return {ErrorCode::system, fmt::format("{} cannot be read: {}.", path, why)};
}

const char* kind_of(mode_t mode) {
    if (S_ISDIR(mode)) return "a directory";
    if (S_ISFIFO(mode)) return "a pipe";
    if (S_ISSOCK(mode)) return "a socket";
    return "a device";
}

/// nullopt: it can be read whole.
std::optional<std::string> why_refused(const struct stat& info) {
    if (!S_ISREG(info.st_mode))
        return fmt::format("it is {}; a regular file is accepted", kind_of(info.st_mode));
    if (static_cast<std::size_t>(info.st_size) > max_file_bytes)
        return fmt::format("it has more than {} MB", max_file_bytes >> 20);
    return std::nullopt;
}

Result<std::string> read_all(const File& file, const std::string& path) {
    std::string text;
    std::array<char, 4096> buffer;  // threads may have small stacks
    for (;;) {
        const ssize_t count = uninterrupted([&] { return ::read(file.get(), buffer.data(), buffer.size()); });
        if (count < 0) return unreadable(path, std::strerror(errno));
        if (count == 0) break;
        text.append(buffer.data(), static_cast<std::size_t>(count));
        if (text.size() > max_file_bytes)
            return unreadable(path, fmt::format("it has more than {} MB", max_file_bytes >> 20));
    }
    if (text.starts_with(byte_order_mark)) text.erase(0, byte_order_mark.size());
    return text;
}

Status write_all(const File& file, std::string_view kind, const std::string& path, std::string_view text) {
    while (!text.empty()) {
        const ssize_t written = uninterrupted([&] { return ::write(file.get(), text.data(), text.size()); });
        if (written < 0) return file_error("Writing", kind, path, std::strerror(errno));
        text.remove_prefix(static_cast<std::size_t>(written));
    }
    return {};
}

void copy_access_list(int from, int to) {
    constexpr const char* name = "system.posix_acl_access";
    std::array<char, 4096> list;
    const ssize_t bytes = ::fgetxattr(from, name, list.data(), list.size());
    if (bytes > 0) static_cast<void>(::fsetxattr(to, name, list.data(), static_cast<std::size_t>(bytes), 0));
}

/// As far as the system permits. In a group that is not the old one, that may do no more than anybody.
void inherit_access(const File& old, const File& file) {
    struct stat info {};
    if (::fstat(old.get(), &info) != 0) return;
    mode_t mode = info.st_mode & all_bits;
    const bool same_group = ::fchown(file.get(), info.st_uid, info.st_gid) == 0 ||
                            ::fchown(file.get(), static_cast<uid_t>(-1), info.st_gid) == 0;
    if (!same_group) mode = (mode & ~group_bits) | ((mode & other_bits) << 3);
    static_cast<void>(::fchmod(file.get(), mode));
    if (same_group) copy_access_list(old.get(), file.get());
}

Status write_new(std::string_view kind, const std::string& path, const std::string& old_path,
                 std::string_view text) {
    const File old(old_path, O_RDONLY | O_NONBLOCK);
    const File file(path, O_CREAT | O_EXCL | O_WRONLY, old ? 0600 : 0666);
    if (!file) return file_error("Creating", kind, path, std::strerror(errno));
    if (old) inherit_access(old, file);
    if (Status status = write_all(file, kind, path, text); !status) return status;
    if (uninterrupted([&] { return ::fsync(file.get()); }) != 0)
        return file_error("Writing", kind, path, std::strerror(errno));
    return {};
}

// So that the renaming itself survives a crash. Not every file system can; the file is whole either way.
void sync_directory(const fs::path& directory) {
    const File file(directory.string(), O_RDONLY | O_DIRECTORY);
    if (file) static_cast<void>(::fsync(file.get()));
}

/// Who may write to the directory may have the lock, whatever its maker's umask.
void open_to_writers_of(const std::string& directory, int lock) {
    struct stat info {
    }, made{};
    if (::stat(directory.c_str(), &info) != 0 || ::fstat(lock, &made) != 0) return;
    const mode_t writers = info.st_mode & 0022;
    static_cast<void>(::fchmod(lock, (made.st_mode & all_bits) | writers | (writers << 1)));
}

int open_lock(const std::string& path) {
    constexpr int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    const int found = ::open(path.c_str(), O_RDWR | flags);
    if (found >= 0) return found;
    if (errno != ENOENT) return ::open(path.c_str(), O_RDONLY | flags);  // a reader may lock, too
    const int made = ::open(path.c_str(), O_CREAT | O_EXCL | O_RDWR | flags, 0666);
    if (made < 0 && errno == EEXIST) return ::open(path.c_str(), O_RDONLY | flags);
    if (made >= 0) open_to_writers_of(fs::path(path).parent_path().string(), made);
    return made;
}

}  // namespace

Error file_error(std::string_view action, std::string_view kind, const std::string& path,
                 const std::string& why) {
    return {ErrorCode::system, fmt::format("{} {} {} failed: {}.", action, kind, path, why)};
}

Result<std::optional<std::string>> read_file_if_there(const std::string& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) {
        if (errno == ENOENT) return std::optional<std::string>{};
        return unreadable(path, std::strerror(errno));
    }
    if (const auto why = why_refused(info)) return unreadable(path, *why);
    const File file(path, O_RDONLY | O_NONBLOCK);
    if (!file) return unreadable(path, std::strerror(errno));
    if (::fstat(file.get(), &info) != 0) return unreadable(path, std::strerror(errno));
    if (const auto why = why_refused(info)) return unreadable(path, *why);  // replaced meanwhile
    Result<std::string> text = read_all(file, path);
    if (!text) return text.error();
    return std::optional(std::move(*text));
}

Result<std::string> read_file(const std::string& path) {
    Result<std::optional<std::string>> text = read_file_if_there(path);
    if (!text) return text.error();
    if (!*text) return unreadable(path, std::strerror(ENOENT));
    return std::move(**text);
}

Result<std::string> replaceable_file(std::string_view kind, const std::string& path) {
    std::error_code error;
    fs::path resolved = fs::absolute(path, error);
    for (int links = 0; links < max_links && fs::is_symlink(resolved, error); ++links) {
        const fs::path next = fs::read_symlink(resolved, error);
        if (error) break;
        resolved = resolved.parent_path() / next;
    }
    resolved = fs::weakly_canonical(resolved, error);
    if (error) return file_error("Finding", kind, path, error.message());
    fs::create_directories(resolved.parent_path(), error);
    if (error) return file_error("Making a directory for", kind, path, error.message());
    struct stat info {};
    if (::stat(resolved.c_str(), &info) != 0) return resolved.string();
    if (!S_ISREG(info.st_mode))
        return file_error("Writing", kind, path, fmt::format("it is {}", kind_of(info.st_mode)));
    if ((info.st_mode & 0222) == 0) return file_error("Writing", kind, path, "it is read-only");
    return resolved.string();
}

Status replace_file(std::string_view kind, const std::string& path, std::string_view text) {
    static std::atomic<unsigned> counter{0};
    const std::string temporary = fmt::format("{}.{}.{}.tmp", path, ::getpid(), counter.fetch_add(1));
    Status status = write_new(kind, temporary, path, text);
    if (status && ::rename(temporary.c_str(), path.c_str()) != 0)
        status = file_error("Replacing", kind, path, std::strerror(errno));
    if (status)
        sync_directory(fs::path(path).parent_path());
    else
        ::unlink(temporary.c_str());
    return status;
}

Status write_file(std::string_view kind, const std::string& path, std::string_view text) {
    const File file(path, O_CREAT | O_TRUNC | O_WRONLY);
    if (!file) return file_error("Opening", kind, path, std::strerror(errno));
    return write_all(file, kind, path, text);
}

FileLock::FileLock(const std::string& path) : file_(open_lock(path + ".lock")) {
    locked_ = file_ && uninterrupted([&] { return ::flock(file_.get(), LOCK_EX); }) == 0;
}

}  // namespace tandem
