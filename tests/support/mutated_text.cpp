#include "support/mutated_text.hpp"

namespace tandem::test {

std::string mutated(std::string text, const std::string& alphabet, std::mt19937_64& engine) {
    for (auto edits = engine() % 3 + 1; edits-- > 0;) {
        const std::size_t at = engine() % text.size();
        const char c = alphabet[engine() % alphabet.size()];
        if (engine() % 3 == 0)
            text.erase(at, 1 + engine() % 3);
        else if (engine() % 2 == 0)
            text.insert(at, 1, c);
        else
            text[at] = c;
        if (text.empty()) text.push_back(c);
    }
    return text;
}

}  // namespace tandem::test
