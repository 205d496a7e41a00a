// CodeObserver: for profilers and dumpers that want to know what machine code there is and where.
//
//   Context context({.observer = std::make_shared<MyObserver>()});   // of this context's kernels
//   add_code_observer(observer);                                      // of the whole process's
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "tandem/code_symbol.hpp"
#include "tandem/export.h"
#include "tandem/result.hpp"

namespace tandem {

/// The code of one kernel, at the addresses where it is executed. Valid during the call.
struct GeneratedCode {
    std::span<const std::byte> code;
    std::span<const CodeSymbol> symbols;
    std::string_view name;  // Kernel::name() at batch size 1: kernels of all batch sizes share code
};

/// For each piece of code created() is called once, before it first runs, and released() once, before its
/// pages are unmapped: when neither a cache nor a Kernel holds it any more, which may be after the Context
/// has gone. Calls come from any thread, several at once for different code; they should be short, and may
/// use Tandem but not wait for a dispatch on another thread.
class TANDEM_API CodeObserver {
public:
    virtual ~CodeObserver() = default;
    virtual void created(const GeneratedCode& code) noexcept = 0;
    virtual void released(const GeneratedCode& code) noexcept = 0;
};

/// From now on `observer` is told of all code that is created in this process: that of every Context, and of
/// the candidates that tuning times. An observer that is also a Context's is told once. Null is ignored.
/// Thread-safe.
TANDEM_API Status add_code_observer(std::shared_ptr<CodeObserver> observer) noexcept;
/// It is told of no further code; of the release of what it was told of it still is, and it lives as long.
TANDEM_API void remove_code_observer(const std::shared_ptr<CodeObserver>& observer) noexcept;

}  // namespace tandem
