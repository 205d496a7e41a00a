// What of reading and listing ISAs more than one file needs.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "tandem/isa.hpp"

namespace tandem {

/// nullopt: no feature has this name.
std::optional<IsaFeature> isa_feature_named(std::string_view name) noexcept;
/// parse_isa() without its sentence.
std::optional<Isa> isa_named(std::string_view text);
/// "avx2, avx512"; "none" for none.
std::string list_of(std::span<const Isa> isas);

}  // namespace tandem
