// One list of the fields serves both directions. It takes structs apart by structured bindings, so that a
// field added to Tiling or StagePlan does not compile here until it is listed too; Plan's size watches over
// its own.
//
// Stages are listed as far as the plan has them, with an edge between any two; "stored" has a tiling for
// every stored edge, and is there only if there is one. Plans of pairs as they were written before there were
// edges have "fusion" and two stages.
#include "core/run/plan_json.hpp"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <type_traits>

#include "core/plan/register_budget.hpp"
#include "core/run/json_reader.hpp"

namespace tandem {
namespace {

template <class AnyTiling, class Visit>
void each_tiling_field(AnyTiling& tiling, Visit&& visit) {
    auto& [tile_h, tile_w, channel_splits, prefetch_next] = tiling;
    visit("tile_h", tile_h);
    visit("tile_w", tile_w);
    visit("channel_splits", channel_splits);
    visit("prefetch_next", prefetch_next);
}

struct PlanFields : Tiling {
    Isa isa;
    Backend backend;
    decltype(Plan::edges) edges;
    decltype(Plan::stored) stored;
    decltype(Plan::stages) stages;
};
static_assert(sizeof(Plan) == sizeof(PlanFields), "a field of Plan is to be listed here, too");

/// Those with a value each; edges and stages are read and written by themselves.
template <class AnyPlan, class Visit>
void each_field(AnyPlan& plan, Visit&& visit) {
    using TilingOf = std::conditional_t<std::is_const_v<AnyPlan>, const Tiling, Tiling>;
    visit("isa", plan.isa);
    visit("backend", plan.backend);
    each_tiling_field(static_cast<TilingOf&>(plan), visit);
}

template <class AnyStage, class Visit>
void each_stage_field(AnyStage& stage, Visit&& visit) {
    auto& [algorithm, dot, block_pixels, block_vectors, block_rows, channels_inner, block_channels, broadcast,
           weights_ahead, pixel_pairs] = stage;
    visit("algorithm", algorithm);
    visit("dot", dot);
    visit("block_pixels", block_pixels);
    visit("block_vectors", block_vectors);
    visit("block_rows", block_rows);
    visit("channels_inner", channels_inner);
    visit("block_channels", block_channels);
    visit("broadcast", broadcast);
    visit("weights_ahead", weights_ahead);
    visit("pixel_pairs", pixel_pairs);
}

constexpr std::array edges{Edge::recompute, Edge::sliding, Edge::stored};
constexpr std::array backends{Backend::tandem, Backend::libxsmm};
constexpr std::array algorithms{Algorithm::direct, Algorithm::winograd2, Algorithm::winograd4,
                                Algorithm::strassen};
constexpr const auto& values_of(Edge) { return edges; }
constexpr const auto& values_of(Backend) { return backends; }
constexpr const auto& values_of(Algorithm) { return algorithms; }
constexpr const auto& values_of(Dot) { return all_dots; }
constexpr std::array broadcasts{Broadcast::embedded, Broadcast::registers};
constexpr const auto& values_of(Broadcast) { return broadcasts; }

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

/// Members that plans have not always had, and that may be missing; read_stages() says what that means.
bool may_lack(std::string_view name) {
    return name == "broadcast" || name == "weights_ahead" || name == "pixel_pairs";
}

/// Objects of a list, one for each of `items` at most.
template <class Item, class EachField>
Status read_list(const std::string& name, const Json& json, std::span<Item> items, EachField each) {
    for (std::size_t i = 0; i < json.size() && i < items.size(); ++i) {
        ObjectReader reader(json[i], fmt::format("{}[{}]", name, i));
        each(items[i], [&](const char* field, auto& value) {
            if (reader.has(field) || !may_lack(field)) read_member(reader, field, value);
        });
        if (Status status = reader.finish(); !status) return status;
    }
    return {};
}

Status check_list(const std::string& name, const Json& json, std::size_t least, std::size_t most) {
    if (json.is_array() && json.size() >= least && json.size() <= most) return {};
    return wrong(name, json,
                 least == most ? fmt::format("a list of {} is", most)
                               : fmt::format("a list of {} to {} is", least, most));
}

constexpr auto stage_fields = [](auto& stage, auto&& visit) {
    each_stage_field(stage, visit);
};
constexpr auto tiling_fields = [](auto& tiling, auto&& visit) {
    each_tiling_field(tiling, visit);
};

Status read_stages(const std::string& name, const Json& list, Plan& plan) {
    if (Status status = check_list(name, list, 1, plan.stages.size()); !status) return status;
    Status status = read_list(name, list, std::span<StagePlan>(plan.stages), stage_fields);
    for (std::size_t i = 0; i < list.size() && status.ok(); ++i)
        if (!list[i].contains("broadcast"))
            plan.stages[i].broadcast = default_broadcast(plan, plan.stages[i]);
    return status;
}

/// How the stages meet, as plans of pairs said it before there were edges.
Status read_fusion(const std::string& name, const Json& json, Edge& edge) {
    if (json == "single") return {};
    if (json == "recompute" || json == "sliding") return read_value(name, json, edge);
    return wrong(name, json, R"("recompute", "sliding", "single" are)");
}

Status read_edges(ObjectReader& reader, std::size_t stages, Plan& plan) {
    const Json* list = reader.member("edges");
    if (list == nullptr) return {};
    const std::string name = reader.path("edges");
    if (Status status = check_list(name, *list, stages - 1, stages - 1); !status) return status;
    std::vector<Tiling> stored;
    for (std::size_t i = 0; i < list->size(); ++i) {
        if (Status status = read_value(fmt::format("{}[{}]", name, i), (*list)[i], plan.edges[i]); !status)
            return status;
        if (plan.edges[i] == Edge::stored) stored.emplace_back();
    }
    if (stored.empty()) return {};
    const Json* tilings = reader.member("stored");
    if (tilings == nullptr) return {};
    if (Status status = check_list(reader.path("stored"), *tilings, stored.size(), stored.size()); !status)
        return status;
    if (Status status = read_list(reader.path("stored"), *tilings, std::span<Tiling>(stored), tiling_fields);
        !status)
        return status;
    for (std::size_t i = 0, at = 0; i < list->size(); ++i)
        if (plan.edges[i] == Edge::stored) plan.stored[i] = stored[at++];
    return {};
}

template <class Item, class EachField>
Json list_to_json(std::span<Item> items, EachField each) {
    Json list = Json::array();
    for (const auto& item : items) {
        Json& object = list.emplace_back();
        each(item, [&](const char* field, const auto& part) { object[field] = value_to_json(part); });
    }
    return list;
}

}  // namespace

Json plan_to_json(const Plan& plan) {
    Json json;
    each_field(plan, [&](const char* name, const auto& value) { json[name] = value_to_json(value); });
    std::size_t count = 1;
    while (count < plan.stages.size() && plan.stages[count].block_pixels > 0)
        ++count;
    json["stages"] = list_to_json(std::span(plan.stages).first(count), stage_fields);
    Json& names = json["edges"] = Json::array();
    std::vector<Tiling> stored;
    for (std::size_t i = 0; i + 1 < count; ++i) {
        names.push_back(to_string(plan.edges[i]));
        if (plan.edges[i] == Edge::stored) stored.push_back(plan.stored[i]);
    }
    if (!stored.empty()) json["stored"] = list_to_json(std::span<const Tiling>(stored), tiling_fields);
    return json;
}

Result<Plan> plan_from_json(const Json& json) {
    Plan plan;
    ObjectReader reader(json, "plan");
    each_field(plan, [&](const char* name, auto& value) { read_member(reader, name, value); });
    if (const Json* list = reader.member("stages")) {
        reader.fail(read_stages(reader.path("stages"), *list, plan));
        if (reader.has("fusion")) {
            if (const Json* fusion = reader.member("fusion"))
                reader.fail(read_fusion(reader.path("fusion"), *fusion, plan.edges[0]));
        } else {
            reader.fail(read_edges(reader, list->size(), plan));
        }
    }
    if (const Status status = reader.finish(); !status) return status.error();
    return plan;
}

std::string plan_to_text(const Plan& plan) { return plan_to_json(plan).dump(); }

Result<Plan> plan_from_text(std::string_view text, const std::string& source) {
    const Result<Json> json = parse_json(text, source);
    return json ? plan_from_json(*json) : json.error();
}

}  // namespace tandem
