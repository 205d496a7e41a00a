// What arithmetic depends on besides its operands: rounding mode, FTZ and DAZ, traps. Callers have theirs;
// Tandem computes by the default (nearest even, denormals kept, no traps) and leaves the caller's as it was.
#pragma once

#include <cfenv>
#include <cstdint>

#include <immintrin.h>

namespace tandem {

/// MXCSR is the default as long as this lives: for generated code, and for C++ that adds, multiplies and
/// rounds. Where it is the default already this is one stmxcsr and a compare.
class DefaultMxcsr {
public:
    DefaultMxcsr() noexcept : callers_(_mm_getcsr()) {
        if (!is_default()) _mm_setcsr(value);
    }
    ~DefaultMxcsr() {
        if (!is_default()) _mm_setcsr(callers_);
    }
    DefaultMxcsr(const DefaultMxcsr&) = delete;
    DefaultMxcsr& operator=(const DefaultMxcsr&) = delete;

private:
    static constexpr std::uint32_t value = 0x1f80, sticky_flags = 0x3f;
    bool is_default() const noexcept { return (callers_ & ~sticky_flags) == value; }
    std::uint32_t callers_;
};

/// The x87 control word too, by which glibc's strtod and printf round and whose traps they may meet: for
/// everything that reads or writes numbers as text, or calls the mathematical library.
class DefaultFloatState {
public:
    DefaultFloatState() noexcept : x87_is_default_(x87_control() == x87_default) {
        if (x87_is_default_) return;
        std::fegetenv(&callers_x87_);
        std::fesetenv(FE_DFL_ENV);
    }
    ~DefaultFloatState() {
        if (!x87_is_default_) std::fesetenv(&callers_x87_);
    }
    DefaultFloatState(const DefaultFloatState&) = delete;
    DefaultFloatState& operator=(const DefaultFloatState&) = delete;

private:
    static constexpr std::uint16_t x87_default = 0x37f;
    static std::uint16_t x87_control() noexcept {
        std::uint16_t control = 0;
        __asm__ volatile("fnstcw %0" : "=m"(control));
        return control;
    }
    DefaultMxcsr mxcsr_{};  // first: fesetenv() writes MXCSR too
    bool x87_is_default_;
    std::fenv_t callers_x87_;
};

}  // namespace tandem
