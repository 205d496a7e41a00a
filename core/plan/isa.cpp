#include "tandem/isa.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <span>

#include "core/plan/as_result.hpp"
#include "core/plan/isa_text.hpp"

namespace tandem {
namespace {

constexpr std::array<const char*, isa_feature_count> feature_names{
    "avx2",     "avx_vnni", "avx512",   "vnni",     "bf16",          "vbmi",           "fp16",
    "amx_tile", "amx_bf16", "amx_int8", "amx_fp16", "avx_vnni_int8", "avx_ne_convert", "avx10_2"};

constexpr std::array<const char*, isa_presets.size()> preset_names{
    "avx2", "avx2_vnni", "avx512", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx"};

std::optional<Isa> preset_named(std::string_view name) {
    const auto found = std::ranges::find(preset_names, name);
    if (found == preset_names.end()) return std::nullopt;
    return isa_presets[static_cast<std::size_t>(found - preset_names.begin())];
}

/// The text up to the next '+', which is taken off with it.
std::string_view take_word(std::string_view& text) {
    const std::size_t end = std::min(text.find('+'), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return word;
}

}  // namespace

const char* to_string(IsaFeature feature) noexcept {
    return feature_names[static_cast<std::size_t>(feature)];
}

std::optional<IsaFeature> isa_feature_named(std::string_view name) noexcept {
    const auto found = std::ranges::find(feature_names, name);
    if (found == feature_names.end()) return std::nullopt;
    return static_cast<IsaFeature>(found - feature_names.begin());
}

std::string to_string(Isa isa) {
    std::size_t preset = isa_presets.size() - 1;
    while (!isa.includes(isa_presets[preset]))
        --preset;
    std::string text = preset_names[preset];
    for (int i = 0; i < isa_feature_count; ++i) {
        const auto feature = static_cast<IsaFeature>(i);
        if (isa.has(feature) && !isa_presets[preset].has(feature))
            text += fmt::format("+{}", to_string(feature));
    }
    return text;
}

std::optional<Isa> isa_named(std::string_view text) {
    std::string_view rest = text;
    std::optional<Isa> isa = preset_named(take_word(rest));
    while (isa && !rest.empty()) {
        const std::optional<IsaFeature> feature = isa_feature_named(take_word(rest));
        isa = feature ? std::optional(isa->with(*feature)) : std::nullopt;
    }
    return text.ends_with('+') ? std::nullopt : isa;
}

std::string list_of(std::span<const Isa> isas) {
    std::string text;
    for (const Isa isa : isas)
        text += fmt::format("{}{}", text.empty() ? "" : ", ", to_string(isa));
    return text.empty() ? "none" : text;
}

Result<Isa> parse_isa(std::string_view text) noexcept try {
    if (const auto isa = isa_named(text)) return *isa;
    return Error{
        ErrorCode::parse_error,
        fmt::format("ISA '{}' is not known; accepted: {}, each with any number of +feature behind: {}", text,
                    list_of(isa_presets), fmt::join(feature_names, ", "))};
} catch (...) {
    return caught_error();
}

}  // namespace tandem
