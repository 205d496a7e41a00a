// CpuReport <-> JSON: the member "report" of a machine's JSON (core/run/machine_json.hpp).
//
//   {"version": 1, "date": "...", "hypervisor": "...", "amx": "granted", "seconds": 41.2, "quick": false,
//   "l1_instructions": 32768,
//    "xcr0": 393959, "palettes": ["..."], "features": [{"name": "avx2", "advertised": true, "outcome":
//    "runs"}, ...], "tables": [{"name": "latency", "unit": "cycles", "x": "", "readings": [
//      {"name": "vfmadd231ps zmm, zmm, zmm", "x": 0, "threads": 1, "median": 4, "low": 4, "high": 4,
//      "rounds": 21,
//       "doubt": ""}, ...]}, ...]}
#pragma once

#include "core/cpu/report.hpp"
#include "core/run/json_reader.hpp"

namespace tandem {

Json report_to_json(const CpuReport& report);
/// `name`: how errors call the object.
Result<CpuReport> report_from_json(const std::string& name, const Json& json);

/// A machine's file, with what was measured of it.
struct MeasuredMachine {
    Machine machine{};
    CpuReport report{};
};
std::string measured_machine_to_text(const Machine& machine, const CpuReport& report);
/// `source` names the text in errors; a machine's file without a report is one.
Result<MeasuredMachine> measured_machine_from_text(const std::string& text, const std::string& source);

}  // namespace tandem
