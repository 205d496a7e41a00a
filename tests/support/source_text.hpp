// Source text, as far as checks of its style need to understand it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace tandem::test {

/// The files with one of the endings under the named folders of the source tree, or those named, sorted.
std::vector<std::filesystem::path> source_files(const std::vector<std::string>& places,
                                                const std::vector<std::string>& endings);
std::string read_text(const std::filesystem::path& file);
std::vector<std::string> lines_of(std::string_view text);

/// C++ with comments, literals' contents and preprocessor lines blanked; every other character, and every
/// line, stays in its place.
std::string code_only(std::string_view text);

struct FunctionSize {
    std::string heading;  // up to the body, on one line
    std::int64_t line = 0, lines = 0;
};

/// The functions that C++ defines, in namespaces and classes. Lines are counted from the heading to the
/// closing brace; a table, that is the braces of an initialiser, counts as one line.
std::vector<FunctionSize> functions_of(std::string_view text);

}  // namespace tandem::test
