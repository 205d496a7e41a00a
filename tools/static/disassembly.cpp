// Listings in builds with TANDEM_STATIC_TOOL, which have no disassembler: the emitter's notes and the bytes.
#include "tools/disassembly.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace tandem::tool {

std::string disassemble(std::span<const std::byte> code, std::span<const CodeSymbol> symbols, bool) {
    constexpr std::size_t bytes_in_line = 16;
    std::string text = "; bytes only: this build has no disassembler\n";
    for (std::size_t i = 0; i < symbols.size(); ++i) {
        const std::size_t begin = symbols[i].offset,
                          end = i + 1 < symbols.size() ? symbols[i + 1].offset : code.size();
        text += fmt::format("; --- {} ---\n", symbols[i].name);
        for (std::size_t at = begin; at < std::min(end, code.size()); ++at) {
            if ((at - begin) % bytes_in_line == 0)
                text += fmt::format("{}{:6x}: ", at == begin ? "" : "\n", at);
            text += fmt::format(" {:02x}", std::to_integer<unsigned>(code[at]));
        }
        if (end > begin) text += "\n";
    }
    return text;
}

}  // namespace tandem::tool
