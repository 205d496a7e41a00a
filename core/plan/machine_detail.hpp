// The parts of host detection that can be tested without the host's CPU, and the ready-made default for the
// dispatch path.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "core/plan/machine.hpp"

namespace tandem {

/// Which ISA to generate for on a machine with these features (nullopt: not even AVX2): `asked` if given,
/// else the one named by `environment` (the value of TANDEM_ISA; nullopt or empty: unset), else the last of
/// isas_of(). An unknown name, one with features that are not there, or a machine without any is an error
/// that lists what would be accepted. Pure.
Result<Isa> choose_isa(std::optional<Isa> asked, std::optional<std::string_view> environment,
                       std::optional<Isa> features);

/// The CPU has AMX, but the operating system does not save its tiles (XCR0): host_isas() is without it.
bool os_withholds_amx();

/// What host_machine() returns, without the copy. Detected at the first call of the process, TANDEM_ISA
/// included; afterwards two loads and a branch. Thread-safe.
const Result<Machine>& default_machine();

/// For tests: while it lives, the host seems to offer these features and no others.
class PretendedHost {
public:
    explicit PretendedHost(Isa features);
    ~PretendedHost();
    PretendedHost(const PretendedHost&) = delete;
    PretendedHost& operator=(const PretendedHost&) = delete;

private:
    std::unique_ptr<const struct Host> host_;
};

}  // namespace tandem
