// Machine <-> JSON: a machine described in a file, so that others can plan and emit for it.
//
//   {"format": 2, "cpu": "...", "vendor": "AuthenticAMD", "family": 25, "model": 97, "stepping": 2,
//    "core_kind": "", "features": ["avx2", "avx512", "vnni", ...],
//    "caches": {"l1": 32768, "l2": 1048576, "l3": 33554432, "l3_cores": 8},
//    "topology": {"cores": 16, "threads_per_core": 2},
//    "rates": ...,    (rates_json.hpp) where they were measured
//    "report": ...}   what else tandem cpu found; not read here
#pragma once

#include <string>
#include <string_view>

#include "core/plan/machine.hpp"
#include "core/run/json_reader.hpp"

namespace tandem {

/// Machine::isa, a choice, is not part of it.
Json machine_to_json(const Machine& machine);
std::string machine_to_text(const Machine& machine);
/// It generates for the best of its features. `source` names the text in errors.
Result<Machine> machine_from_text(std::string_view text, const std::string& source);

/// As a file. An error names it and the reason.
Status save_machine(const std::string& path, const Machine& machine);
Result<Machine> read_machine(const std::string& path);

}  // namespace tandem
