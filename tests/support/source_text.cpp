#include "support/source_text.hpp"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <regex>

namespace tandem::test {
namespace {

namespace fs = std::filesystem;

/// Walks over C++ and blanks what is not code.
class Blanker {
public:
    explicit Blanker(std::string_view text) : text_(text) {}

    std::string code() && {
        while (at_ < text_.size()) {
            if (starts("//"))
                blank_to_line_end();
            else if (starts("/*"))
                blank_through("*/");
            else if (starts("R\"") && !in_word())
                blank_through(')' + std::string(text_.substr(at_ + 2, text_.find('(', at_) - at_ - 2)) + '"');
            else if (text_[at_] == '"' || (text_[at_] == '\'' && !in_word()))
                blank_literal(text_[at_]);
            else if (text_[at_] == '#' && at_line_start())
                blank_directive();
            else
                keep();
        }
        return std::move(text_);
    }

private:
    bool starts(std::string_view word) const { return std::string_view(text_).substr(at_).starts_with(word); }
    bool in_word() const {
        return at_ > 0 && (std::isalnum(static_cast<unsigned char>(text_[at_ - 1])) || text_[at_ - 1] == '_');
    }
    bool at_line_start() const {
        const std::size_t before = text_.find_last_not_of(' ', at_ == 0 ? 0 : at_ - 1);
        return at_ == 0 || before == std::string::npos || text_[before] == '\n';
    }
    void keep() { ++at_; }
    void blank() {
        if (text_[at_] != '\n') text_[at_] = ' ';
        ++at_;
    }
    void blank_to_line_end() {
        while (at_ < text_.size() && text_[at_] != '\n')
            blank();
    }
    void blank_through(const std::string& end) {
        const std::size_t found = text_.find(end, at_ + 2);
        const std::size_t stop = found == std::string::npos ? text_.size() : found + end.size();
        while (at_ < stop)
            blank();
    }
    void blank_literal(char quote) {
        keep();
        while (at_ < text_.size() && text_[at_] != quote) {
            if (text_[at_] == '\\') blank();
            blank();
        }
        if (at_ < text_.size()) keep();
    }
    void blank_directive() {
        bool continued = true;
        while (continued && at_ < text_.size()) {
            const std::size_t end = std::min(text_.find('\n', at_), text_.size());
            continued = text_[end - 1] == '\\';
            blank_to_line_end();
            if (at_ < text_.size()) keep();
        }
    }

    std::string text_;
    std::size_t at_ = 0;
};

std::string one_line(std::string_view text) {
    std::string result;
    for (const char c : text) {
        const bool space = std::isspace(static_cast<unsigned char>(c));
        if (!space || (!result.empty() && result.back() != ' ')) result += space ? ' ' : c;
    }
    while (!result.empty() && result.back() == ' ')
        result.pop_back();
    return result;
}

bool is_scope(const std::string& heading) {
    static const std::regex scope(
        R"(^(template ?<[^{]*> )?(inline )?(namespace|class|struct|union|enum|extern)\b)"
        R"(( alignas\([^)]*\))?[^()]*$)");
    return std::regex_search(heading, scope);
}

/// Walks over the braces of code_only(): into scopes, past everything else.
class FunctionFinder {
public:
    explicit FunctionFinder(std::string_view text) : text_(text), code_(code_only(text)) {}

    std::vector<FunctionSize> find() && {
        while (at_ < code_.size()) {
            const char c = code_[at_];
            if (c == '(') ++parentheses_;
            if (c == ')') --parentheses_;
            if (c == '{')
                open_brace();
            else if (parentheses_ == 0 && (c == ';' || c == '}' || ends_access_specifier()))
                begin_ = ++at_;
            else
                ++at_;
        }
        return std::move(functions_);
    }

private:
    bool ends_access_specifier() const {
        if (code_[at_] != ':') return false;
        const std::string before = one_line(std::string_view(code_).substr(begin_, at_ - begin_));
        return before == "public" || before == "private" || before == "protected";
    }

    void open_brace() {
        const std::string heading = one_line(std::string_view(code_).substr(begin_, at_ - begin_));
        if (parentheses_ == 0 && is_scope(heading)) {
            begin_ = ++at_;
            return;
        }
        const std::size_t open = at_;
        const std::int64_t table_lines = skip_braces();
        const std::size_t next = code_.find_first_not_of(" \n", at_);
        const bool member_initialiser =
            next != std::string::npos && (code_[next] == ',' || code_[next] == '{');
        if (parentheses_ > 0 || member_initialiser || heading.ends_with('=') ||
            heading.find('(') == std::string::npos)
            return;
        const std::size_t first = code_.find_first_not_of(" \n", begin_);
        functions_.push_back({one_line(text_.substr(first, open - first)), 1 + newlines(0, first),
                              1 + newlines(first, at_) - table_lines});
        begin_ = at_;
    }

    /// From an opening brace to behind its closing one; returns the lines of tables between them, but for the
    /// first of each.
    std::int64_t skip_braces() {
        std::int64_t table_lines = 0;
        const std::size_t open = at_++;
        while (at_ < code_.size() && code_[at_] != '}') {
            if (code_[at_] == '{')
                table_lines += skip_braces();
            else
                ++at_;
        }
        at_ = std::min(at_ + 1, code_.size());
        return is_table(open) ? newlines(open, at_) : table_lines;
    }

    bool is_table(std::size_t open) const {
        const std::size_t before = code_.find_last_not_of(" \n", open == 0 ? 0 : open - 1);
        return before != std::string::npos && code_[before] == '=';
    }

    std::int64_t newlines(std::size_t from, std::size_t to) const {
        return std::count(code_.begin() + static_cast<std::ptrdiff_t>(from),
                          code_.begin() + static_cast<std::ptrdiff_t>(to), '\n');
    }

    std::string_view text_;
    std::string code_;
    std::size_t at_ = 0, begin_ = 0;  // begin_: of the declaration that at_ is in
    int parentheses_ = 0;
    std::vector<FunctionSize> functions_;
};

}  // namespace

std::vector<fs::path> source_files(const std::vector<std::string>& places,
                                   const std::vector<std::string>& endings) {
    std::vector<fs::path> files;
    const auto add = [&](const fs::path& file) {
        const std::string name = file.filename().string();
        if (std::ranges::any_of(endings, [&](const std::string& ending) { return name.ends_with(ending); }))
            files.push_back(file);
    };
    for (const std::string& place : places) {
        const fs::path path = fs::path(TANDEM_SOURCE_DIR) / place;
        if (!fs::is_directory(path)) {
            add(path);
            continue;
        }
        for (const auto& entry : fs::recursive_directory_iterator(path))
            if (entry.is_regular_file()) add(entry.path());
    }
    std::ranges::sort(files);
    return files;
}

std::string read_text(const fs::path& file) {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

std::vector<std::string> lines_of(std::string_view text) {
    std::vector<std::string> lines;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        lines.emplace_back(text.substr(at, end - at));
        at = end + 1;
    }
    return lines;
}

std::string code_only(std::string_view text) { return Blanker(text).code(); }

std::vector<FunctionSize> functions_of(std::string_view text) { return FunctionFinder(text).find(); }

}  // namespace tandem::test
