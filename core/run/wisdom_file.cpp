#include "core/run/wisdom_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t max_bytes = 64u << 20;  // some 100,000 entries; a larger file is not ours

Error failed(const char* action, const std::string& path, const std::string& why) {
    return {ErrorCode::system, fmt::format("{} wisdom file {} failed: {}.", action, path, why)};
}
Error failed(const char* action, const std::string& path) {
    return failed(action, path, std::strerror(errno));
}

constexpr int max_links = 40;  // as many as Linux follows

class File {
public:
    File(const std::string& path, int flags) : descriptor_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {}
    ~File() {
        if (descriptor_ >= 0) ::close(descriptor_);
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    int get() const noexcept { return descriptor_; }
    explicit operator bool() const noexcept { return descriptor_ >= 0; }

private:
    int descriptor_;
};

// Repeats a call that a signal interrupted.
template <class Call>
auto uninterrupted(Call call) {
    for (;;)
        if (const auto result = call(); result != -1 || errno != EINTR) return result;
}

Status write_all(const std::string& path, std::string_view text) {
    const File file(path, O_CREAT | O_EXCL | O_WRONLY);
    if (!file) return failed("Creating", path);
    while (!text.empty()) {
        const ssize_t written = uninterrupted([&] { return ::write(file.get(), text.data(), text.size()); });
        if (written < 0) return failed("Writing", path);
        text.remove_prefix(static_cast<std::size_t>(written));
    }
    if (uninterrupted([&] { return ::fsync(file.get()); }) != 0) return failed("Writing", path);
    return {};
}

// So that the renaming itself survives a crash. Not every file system can; the file is whole either way.
void sync_directory(const fs::path& directory) {
    const File file(directory.string(), O_RDONLY | O_DIRECTORY);
    if (file) static_cast<void>(::fsync(file.get()));
}

Status replace(const std::string& path, const std::string& text) {
    static std::atomic<unsigned> counter{0};
    const std::string temporary = fmt::format("{}.{}.{}.tmp", path, ::getpid(), counter.fetch_add(1));
    Status status = write_all(temporary, text);
    if (status && ::rename(temporary.c_str(), path.c_str()) != 0) status = failed("Replacing", path);
    if (status)
        sync_directory(fs::path(path).parent_path());
    else
        ::unlink(temporary.c_str());
    return status;
}

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
    return replace(*target, merged->to_text());
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
