#include "jit/code_block.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <new>
#include <stdexcept>

#include <fmt/format.h>

#include "core/plan/as_result.hpp"
namespace tandem::jit {
namespace {

// Most kernels take 8-60 KB. Untouched pages of the staging buffer cost nothing.
constexpr std::size_t first_staging_bytes = 1u << 20;
constexpr std::size_t last_staging_bytes = 1u << 26;

class Staging {
public:
    explicit Staging(std::size_t size) noexcept : size_(size) {
        void* const memory =
            mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory != MAP_FAILED) memory_ = memory;
    }
    ~Staging() {
        if (memory_) munmap(memory_, size_);
    }
    Staging(const Staging&) = delete;
    Staging& operator=(const Staging&) = delete;
    void* memory() const noexcept { return memory_; }  // null: refused, errno says why

private:
    void* memory_ = nullptr;
    std::size_t size_;
};

// Too much code is a limit; anything else the assembler refuses is a bug of an emitter.
Error assembler_error(const Xbyak::Error& error) {
    const bool too_big = static_cast<int>(error) == Xbyak::ERR_CODE_IS_TOO_BIG;
    return {too_big ? ErrorCode::unsupported : ErrorCode::internal,
            fmt::format("Emitting the kernel failed in the assembler: {}.", error.what())};
}

Result<EmittedCode> emit_within(const std::function<void(CodeBlock&)>& emit, std::size_t size) {
    const Staging staging(size);
    if (!staging.memory())
        return Error{ErrorCode::system,
                     fmt::format("mmap of {} bytes to write code into failed: {}; more memory is needed.",
                                 size, std::strerror(errno))};
    try {
        CodeBlock code(staging.memory(), size);
        emit(code);
        code.emit_constants();
        auto memory =
            ExecutableMemory::create({static_cast<const std::byte*>(staging.memory()), code.getSize()});
        if (!memory) return memory.error();
        return EmittedCode{std::move(*memory), code.take_symbols()};
    } catch (const Xbyak::Error& e) {
        return assembler_error(e);
    } catch (const std::bad_alloc&) {
        throw;
    } catch (const std::overflow_error& e) {
        return Error{ErrorCode::overflow, fmt::format("Emitting the kernel failed: {}.", e.what())};
    } catch (const std::exception& e) {
        return Error{ErrorCode::internal, fmt::format("Emitting the kernel failed: {}.", e.what())};
    }
}

}  // namespace

std::size_t CodeBlock::begin(CodeSymbolKind kind, std::string name) {
    end_open();
    align(64);
    open_ = symbols_.size();
    symbols_.push_back({getSize(), 0, kind, std::move(name)});
    return getSize();
}

void CodeBlock::end_open() {
    if (open_) symbols_[*open_].size = getSize() - symbols_[*open_].offset;
    open_.reset();
}

void CodeBlock::note(std::string text) {
    CodeSymbol* const last = symbols_.empty() ? nullptr : &symbols_.back();
    if (last && last->kind == CodeSymbolKind::routine && last->offset == getSize())
        last->name = std::move(text);
    else
        symbols_.push_back({getSize(), 0, CodeSymbolKind::note, std::move(text)});
}

std::vector<CodeSymbol> CodeBlock::take_symbols() {
    end_open();
    std::size_t end = getSize();  // of the function or routine that the symbol lies in
    for (std::size_t i = 0; i < symbols_.size(); ++i) {
        CodeSymbol& symbol = symbols_[i];
        if (symbol.kind != CodeSymbolKind::note) {
            end = symbol.offset + symbol.size;
            continue;
        }
        const std::size_t next = i + 1 < symbols_.size() ? symbols_[i + 1].offset : end;
        symbol.size = std::min(next, end) - symbol.offset;
    }
    return std::move(symbols_);
}

Address CodeBlock::constant_line(const std::array<std::uint32_t, 16>& words) {
    for (const Constant& c : constants_)
        if (c.words == words) return ptr[rip + *c.label];
    constants_.push_back({words, std::make_unique<Label>()});
    return ptr[rip + *constants_.back().label];
}

Address CodeBlock::constant_bits(std::uint32_t bits) {
    std::array<std::uint32_t, 16> words;
    words.fill(bits);
    return constant_line(words);
}

Address CodeBlock::constant(float value) { return constant_bits(std::bit_cast<std::uint32_t>(value)); }

Address CodeBlock::lane_mask(int lanes) {
    std::array<std::uint32_t, 16> words{};
    std::fill_n(words.begin(), lanes, 0xffffffffu);
    return constant_line(words);
}

void CodeBlock::emit_constants() {
    if (constants_.empty()) return;
    begin(CodeSymbolKind::constants, "constants");
    for (const Constant& c : constants_) {
        L(*c.label);
        for (const std::uint32_t word : c.words)
            dd(word);
    }
}

Result<EmittedCode> emit_code(const std::function<void(CodeBlock&)>& emit) try {
    for (std::size_t size = first_staging_bytes;; size *= 4) {
        Result<EmittedCode> code = emit_within(emit, size);
        if (code || code.error().code != ErrorCode::unsupported || size >= last_staging_bytes) return code;
    }
} catch (const std::bad_alloc&) {
    return out_of_memory();
}

}  // namespace tandem::jit

namespace tandem {

const char* to_string(CodeSymbolKind kind) noexcept {
    switch (kind) {
        case CodeSymbolKind::function: return "function";
        case CodeSymbolKind::routine: return "routine";
        case CodeSymbolKind::constants: return "constants";
        case CodeSymbolKind::note: return "note";
    }
    return "?";
}

}  // namespace tandem
