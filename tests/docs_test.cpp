// Documentation names what exists: files, and symbols of the sources.
#include <algorithm>
#include <cctype>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "support/doctest.hpp"
#include "support/source_text.hpp"

using namespace tandem::test;

namespace {

namespace fs = std::filesystem;

const std::vector<std::string> folders{"include", "core", "jit", "tools", "tests", "docs"};

/// What there is to be named.
struct Tree {
    std::set<std::string> files;    // from the root of the tree
    std::set<std::string> symbols;  // words of the C++ code
    std::set<std::string> texts;    // words of all sources, comments and literals included
};

void add_words(std::set<std::string>& words, const std::string& text) {
    static const std::regex word("[A-Za-z_][A-Za-z0-9_]*");
    for (std::sregex_iterator at(text.begin(), text.end(), word), end; at != end; ++at)
        words.insert(at->str());
}

Tree read_tree() {
    Tree tree;
    std::vector<std::string> places = folders;
    places.insert(places.end(), {"CMakeLists.txt", "CMakePresets.json", "README.md"});
    for (const fs::path& file : source_files(places, {""})) {
        tree.files.insert(fs::relative(file, TANDEM_SOURCE_DIR).generic_string());
        if (const std::string ending = file.extension().string(); ending == ".md" || ending == ".svg")
            continue;
        const std::string text = read_text(file);
        add_words(tree.texts, text);
        if (file.extension() == ".cpp" || file.extension() == ".hpp")
            add_words(tree.symbols, code_only(text));
    }
    return tree;
}

/// `name` is a file's path, from the root or the include folder, or its last part alone; * stands for any
/// characters.
bool file_exists(const Tree& tree, const std::string& name) {
    std::string pattern;
    for (const char c : name)
        pattern += c == '*' ? std::string("[^/]*") : c == '.' ? std::string("\\.") : std::string(1, c);
    const bool bare = name.find('/') == std::string::npos;
    const std::regex path((bare ? "(.*/)?" : "(include/)?") + pattern + (name.ends_with('/') ? ".*" : ""));
    return std::ranges::any_of(tree.files,
                               [&](const std::string& file) { return std::regex_match(file, path); });
}

bool names_file(const std::string& text) {
    static const std::regex ending(R"([\w.*/-]+\.(cpp|hpp|h|md|py|cmake|sh|\*))");
    static const std::regex in_folder(R"((include|core|jit|tools|tests|docs)/[\w.*/-]*)");
    return std::regex_match(text, ending) || std::regex_match(text, in_folder);
}

/// `call()`, `Type`, `Type::member`, and in recipes `any_name`.
bool names_symbol(const std::string& text, bool recipe) {
    static const std::regex symbol(R"([A-Za-z_]\w*(::\w+)*(\(\))?)");
    static const std::regex type(R"([A-Z][a-z]{2}\w*)");
    if (!std::regex_match(text, symbol)) return false;
    return text.ends_with("()") || text.find("::") != std::string::npos || std::regex_match(text, type) ||
           (recipe && text.find('_') != std::string::npos);
}

/// The names in backticks of a document's text that nothing in the tree has.
std::vector<std::string> missing_names(const Tree& tree, const std::string& document, bool recipe) {
    static const std::regex quoted("`([^`\n]+)`"), variable("TANDEM_[A-Z0-9_]+"),
        cmake_target("tandem::tandem_[a-z]+");
    std::vector<std::string> missing;
    for (std::sregex_iterator at(document.begin(), document.end(), quoted), end; at != end; ++at) {
        const std::string name = (*at)[1];
        std::set<std::string> words;
        bool found = true;
        if (names_file(name)) {
            found = file_exists(tree, name);
        } else if (std::regex_match(name, variable)) {
            found = tree.texts.contains(name);
        } else if (std::regex_match(name, cmake_target)) {
            found = tree.texts.contains(name.substr(name.rfind(':') + 1));
        } else if (names_symbol(name, recipe)) {
            add_words(words, name);
            found = std::ranges::includes(tree.symbols, words);
        }
        if (!found) missing.push_back(name);
    }
    return missing;
}

}  // namespace

TEST_CASE("docs: every file and symbol that is named exists") {
    const Tree tree = read_tree();
    for (const fs::path& file : source_files({"docs", "README.md"}, {".md"})) {
        CAPTURE(file.filename().string());
        for (const std::string& name : missing_names(tree, read_text(file), file.filename() == "recipes.md"))
            FAIL_CHECK("nothing is called " << name);
    }
}

TEST_CASE("docs: links lead to files") {
    static const std::regex link(R"(\]\(([\w./-]+)(#[\w-]*)?\))");
    int links = 0;
    for (const fs::path& file : source_files({"docs", "README.md"}, {".md"})) {
        const std::string text = read_text(file);
        for (std::sregex_iterator at(text.begin(), text.end(), link), end; at != end; ++at, ++links) {
            CAPTURE(file.filename().string());
            CAPTURE(at->str());
            CHECK(fs::exists(file.parent_path() / (*at)[1].str()));
        }
    }
    CHECK(links > 10);
}

TEST_CASE("docs: what is missing is found, what exists is not") {
    const Tree tree{{"core/plan/plan.hpp", "core/plan/plan.cpp", "include/tandem/kernel.hpp"},
                    {"Plan", "Dot", "bf16", "emit"},
                    {"TANDEM_X"}};
    const auto missing = [&](const char* text, bool recipe = false) {
        return missing_names(tree, text, recipe);
    };
    CHECK(missing("`core/plan/plan.*`, `plan.cpp`, `tandem/kernel.hpp`, `core/`, `Plan`, `Dot::bf16`, "
                  "`emit()`, `TANDEM_X`")
              .empty());
    for (const char* name : {"core/plan/none.hpp", "core/plan/none.*", "core/none/", "none.cpp",
                             "tandem/none.hpp", "None", "Dot::none", "none()", "TANDEM_NONE"})
        CHECK(missing((std::string("text `") + name + "` text").c_str()) == std::vector<std::string>{name});
    CHECK(missing("`no_name`, `1x8x4x4:dw3`, `--isa amx`, `vfmadd231ps`, a `b c`").empty());
    CHECK(missing("`no_name`", true) == std::vector<std::string>{"no_name"});
}
