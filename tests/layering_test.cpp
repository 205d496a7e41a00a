// Folders follow the data, one way: a file may include only what comes before its folder (docs/design.md).
#include "support/doctest.hpp"

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "support/source_text.hpp"

using namespace tandem::test;

namespace {

namespace fs = std::filesystem;

const std::map<std::string, std::vector<std::string>> forbidden{
    {"include", {"core/", "jit/", "xbyak", "hwloc", "libxsmm", "fmt/", "nlohmann"}},
    {"core/plan", {"jit/", "core/run/", "core/cpu/", "core/c_api/", "tools/", "tests/"}},
    {"jit", {"core/run/", "core/cpu/", "core/c_api/", "tools/", "tests/", "hwloc"}},
    {"core/run", {"core/cpu/", "core/c_api/", "tools/", "tests/"}},
    {"core/cpu", {"core/c_api/", "tools/", "tests/"}},
    {"core/c_api", {"core/cpu/", "tools/", "tests/"}},
};

}  // namespace

TEST_CASE("no file includes what comes after its folder") {
    int includes = 0;
    for (const auto& [folder, words] : forbidden) {
        for (const auto& entry : fs::recursive_directory_iterator(fs::path(TANDEM_SOURCE_DIR) / folder)) {
            std::ifstream file(entry.path());
            for (std::string line; std::getline(file, line);) {
                if (!line.starts_with("#include")) continue;
                ++includes;
                for (const std::string& word : words) {
                    CAPTURE(entry.path().string());
                    CAPTURE(line);
                    CHECK(line.find(word) == std::string::npos);
                }
            }
        }
    }
    CHECK(includes > 100);
}

TEST_CASE("a source includes its own header first, so that every header stands alone") {
    int headers = 0;
    for (const fs::path& source : source_files({"core", "jit", "tools"}, {".cpp"})) {
        const fs::path header = fs::path(source).replace_extension(".hpp");
        if (!fs::exists(header)) continue;
        ++headers;
        const std::string text = read_text(source),
                          name = fs::relative(header, TANDEM_SOURCE_DIR).generic_string();
        CAPTURE(name);
        CHECK(text.find("#include") == text.find("#include \"" + name + '"'));
    }
    CHECK(headers > 50);
}

// What plans and emits knows the API's plain values, none of its handles.
TEST_CASE("core/plan and jit include plain-value headers of the API only") {
    const std::set<std::string> values{"descriptor", "data_type", "layout", "result", "isa"};
    int includes = 0;
    for (const char* folder : {"core/plan", "jit"}) {
        for (const auto& entry : fs::recursive_directory_iterator(fs::path(TANDEM_SOURCE_DIR) / folder)) {
            std::ifstream file(entry.path());
            for (std::string line; std::getline(file, line);) {
                const std::string prefix = "#include \"tandem/";
                if (!line.starts_with(prefix)) continue;
                ++includes;
                const std::string name = line.substr(prefix.size(), line.find(".hpp") - prefix.size());
                CAPTURE(entry.path().string());
                CAPTURE(line);
                const bool symbols = name == "code_symbol" && std::string(folder) == "jit";
                CHECK((values.contains(name) || symbols));
            }
        }
    }
    CHECK(includes > 5);
}

TEST_CASE("only one file each knows the assembler's allocator, hwloc's topology and LIBXSMM") {
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(TANDEM_SOURCE_DIR) / "core")) {
        std::ifstream file(entry.path());
        for (std::string line; std::getline(file, line);) {
            if (line.find("#include <libxsmm") == std::string::npos) continue;
            CHECK(entry.path().filename() == "libxsmm_backend.cpp");
        }
    }
}

TEST_CASE("tests include doctest by support/doctest.hpp, so that all of them write a const char* as text") {
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(TANDEM_SOURCE_DIR) / "tests")) {
        const std::string name = entry.path().filename().string();
        if (name == "doctest.hpp" || name == "main.cpp") continue;
        std::ifstream file(entry.path());
        for (std::string line; std::getline(file, line);) {
            CAPTURE(name);
            CHECK_FALSE(line.starts_with("#include <doctest/"));
        }
    }
}
