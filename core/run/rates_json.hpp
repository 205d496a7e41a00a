// MeasuredRates <-> JSON, as a member of a machine's (machine_json.hpp):
//
//   {"source": "measured 2026-11-28 ...",
//    "zmm": {"port": {"fma": 0.17, ...}, "gflops": {"f32": 180, ...}, "gb_per_s": {"L1": 350, ...},
//            "exposed": {"near": {"rows": 0.1, ...}, "far": ...}, "transform": 0.3, "tile": 100,
//            "dense": [{"vectors": 2, "pixels": 14, "embedded": true, "step": 5.1, "fixed": 11}, ...],
//            "depthwise": [{"kernel": 3, "stride": 1, "rows": 2, "output": 2.1, "ports": 1.6}, ...]},
//    "ymm": ...}
//
// Times are in ns.
#pragma once

#include "core/plan/machine_rates.hpp"
#include "core/run/json_reader.hpp"

namespace tandem {

Json rates_to_json(const MeasuredRates& rates);
/// `name` is what errors call it.
Result<MeasuredRates> rates_from_json(const std::string& name, const Json& json);

}  // namespace tandem
