#include "support/c_header.hpp"

#include <filesystem>
#include <regex>

#include "support/source_text.hpp"

namespace tandem::test {
namespace {

/// Calls visit(match) for every match.
template <class Visit>
void for_each_match(const std::string& text, const std::regex& pattern, Visit visit) {
    for (std::sregex_iterator at(text.begin(), text.end(), pattern), end; at != end; ++at)
        visit(*at);
}

std::string on_one_line(const std::string& text) { return std::regex_replace(text, std::regex("\\s+"), " "); }

/// "n, c, h, w", "*input" and "residual[4]" without what is not their names.
void add_fields(std::vector<std::string>& fields, const std::string& declarations) {
    static const std::regex declaration("([^;]+);"), callback("\\(\\*(\\w+)\\)"),
        name("(\\w+)(\\[\\w+\\])?\\s*(,|$)");
    for_each_match(declarations, declaration, [&](const std::smatch& one) {
        const std::string text = one[1];
        std::smatch found;
        if (std::regex_search(text, found, callback))
            fields.push_back(found[1]);
        else
            for_each_match(text, name, [&](const std::smatch& field) { fields.push_back(field[1]); });
    });
}

CHeader read() {
    CHeader header;
    const std::filesystem::path path = std::filesystem::path(TANDEM_SOURCE_DIR) / "include/tandem/tandem.h";
    const std::string text = code_only(read_text(path));
    for_each_match(text, std::regex("TANDEM_API\\s+([^;]*?\\b(tandem_\\w+)\\([^;]*)\\s+TANDEM_NOEXCEPT;"),
                   [&](const std::smatch& found) { header.functions[found[2]] = on_one_line(found[1]); });
    for_each_match(text, std::regex("typedef struct (\\w+) \\{([^}]*)\\}"),
                   [&](const std::smatch& found) { add_fields(header.structs[found[1]], found[2]); });
    for_each_match(text, std::regex("(TANDEM_\\w+ = \\d+)"),
                   [&](const std::smatch& found) { header.constants.push_back(found[1]); });
    return header;
}

}  // namespace

const CHeader& c_header() {
    static const CHeader header = read();
    return header;
}

}  // namespace tandem::test
