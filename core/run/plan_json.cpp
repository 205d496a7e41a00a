// One list of the fields serves both directions. It takes the structs apart by structured bindings, so that
// a field added to Plan or StagePlan does not compile here until it is listed too.
#include "core/run/plan_json.hpp"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "core/run/json_reader.hpp"

namespace tandem {
namespace {

template <class AnyPlan, class Visit>
void each_field(AnyPlan& plan, Visit&& visit) {
    auto& [isa, fusion, backend, tile_h, tile_w, channel_splits, prefetch_next, stages] = plan;
    visit("isa", isa);
    visit("fusion", fusion);
    visit("backend", backend);
    visit("tile_h", tile_h);
    visit("tile_w", tile_w);
    visit("channel_splits", channel_splits);
    visit("prefetch_next", prefetch_next);
    visit("stages", stages);
}

template <class AnyStage, class Visit>
void each_stage_field(AnyStage& stage, Visit&& visit) {
    auto& [algorithm, dot, block_pixels, block_vectors, block_rows, channels_inner, block_channels] = stage;
    visit("algorithm", algorithm);
    visit("dot", dot);
    visit("block_pixels", block_pixels);
    visit("block_vectors", block_vectors);
    visit("block_rows", block_rows);
    visit("channels_inner", channels_inner);
    visit("block_channels", block_channels);
}

constexpr std::array fusions{Fusion::recompute, Fusion::sliding, Fusion::single};
constexpr std::array backends{Backend::tandem, Backend::libxsmm};
constexpr std::array algorithms{Algorithm::direct, Algorithm::winograd2, Algorithm::winograd4};
constexpr const auto& values_of(Fusion) { return fusions; }
constexpr const auto& values_of(Backend) { return backends; }
constexpr const auto& values_of(Algorithm) { return algorithms; }
constexpr const auto& values_of(Dot) { return all_dots; }

template <class Value>
Json value_to_json(const Value& value) {
    if constexpr (std::is_enum_v<Value> || std::is_same_v<Value, Isa>)
        return to_string(value);
    else
        return value;
}

using tandem::read_value;

Status read_value(const std::string& name, const Json& json, Isa& value) {
    if (!json.is_string()) return wrong(name, json, "the name of an ISA is");
    const Result<Isa> isa = parse_isa(json.get_ref<const std::string&>());
    if (!isa) return Error{isa.error().code, name + ": " + isa.error().message};
    value = *isa;
    return {};
}

template <class Enum>
requires std::is_enum_v<Enum> Status read_value(const std::string& name, const Json& json, Enum& value) {
    std::string names;
    for (const Enum candidate : values_of(Enum{})) {
        if (json.is_string() && json.get_ref<const std::string&>() == to_string(candidate)) {
            value = candidate;
            return {};
        }
        names += fmt::format("{}\"{}\"", names.empty() ? "" : ", ", to_string(candidate));
    }
    return wrong(name, json, names + " are");
}

template <class Value>
void read_member(ObjectReader& reader, const char* name, Value& value) {
    if (const Json* json = reader.member(name)) reader.fail(read_value(reader.path(name), *json, value));
}

using Stages = std::array<StagePlan, max_stages>;

Status read_stages(const std::string& name, const Json& json, Stages& stages) {
    if (!json.is_array() || json.size() != stages.size())
        return wrong(name, json, fmt::format("a list of {} stages is", stages.size()));
    for (std::size_t i = 0; i < stages.size(); ++i) {
        ObjectReader reader(json[i], fmt::format("{}[{}]", name, i));
        each_stage_field(stages[i],
                         [&](const char* field, auto& value) { read_member(reader, field, value); });
        if (Status status = reader.finish(); !status) return status;
    }
    return {};
}

}  // namespace

Json plan_to_json(const Plan& plan) {
    Json json;
    each_field(plan, [&](const char* name, const auto& value) {
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(value)>, Stages>) {
            Json& list = json[name] = Json::array();
            for (const StagePlan& stage : value) {
                Json& object = list.emplace_back();
                each_stage_field(
                    stage, [&](const char* field, const auto& part) { object[field] = value_to_json(part); });
            }
        } else {
            json[name] = value_to_json(value);
        }
    });
    return json;
}

Result<Plan> plan_from_json(const Json& json) {
    Plan plan;
    ObjectReader reader(json, "plan");
    each_field(plan, [&](const char* name, auto& value) {
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(value)>, Stages>) {
            if (const Json* list = reader.member(name))
                reader.fail(read_stages(reader.path(name), *list, value));
        } else {
            read_member(reader, name, value);
        }
    });
    if (const Status status = reader.finish(); !status) return status.error();
    return plan;
}

}  // namespace tandem
