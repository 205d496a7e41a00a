// Files that are read whole, and written so that they are there whole or not at all, whoever reads them
// meanwhile.
#pragma once

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "tandem/result.hpp"

namespace tandem {

/// An open file; closed at the end.
class File {
public:
    File(const std::string& path, int flags, mode_t mode = 0666)
        : File(::open(path.c_str(), flags | O_CLOEXEC | O_NOCTTY, mode)) {}
    explicit File(int descriptor) : descriptor_(descriptor) {}
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

/// Repeats a call that a signal interrupted.
template <class Call>
auto uninterrupted(Call call) {
    for (;;)
        if (const auto result = call(); result != -1 || errno != EINTR) return result;
}

/// "Writing wisdom file PATH failed: WHY."
Error file_error(std::string_view action, std::string_view kind, const std::string& path,
                 const std::string& why);

/// Larger files are none of ours: wisdom of 100,000 layers has this size.
inline constexpr std::size_t max_file_bytes = 64u << 20;

/// The text of a regular file, without a UTF-8 byte order mark. Whatever else has that name, be it a
/// directory, a pipe, a socket or a device, is an error at once: reading never waits.
Result<std::string> read_file(const std::string& path);
/// The same; nullopt where there is no such file.
Result<std::optional<std::string>> read_file_if_there(const std::string& path);

/// Where the symbolic links of `path` lead, its directory made where there was none: what to replace. A file
/// that its owner protected from writing is an error. `kind` is what errors call the file, e.g. "wisdom
/// file".
Result<std::string> replaceable_file(std::string_view kind, const std::string& path);

/// Writes the text beside the file and renames it: readers see the old text or the new one, also after a
/// crash. Mode, group, access list and, where the system permits it, owner stay those of the old file.
Status replace_file(std::string_view kind, const std::string& path, std::string_view text);

/// Writes the text into the file, or whatever else has that name.
Status write_file(std::string_view kind, const std::string& path, std::string_view text);

/// Keeps other processes out of write access to `path`, by a lock on PATH.lock, until the end. Whoever may
/// write to the directory can have it, whoever made the lock's file.
class FileLock {
public:
    explicit FileLock(const std::string& path);
    explicit operator bool() const noexcept { return locked_; }

private:
    File file_;  // never removed: another process may be waiting for it
    bool locked_ = false;
};

}  // namespace tandem
