#include "core/run/wisdom_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/run/whole_file.hpp"

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t max_bytes = 64u << 20;  // some 100,000 entries; a larger file is not ours

constexpr const char* kind = "wisdom file";

Error failed(const char* action, const std::string& path, const std::string& why) {
    return file_error(action, kind, path, why);
}
Error failed(const char* action, const std::string& path) {
    return failed(action, path, std::strerror(errno));
}

constexpr int max_links = 40;  // as many as Linux follows

// Renaming would replace a file that its owner protected, and a symbolic link instead of what it points at.
Result<std::string> writable_target(const std::string& path) {
    std::error_code error;
    fs::path resolved = fs::absolute(path, error);
    for (int links = 0; links < max_links && fs::is_symlink(resolved, error); ++links)
        resolved = resolved.parent_path() / fs::read_symlink(resolved, error);
    resolved = fs::weakly_canonical(resolved, error);
    if (error) return failed("Finding", path, error.message());
    fs::create_directories(resolved.parent_path(), error);
    if (error) return failed("Making a directory for", path, error.message());
    struct stat info {};
    if (::stat(resolved.c_str(), &info) == 0 && (info.st_mode & 0222) == 0)
        return failed("Writing", path, "it is read-only");
    return resolved.string();
}

Status save(const std::string& path, const Wisdom& wisdom) {
    const Result<std::string> target = writable_target(path);
    if (!target) return target.error();
    const File lock(*target + ".lock",
                    O_CREAT | O_RDWR);  // never removed: another writer may be waiting for it
    if (!lock || uninterrupted([&] { return ::flock(lock.get(), LOCK_EX); }) != 0)
        return failed("Locking", path);
    Result<Wisdom> merged = read_wisdom(*target);
    if (!merged) return merged.error();
    merged->merge(wisdom);
    return replace_file(kind, *target, merged->to_text());
}

}  // namespace

Result<Wisdom> read_wisdom(const std::string& path, MissingFile missing) {
    const File file(path, O_RDONLY);
    if (!file && errno == ENOENT && missing == MissingFile::no_wisdom) return Wisdom{};
    if (!file) return failed("Opening", path);
    std::string text;
    char buffer[65536];
    for (;;) {
        const ssize_t count = uninterrupted([&] { return ::read(file.get(), buffer, sizeof buffer); });
        if (count < 0) return failed("Reading", path);
        if (count == 0) break;
        text.append(buffer, static_cast<std::size_t>(count));
        if (text.size() > max_bytes)
            return failed("Reading", path, fmt::format("it has more than {} MB", max_bytes >> 20));
    }
    return Wisdom::parse(text, path);
}

Status save_wisdom(const std::string& path, const Wisdom& wisdom) {
    try {
        return save(path, wisdom);
    } catch (const fs::filesystem_error& error) {
        return failed("Saving", path, error.what());
    }
}

}  // namespace tandem
