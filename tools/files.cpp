#include "tools/files.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/run/whole_file.hpp"

namespace tandem::tool {

namespace {

namespace fs = std::filesystem;

CLI::Option* refuse_empty(CLI::Option* option) {
    return option->check(CLI::Validator(
        [](const std::string& path) {
            return path.empty() ? std::string("the file's name is empty") : std::string();
        },
        ""));
}

std::string kind_of(const NamedFile& file) { return fmt::format("{} file", file.option); }

Error unwritable(const NamedFile& file, const std::string& why) {
    return file_error("Writing", kind_of(file), file.path, why);
}

Status check_output(const NamedFile& file) {
    struct stat info {};
    if (::stat(file.path.c_str(), &info) == 0) {
        if (S_ISDIR(info.st_mode)) return unwritable(file, "it is a directory");
        return ::access(file.path.c_str(), W_OK) == 0 ? Status() : unwritable(file, std::strerror(errno));
    }
    if (errno != ENOENT) return unwritable(file, std::strerror(errno));
    std::error_code error;
    fs::path made = fs::weakly_canonical(file.path, error);  // where a dangling link leads
    if (error) return unwritable(file, error.message());
    if (!fs::path(file.path).has_filename()) return unwritable(file, "that is the name of a directory");
    const fs::path directory = fs::absolute(made).parent_path();
    if (::stat(directory.c_str(), &info) != 0) return unwritable(file, std::strerror(errno));
    if (!S_ISDIR(info.st_mode)) return unwritable(file, std::strerror(ENOTDIR));
    return ::access(directory.c_str(), W_OK | X_OK) == 0 ? Status() : unwritable(file, std::strerror(errno));
}

/// Devices may be written and read at will.
bool same_file(const std::string& a, const std::string& b) {
    std::error_code error;
    if (fs::exists(a, error) && fs::exists(b, error))
        return fs::is_regular_file(a, error) && fs::equivalent(a, b, error);
    return fs::weakly_canonical(a, error) == fs::weakly_canonical(b, error);
}

}  // namespace

CLI::Option* add_file_option(CLI::App& app, const std::string& names, std::string& path,
                             const std::string& description) {
    return refuse_empty(app.add_option(names, path, description));
}

CLI::Option* add_file_option(CLI::App& app, const std::string& names, std::vector<std::string>& paths,
                             const std::string& description) {
    return refuse_empty(app.add_option(names, paths, description));
}

Status check_outputs(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs) {
    std::vector<NamedFile> others = inputs;
    for (const NamedFile& output : outputs) {
        if (output.path.empty()) continue;
        for (const NamedFile& other : others)
            if (!other.path.empty() && same_file(output.path, other.path))
                return unwritable(output, fmt::format("{} names the same file", other.option));
        if (Status status = check_output(output); !status) return status;
        others.push_back(output);
    }
    return {};
}

Status write_output(const NamedFile& output, const std::string& text) {
    return write_file(kind_of(output), output.path, text);
}

}  // namespace tandem::tool
