#include "core/run/whole_file.hpp"

#include <fmt/format.h>

#include <atomic>
#include <cstring>
#include <filesystem>

namespace tandem {
namespace {

namespace fs = std::filesystem;

Status write_all(std::string_view kind, const std::string& path, std::string_view text) {
    const File file(path, O_CREAT | O_EXCL | O_WRONLY);
    if (!file) return file_error("Creating", kind, path, std::strerror(errno));
    while (!text.empty()) {
        const ssize_t written = uninterrupted([&] { return ::write(file.get(), text.data(), text.size()); });
        if (written < 0) return file_error("Writing", kind, path, std::strerror(errno));
        text.remove_prefix(static_cast<std::size_t>(written));
    }
    if (uninterrupted([&] { return ::fsync(file.get()); }) != 0)
        return file_error("Writing", kind, path, std::strerror(errno));
    return {};
}

// So that the renaming itself survives a crash. Not every file system can; the file is whole either way.
void sync_directory(const fs::path& directory) {
    const File file(directory.string(), O_RDONLY | O_DIRECTORY);
    if (file) static_cast<void>(::fsync(file.get()));
}

}  // namespace

Error file_error(std::string_view action, std::string_view kind, const std::string& path,
                 const std::string& why) {
    return {ErrorCode::system, fmt::format("{} {} {} failed: {}.", action, kind, path, why)};
}

Status replace_file(std::string_view kind, const std::string& path, std::string_view text) {
    static std::atomic<unsigned> counter{0};
    const std::string temporary = fmt::format("{}.{}.{}.tmp", path, ::getpid(), counter.fetch_add(1));
    Status status = write_all(kind, temporary, text);
    if (status && ::rename(temporary.c_str(), path.c_str()) != 0)
        status = file_error("Replacing", kind, path, std::strerror(errno));
    if (status)
        sync_directory(fs::path(path).parent_path());
    else
        ::unlink(temporary.c_str());
    return status;
}

}  // namespace tandem
