// Generated code and its observers in the C API.
#pragma once

#include <memory>

#include "core/c_api/guard.hpp"
#include "tandem/code_observer.hpp"

namespace tandem::c_api {

Status write_symbol(std::span<const CodeSymbol> symbols, std::size_t index, tandem_symbol* symbol);

/// Passes calls on to a C program's functions.
class CallbackObserver final : public CodeObserver {
public:
    explicit CallbackObserver(const tandem_code_observer& callbacks) : callbacks_(callbacks) {}
    ~CallbackObserver() override;
    CallbackObserver(const CallbackObserver&) = delete;
    CallbackObserver& operator=(const CallbackObserver&) = delete;

    void created(const GeneratedCode& code) noexcept override;
    void released(const GeneratedCode& code) noexcept override;
    /// The call that made it succeeded: from now on its end is told, too.
    void accept() noexcept { accepted_ = true; }

private:
    tandem_code_observer callbacks_;
    bool accepted_ = false;
};

Result<std::shared_ptr<CallbackObserver>> make_observer(const tandem_code_observer* callbacks);

}  // namespace tandem::c_api
