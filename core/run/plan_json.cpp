// One list of the fields serves both directions. It takes structs apart by structured bindings, so that a
// field added to Tiling or StagePlan does not compile here until it is listed too; Plan's size watches over
// its own.
//
// Stages are listed as far as the plan has them, with an edge between any two; "stored" has a tiling for
// every stored edge, and is there only if there is one. Plans of pairs as they were written before there were
// edges have "fusion" and two stages.
#include "core/run/plan_json.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <limits>
#include <span>
#include <nlohmann/json.hpp>
#include <type_traits>

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

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
    auto& [algorithm, dot, block_pixels, block_vectors, block_rows, channels_inner, block_channels] = stage;
    visit("algorithm", algorithm);
    visit("dot", dot);
    visit("block_pixels", block_pixels);
    visit("block_vectors", block_vectors);
    visit("block_rows", block_rows);
    visit("channels_inner", channels_inner);
    visit("block_channels", block_channels);
}

constexpr std::array isas{Isa::avx2,        Isa::avx2_vnni,   Isa::avx512, Isa::avx512_vnni,
                          Isa::avx512_bf16, Isa::avx512_fp16, Isa::amx};
constexpr std::array edges{Edge::recompute, Edge::sliding, Edge::stored};
constexpr std::array backends{Backend::tandem, Backend::libxsmm};
constexpr std::array algorithms{Algorithm::direct, Algorithm::winograd2, Algorithm::winograd4};
constexpr const auto& values_of(Isa) { return isas; }
constexpr const auto& values_of(Edge) { return edges; }
constexpr const auto& values_of(Backend) { return backends; }
constexpr const auto& values_of(Algorithm) { return algorithms; }
constexpr const auto& values_of(Dot) { return all_dots; }

template <class Value>
Json value_to_json(const Value& value) {
    if constexpr (std::is_enum_v<Value>)
        return to_string(value);
    else
        return value;
}

Error wrong(const std::string& name, const Json& value, const std::string& accepted) {
    return {ErrorCode::parse_error,
            fmt::format("{} is {}; {} accepted.", name,
                        value.dump(-1, ' ', false, Json::error_handler_t::replace), accepted)};
}

Status read_value(const std::string& name, const Json& json, bool& value) {
    if (!json.is_boolean()) return wrong(name, json, "true or false is");
    value = json.get<bool>();
    return {};
}

Status read_value(const std::string& name, const Json& json, int& value) {
    constexpr auto most = std::numeric_limits<int>::max();
    const bool negative =
        json.is_number_integer() && !json.is_number_unsigned() && json.get<std::int64_t>() < 0;
    if (!json.is_number_integer() || negative || json.get<std::uint64_t>() > static_cast<std::uint64_t>(most))
        return wrong(name, json, fmt::format("a whole number from 0 to {} is", most));
    value = static_cast<int>(json.get<std::uint64_t>());
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

/// Reads the members of one object: every one exactly once, and no others.
class ObjectReader {
public:
    ObjectReader(const Json& json, std::string prefix) : json_(json), prefix_(std::move(prefix)) {
        if (!json.is_object()) status_ = wrong(prefix_, json, "an object is");
    }
    bool has(const char* name) const { return json_.is_object() && json_.contains(name); }
    /// The named member; null after an error or where it is missing.
    const Json* member(const char* name) {
        if (!status_) return nullptr;
        const auto found = json_.find(name);
        if (found == json_.end()) {
            status_ = Error{ErrorCode::parse_error, fmt::format("{}.{} is missing.", prefix_, name)};
            return nullptr;
        }
        ++read_;
        names_.push_back(name);
        return &*found;
    }
    template <class Value>
    void read(const char* name, Value& value) {
        if (const Json* json = member(name)) status_ = read_value(path(name), *json, value);
    }
    void fail(const Status& status) {
        if (status_ && !status) status_ = status;
    }
    std::string path(const char* name) const { return prefix_ + "." + name; }
    Status finish() const {
        if (!status_ || json_.size() == read_) return status_;
        return Error{ErrorCode::parse_error,
                     fmt::format("{} has {} members; exactly these {} are accepted: {}.", prefix_,
                                 json_.size(), read_, fmt::join(names_, ", "))};
    }

private:
    const Json& json_;
    std::string prefix_;
    std::size_t read_ = 0;
    std::vector<std::string> names_;
    Status status_;
};

/// Objects of a list, one for each of `items` at most.
template <class Item, class EachField>
Status read_list(const std::string& name, const Json& json, std::span<Item> items, EachField each) {
    for (std::size_t i = 0; i < json.size() && i < items.size(); ++i) {
        ObjectReader reader(json[i], fmt::format("{}[{}]", name, i));
        each(items[i], [&](const char* field, auto& value) { reader.read(field, value); });
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
    each_field(plan, [&](const char* name, auto& value) { reader.read(name, value); });
    if (const Json* list = reader.member("stages")) {
        reader.fail(check_list(reader.path("stages"), *list, 1, plan.stages.size()));
        reader.fail(read_list(reader.path("stages"), *list, std::span<StagePlan>(plan.stages), stage_fields));
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

}  // namespace tandem
