#include "core/c_api/code.hpp"

#include "core/c_api/handles.hpp"
#include "core/c_api/structs.hpp"

using namespace tandem;
using namespace tandem::c_api;

static_assert(TANDEM_ROUTINE == static_cast<int>(CodeSymbolKind::routine));
static_assert(TANDEM_CONSTANTS == static_cast<int>(CodeSymbolKind::constants));
static_assert(TANDEM_NOTE == static_cast<int>(CodeSymbolKind::note));

namespace tandem::c_api {

Status write_symbol(std::span<const CodeSymbol> symbols, std::size_t index, tandem_symbol* symbol) {
    if (index >= symbols.size())
        return not_accepted("index", static_cast<std::int64_t>(index),
                            "less than " + std::to_string(symbols.size()) + " is");
    const CodeSymbol& found = symbols[index];
    tandem_symbol result = TANDEM_SYMBOL_INIT;
    result.offset = found.offset;
    result.size = found.size;
    result.name = found.name.c_str();
    result.kind = static_cast<std::int32_t>(found.kind);
    return write_struct("symbol", result, symbol);
}

CallbackObserver::~CallbackObserver() {
    if (accepted_ && callbacks_.destroyed != nullptr) callbacks_.destroyed(callbacks_.user);
}

void CallbackObserver::created(const GeneratedCode& code) noexcept {
    const tandem_code handle{code};
    if (callbacks_.created != nullptr) callbacks_.created(callbacks_.user, &handle);
}

void CallbackObserver::released(const GeneratedCode& code) noexcept {
    const tandem_code handle{code};
    if (callbacks_.released != nullptr) callbacks_.released(callbacks_.user, &handle);
}

Result<std::shared_ptr<CallbackObserver>> make_observer(const tandem_code_observer* callbacks) {
    tandem_code_observer read;
    if (Status status = read_struct("observer", callbacks, read); !status) return status.error();
    return std::make_shared<CallbackObserver>(read);
}

}  // namespace tandem::c_api

const char* tandem_symbol_kind_name(std::int32_t kind) noexcept {
    return kind >= TANDEM_FUNCTION && kind <= TANDEM_NOTE ? to_string(static_cast<CodeSymbolKind>(kind))
                                                          : "unknown";
}

tandem_error* tandem_code_get_info(const tandem_code* code, tandem_code_info* info) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"code", code}}); !status) return status;
        tandem_code_info found = TANDEM_CODE_INFO_INIT;
        found.code = code->code.code.data();
        found.code_bytes = code->code.code.size();
        found.symbol_count = code->code.symbols.size();
        found.name = code->code.name.data();
        found.name_bytes = code->code.name.size();
        return write_struct("info", found, info);
    });
}

tandem_error* tandem_code_symbol(const tandem_code* code, std::size_t index, tandem_symbol* symbol) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"code", code}}); !status) return status;
        return write_symbol(code->code.symbols, index, symbol);
    });
}

tandem_error* tandem_observe(const tandem_code_observer* observer,
                             tandem_observation** observation) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"observation", observation}}); !status) return status;
        *observation = nullptr;
        const auto made = make_observer(observer);
        if (!made) return made.error();
        auto handle = std::make_unique<tandem_observation>(tandem_observation{*made});
        if (Status status = add_code_observer(*made); !status) return status;
        (*made)->accept();
        *observation = handle.release();
        return {};
    });
}

void tandem_observation_free(tandem_observation* observation) noexcept {
    if (observation != nullptr) remove_code_observer(observation->observer);
    delete observation;
}
