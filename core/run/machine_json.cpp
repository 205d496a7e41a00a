#include "core/run/machine_json.hpp"

#include <fmt/format.h>

#include "core/plan/isa_text.hpp"
#include "core/run/rates_json.hpp"
#include "core/run/whole_file.hpp"

namespace tandem {
namespace {

constexpr int format_version = 2;  // 1: the same without rates

// One list of the members serves both directions.
template <class AnyMachine, class Visit>
void each_member(AnyMachine& machine, Visit&& visit) {
    visit("cpu", machine.cpu_name);
    visit("vendor", machine.identity.vendor);
    visit("family", machine.identity.family);
    visit("model", machine.identity.model);
    visit("stepping", machine.identity.stepping);
    visit("core_kind", machine.core_kind);
    visit("features", machine.features);
    visit("caches", machine.caches);
    visit("topology", machine.cores);
}

template <class AnyCaches, class Visit>
void each_cache(AnyCaches& caches, Visit&& visit) {
    auto& [l1, l2, l3, l3_cores] = caches;
    visit("l1", l1);
    visit("l2", l2);
    visit("l3", l3);
    visit("l3_cores", l3_cores);
}

template <class AnyCores, class Visit>
void each_count(AnyCores& counts, Visit&& visit) {
    auto& [cores, threads_per_core] = counts;
    visit("cores", cores);
    visit("threads_per_core", threads_per_core);
}

template <class Value>
Json value_to_json(const Value& value) {
    return value;
}
Json value_to_json(Isa features) {
    Json names = Json::array();
    for (int i = 0; i < isa_feature_count; ++i)
        if (const auto feature = static_cast<IsaFeature>(i); features.has(feature))
            names.push_back(to_string(feature));
    return names;
}
Json value_to_json(const CacheSizes& caches) {
    Json json;
    each_cache(caches, [&](const char* name, auto value) { json[name] = value; });
    return json;
}
Json value_to_json(const CoreCounts& counts) {
    Json json;
    each_count(counts, [&](const char* name, auto value) { json[name] = value; });
    return json;
}

/// A number that must not be 0.
template <class Number>
void read_positive(ObjectReader& reader, const char* name, Number& value) {
    const Json* const json = reader.member(name);
    if (!json) return;
    reader.fail(read_value(reader.path(name), *json, value));
    if (value == 0) reader.fail(wrong(reader.path(name), *json, "1 or more is"));
}

Status read_part(const std::string& name, const Json& json, CacheSizes& caches) {
    ObjectReader reader(json, name);
    each_cache(caches, [&](const char* part, auto& value) { read_positive(reader, part, value); });
    return reader.finish();
}

Status read_part(const std::string& name, const Json& json, CoreCounts& counts) {
    ObjectReader reader(json, name);
    each_count(counts, [&](const char* part, auto& value) { read_positive(reader, part, value); });
    return reader.finish();
}

std::string feature_list() {
    std::string text;
    for (int i = 0; i < isa_feature_count; ++i)
        text += fmt::format("{}\"{}\"", i == 0 ? "" : ", ", to_string(static_cast<IsaFeature>(i)));
    return text;
}

Status read_part(const std::string& name, const Json& json, Isa& features) {
    if (!json.is_array()) return wrong(name, json, "a list of features is");
    bool avx2 = false;
    for (const Json& element : json) {
        const auto feature =
            element.is_string() ? isa_feature_named(element.get_ref<const std::string&>()) : std::nullopt;
        if (!feature) return wrong(name + "[]", element, feature_list() + " are");
        avx2 = avx2 || *feature == IsaFeature::avx2;
        features = features.with(*feature);
    }
    return avx2 ? Status() : Status(wrong(name, json, "a list with \"avx2\" is"));
}

template <class Value>
Status read_part(const std::string& name, const Json& json, Value& value) {
    return read_value(name, json, value);
}

Result<Machine> machine_from_json(const Json& json) {
    Machine machine;
    ObjectReader reader(json, "machine");
    if (const Json* const format = reader.member("format");
        format && *format != Json(1) && *format != Json(format_version))
        reader.fail(wrong("machine.format", *format, fmt::format("1 or {} is", format_version)));
    each_member(machine, [&](const char* name, auto& value) {
        if (const Json* const member = reader.member(name))
            reader.fail(read_part(reader.path(name), *member, value));
    });
    if (const Json* const rates = reader.has("rates") ? reader.member("rates") : nullptr) {
        Result<MeasuredRates> measured = rates_from_json(reader.path("rates"), *rates);
        if (measured)
            machine.measured = std::make_shared<const MeasuredRates>(std::move(*measured));
        else
            reader.fail(measured.error());
    }
    if (reader.has("report")) reader.member("report");  // of tandem cpu, which alone reads it
    if (const Status status = reader.finish(); !status) return status.error();
    const Isa features = machine.features;
    machine = machine_with(std::move(machine), isas_of(features).back());
    machine.features = features;
    return machine;
}

}  // namespace

Json machine_to_json(const Machine& machine) {
    Json json{{"format", format_version}};
    each_member(machine, [&](const char* name, const auto& value) { json[name] = value_to_json(value); });
    if (machine.measured) json["rates"] = rates_to_json(*machine.measured);
    return json;
}

std::string machine_to_text(const Machine& machine) {
    return machine_to_json(machine).dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<Machine> machine_from_text(std::string_view text, const std::string& source) {
    const Result<Json> json = parse_json(text, source);
    if (!json) return json.error();
    Result<Machine> machine = machine_from_json(*json);
    if (!machine) return Error{machine.error().code, fmt::format("{}: {}", source, machine.error().message)};
    return machine;
}

Status save_machine(const std::string& path, const Machine& machine) {
    return replace_file("machine file", path, machine_to_text(machine));
}

Result<Machine> read_machine(const std::string& path) {
    const Result<std::string> text = read_file(path);
    if (!text) return text.error();
    return machine_from_text(*text, path);
}

}  // namespace tandem
