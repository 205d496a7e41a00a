#include "core/run/wisdom_file.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/run/whole_file.hpp"

namespace tandem {
namespace {

constexpr const char* kind = "wisdom file";

Status save(const std::string& path, const Wisdom& wisdom) {
    const Result<std::string> target = replaceable_file(kind, path);
    if (!target) return target.error();
    const FileLock lock(*target);
    if (!lock) return file_error("Locking", kind, path, std::strerror(errno));
    Result<Wisdom> merged = read_wisdom(*target);
    if (!merged) return merged.error();
    merged->merge(wisdom);
    return replace_file(kind, *target, merged->to_text());
}

}  // namespace

Result<Wisdom> read_wisdom(const std::string& path, MissingFile missing) {
    if (missing == MissingFile::error) {
        const Result<std::string> text = read_file(path);
        return text ? Wisdom::parse(*text, path) : text.error();
    }
    const Result<std::optional<std::string>> text = read_file_if_there(path);
    if (!text) return text.error();
    return *text ? Wisdom::parse(**text, path) : Wisdom{};
}

Status save_wisdom(const std::string& path, const Wisdom& wisdom) {
    try {
        return save(path, wisdom);
    } catch (const std::filesystem::filesystem_error& error) {
        return file_error("Saving", kind, path, error.what());
    }
}

}  // namespace tandem
