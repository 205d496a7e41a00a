// Files that are there whole or not at all, whoever reads them meanwhile.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>

#include "tandem/result.hpp"

namespace tandem {

/// An open file; closed at the end.
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

/// Repeats a call that a signal interrupted.
template <class Call>
auto uninterrupted(Call call) {
    for (;;)
        if (const auto result = call(); result != -1 || errno != EINTR) return result;
}

/// "Writing wisdom file PATH failed: WHY."
Error file_error(std::string_view action, std::string_view kind, const std::string& path,
                 const std::string& why);

/// Writes the text beside the file and renames it: readers see the old text or the new one, also after a
/// crash. `kind` is what errors call the file, e.g. "wisdom file".
Status replace_file(std::string_view kind, const std::string& path, std::string_view text);

}  // namespace tandem
