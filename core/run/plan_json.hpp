// Plan <-> JSON, field by field and by name, for the wisdom file.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "core/plan/plan.hpp"

namespace tandem {

/// {"isa": "avx512", "fusion": "recompute", ..., "stages": [{"algorithm": "direct", ...}, ...]}
nlohmann::ordered_json plan_to_json(const Plan& plan);

/// The inverse. Every field has to be there and nothing else: a plan of another version is an error that
/// names the field, its value and what would be accepted; but for pairs' plans with a "fusion" instead of
/// edges. Whether the plan is possible for a problem is check_plan()'s to say.
Result<Plan> plan_from_json(const nlohmann::ordered_json& json);

/// The same as texts. `source` is what errors call a malformed one.
std::string plan_to_text(const Plan& plan);
Result<Plan> plan_from_text(std::string_view text, const std::string& source);

}  // namespace tandem
