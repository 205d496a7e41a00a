#include "tools/disassembly.hpp"

#include <Zydis/Zydis.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>
#include <map>
#include <optional>
#include <vector>

#include "jit/newer_instructions.hpp"

namespace tandem::tool {

namespace {

struct Line {
    std::size_t offset = 0, size = 0;
    std::string text;
    std::optional<std::size_t> target;  // of a jump or call; `text` is then the mnemonic
};

class Disassembly {
public:
    Disassembly(std::span<const std::byte> code, std::span<const CodeSymbol> symbols);
    std::string text(bool with_bytes) const;

private:
    Line decode(std::size_t offset, std::size_t end) const;
    Line data(std::size_t offset, std::size_t end) const;
    void decode_all();
    const CodeSymbol* callee_at(std::size_t offset) const;
    void name_targets();

    std::span<const std::byte> code_;
    std::multimap<std::size_t, const CodeSymbol*> symbols_;
    std::vector<Line> lines_;
    std::map<std::size_t, std::string> targets_;
    ZydisDecoder decoder_{};
    ZydisFormatter formatter_{};
};

Disassembly::Disassembly(std::span<const std::byte> code, std::span<const CodeSymbol> symbols) : code_(code) {
    for (const CodeSymbol& symbol : symbols)
        symbols_.emplace(symbol.offset, &symbol);
    ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    ZydisFormatterInit(&formatter_, ZYDIS_FORMATTER_STYLE_INTEL);
    ZydisFormatterSetProperty(&formatter_, ZYDIS_FORMATTER_PROP_HEX_UPPERCASE, ZYAN_FALSE);
    ZydisFormatterSetProperty(&formatter_, ZYDIS_FORMATTER_PROP_ADDR_PADDING_ABSOLUTE,
                              ZYDIS_PADDING_DISABLED);
    ZydisFormatterSetProperty(&formatter_, ZYDIS_FORMATTER_PROP_DISP_PADDING, ZYDIS_PADDING_DISABLED);
    ZydisFormatterSetProperty(&formatter_, ZYDIS_FORMATTER_PROP_IMM_PADDING, ZYDIS_PADDING_DISABLED);
    decode_all();
    name_targets();
}

Line Disassembly::data(std::size_t offset, std::size_t end) const {
    const std::size_t size = std::min<std::size_t>(sizeof(std::uint32_t), end - offset);
    std::uint32_t value = 0;
    std::memcpy(&value, code_.data() + offset, size);
    if (size < sizeof value) return {offset, size, fmt::format("db {:#04x}", value), {}};
    return {offset, size, fmt::format("dd {:#010x}  ; {}", value, std::bit_cast<float>(value)), {}};
}

Line Disassembly::decode(std::size_t offset, std::size_t end) const {
    ZydisDecodedInstruction instruction;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    const auto status =
        ZydisDecoderDecodeFull(&decoder_, code_.data() + offset, end - offset, &instruction, operands);
    if (const auto newer = jit::decode_newer(code_.subspan(offset, end - offset)))
        return {offset, newer->length, jit::to_string(*newer), {}};
    if (!ZYAN_SUCCESS(status))
        return {offset, 1, fmt::format("db {:#04x}", std::to_integer<unsigned>(code_[offset])), {}};
    Line line{offset, instruction.length, {}, {}};
    ZyanU64 target = 0;
    if (operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && operands[0].imm.is_relative &&
        ZYAN_SUCCESS(ZydisCalcAbsoluteAddress(&instruction, &operands[0], offset, &target)) &&
        target < code_.size()) {
        line.text = ZydisMnemonicGetString(instruction.mnemonic);
        line.target = target;
        return line;
    }
    char buffer[256];
    ZydisFormatterFormatInstruction(&formatter_, &instruction, operands, instruction.operand_count_visible,
                                    buffer, sizeof buffer, offset, nullptr);
    line.text = buffer;
    return line;
}

// An instruction never runs past a symbol: decoding starts afresh where the emitter says that code begins.
void Disassembly::decode_all() {
    std::size_t data_end = 0;
    for (std::size_t offset = 0; offset < code_.size();) {
        const auto here = symbols_.equal_range(offset);
        for (auto symbol = here.first; symbol != here.second; ++symbol)
            if (symbol->second->kind == CodeSymbolKind::constants) data_end = offset + symbol->second->size;
        const auto next = symbols_.upper_bound(offset);
        const std::size_t end = next == symbols_.end() ? code_.size() : std::min(next->first, code_.size());
        lines_.push_back(offset < data_end ? data(offset, end) : decode(offset, end));
        offset += lines_.back().size;
    }
}

// The function or routine that begins there.
const CodeSymbol* Disassembly::callee_at(std::size_t offset) const {
    const auto here = symbols_.equal_range(offset);
    for (auto symbol = here.first; symbol != here.second; ++symbol)
        if (symbol->second->kind == CodeSymbolKind::function ||
            symbol->second->kind == CodeSymbolKind::routine)
            return symbol->second;
    return nullptr;
}

// A target is called by the function or routine there, if there is one and no other target has the same
// name, else L1, L2, ... in order of offsets.
void Disassembly::name_targets() {
    for (const Line& line : lines_)
        if (line.target) targets_[*line.target];
    std::map<std::string, int> uses;
    for (const auto& [offset, name] : targets_)
        if (const CodeSymbol* const callee = callee_at(offset)) ++uses[callee->name];
    int unnamed = 0;
    for (auto& [offset, name] : targets_) {
        const CodeSymbol* const callee = callee_at(offset);
        const bool by_name = callee && uses[callee->name] == 1;
        name = by_name ? fmt::format("<{}>", callee->name) : fmt::format("L{}", ++unnamed);
    }
}

std::string Disassembly::text(bool with_bytes) const {
    std::string result;
    const auto out = std::back_inserter(result);
    for (const Line& line : lines_) {
        const auto here = symbols_.equal_range(line.offset);
        for (auto symbol = here.first; symbol != here.second; ++symbol)
            fmt::format_to(out, "; --- {} ---\n", symbol->second->name);
        const auto label = targets_.find(line.offset);
        if (label != targets_.end() && label->second.front() == 'L')
            fmt::format_to(out, "{}:\n", label->second);
        fmt::format_to(out, "{:6x}:  ", line.offset);
        if (with_bytes) {
            std::string hex;
            for (const std::byte byte : code_.subspan(line.offset, line.size))
                fmt::format_to(std::back_inserter(hex), "{:02x} ", std::to_integer<unsigned>(byte));
            fmt::format_to(out, "{:<33} ", hex);
        }
        fmt::format_to(out, "{}{}{}\n", line.text, line.target ? " " : "",
                       line.target ? targets_.at(*line.target) : "");
    }
    return result;
}

}  // namespace

std::string disassemble(std::span<const std::byte> code, std::span<const CodeSymbol> symbols, bool bytes) {
    return Disassembly(code, symbols).text(bytes);
}

}  // namespace tandem::tool
