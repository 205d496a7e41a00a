// What the sources look like: short lines, short functions, and the layout of .clang-format.
#include <algorithm>
#include <cstdio>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "support/doctest.hpp"
#include "support/source_text.hpp"

using namespace tandem::test;

namespace {

namespace fs = std::filesystem;

constexpr std::size_t longest_line = 120;
constexpr std::int64_t longest_function = 60;

const std::vector<std::string> cpp_places{"include", "core", "jit", "tools", "tests"},
    cpp_endings{".hpp", ".cpp", ".h"};

std::string place_of(const fs::path& file) { return fs::relative(file, TANDEM_SOURCE_DIR).generic_string(); }

// Columns, not bytes: continuation bytes of UTF-8 take none.
std::size_t columns(const std::string& line) {
    return static_cast<std::size_t>(
        std::ranges::count_if(line, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string output_of(const std::string& command, int& status) {
    std::string output;
    FILE* const pipe = popen((command + " 2>&1").c_str(), "r");
    if (pipe == nullptr) return output;
    char buffer[4096];
    while (const std::size_t read = std::fread(buffer, 1, sizeof buffer, pipe))
        output.append(buffer, read);
    status = pclose(pipe);
    return output;
}

}  // namespace

TEST_CASE("style: no line of a source or a script is longer than 120 columns") {
    std::vector<std::string> places = cpp_places;
    places.insert(places.end(), {"CMakeLists.txt", ".ci"});
    const std::vector<fs::path> files =
        source_files(places, {".hpp", ".cpp", ".h", ".txt", ".cmake", ".py", ".sh", "run"});
    CHECK(files.size() > 150);
    for (const fs::path& file : files) {
        const std::vector<std::string> lines = lines_of(read_text(file));
        for (std::size_t i = 0; i < lines.size(); ++i)
            if (columns(lines[i]) > longest_line)
                FAIL_CHECK(place_of(file) << ":" << i + 1 << " has " << columns(lines[i]) << " columns");
    }
}

TEST_CASE("style: no function is longer than 60 lines") {
    // Those still to be split. None may be added.
    std::set<std::string> known;
    std::size_t functions = 0;
    for (const fs::path& file : source_files(cpp_places, cpp_endings)) {
        for (const FunctionSize& function : functions_of(read_text(file))) {
            ++functions;
            if (function.lines > longest_function && known.erase(function.heading) == 0)
                FAIL_CHECK(place_of(file) << ":" << function.line << " has " << function.lines
                                          << " lines: " << function.heading);
        }
    }
    for (const std::string& heading : known)
        FAIL_CHECK("short now, to be taken off the list: " << heading);
    CHECK(functions > 1000);
}

TEST_CASE("style: the sources are as clang-format leaves them") {
    int status = 0;
    const std::string version = output_of("clang-format --version", status);
    // Others lay out some constructs differently.
    if (version.find("version 14.") == std::string::npos) {
        MESSAGE("skipped: clang-format 14 is not installed");
        return;
    }
    std::string command = fmt::format("cd '{}' && clang-format --dry-run", TANDEM_SOURCE_DIR);
    for (const fs::path& file : source_files(cpp_places, cpp_endings))
        command += fmt::format(" '{}'", place_of(file));
    CHECK(output_of(command, status) == "");
    CHECK(status == 0);
}

TEST_CASE("style: functions and their lines are found whatever braces stand in, before and after them") {
    const auto found = functions_of(R"text(
#define TWO_LINES(x) \
    f(x) {
namespace a {
struct alignas(64) Point {
    int x = 0, y{1};
    Point(int x_, Options options = {}) : x(x_), y{2} {
        call();  // }
    }

private:
    char brace() const { return '}'; }
};
constexpr int table[] = {
    1,
};
template <class T>
void longer(T t) {
    const char* text = "}";
    const Case cases[] = {
        {1, "{"},
        {2, "}"},
    };
    for (const Case& c : cases) {
        /* } */
        t(c);
    }
}
}
TEST_CASE("a { case") {
    CHECK(R"({)" != 1'000);
}
)text");
    struct Expected {
        const char* heading;
        std::int64_t line, lines;
    };
    const Expected expected[] = {{"Point(int x_, Options options = {}) : x(x_), y{2}", 7, 3},
                                 {"char brace() const", 12, 1},
                                 {"template <class T> void longer(T t)", 17, 9},
                                 {"TEST_CASE(\"a { case\")", 30, 3}};
    REQUIRE(found.size() == std::size(expected));
    for (std::size_t i = 0; i < found.size(); ++i) {
        CHECK(found[i].heading == expected[i].heading);
        CHECK(found[i].line == expected[i].line);
        CHECK(found[i].lines == expected[i].lines);
    }
}
