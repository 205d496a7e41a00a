#include "support/markup.hpp"

#include <regex>
#include <vector>

namespace tandem::test {
namespace {

std::string text_error(const std::string& text) {
    static const std::regex entity("&(amp|lt|gt|quot|#[0-9]+);");
    const std::string rest = std::regex_replace(text, entity, "");
    if (rest.find('&') != std::string::npos) return "a bare &";
    return rest.find('>') != std::string::npos ? "a bare >" : "";
}

}  // namespace

std::string markup_error(const std::string& text) {
    std::vector<std::string> open;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t tag = std::min(text.find('<', at), text.size());
        const std::string between = text.substr(at, tag - at);
        const bool style = !open.empty() && open.back() == "style";
        if (const std::string error = style ? "" : text_error(between); !error.empty()) return error;
        if (tag == text.size()) break;
        const std::size_t end = text.find('>', tag);
        if (end == std::string::npos) return "a bare <";
        const std::string inside = text.substr(tag + 1, end - tag - 1);
        at = end + 1;
        if (inside.starts_with("!") || inside.ends_with("/")) continue;
        if (!inside.starts_with("/")) {
            open.push_back(inside.substr(0, inside.find_first_of(" \n")));
            continue;
        }
        if (open.empty()) return "<" + inside + "> ends nothing";
        if (inside.substr(1) != open.back()) return "<" + inside + "> ends <" + open.back() + ">";
        open.pop_back();
    }
    return open.empty() ? "" : "<" + open.back() + "> has no end";
}

}  // namespace tandem::test
