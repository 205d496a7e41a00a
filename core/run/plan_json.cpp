// One list of the fields serves both directions. It takes the structs apart by structured bindings, so that
// a field added to Plan or StagePlan does not compile here until it is listed too.
#include "core/run/plan_json.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

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

constexpr std::array isas{Isa::avx2,        Isa::avx2_vnni,   Isa::avx512, Isa::avx512_vnni,
                          Isa::avx512_bf16, Isa::avx512_fp16, Isa::amx};
constexpr std::array fusions{Fusion::recompute, Fusion::sliding, Fusion::single};
constexpr std::array backends{Backend::tandem, Backend::libxsmm};
constexpr std::array algorithms{Algorithm::direct, Algorithm::winograd2, Algorithm::winograd4};
constexpr const auto& values_of(Isa) { return isas; }
constexpr const auto& values_of(Fusion) { return fusions; }
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

using Stages = std::array<StagePlan, max_stages>;

Status read_stages(const std::string& name, const Json& json, Stages& stages) {
    if (!json.is_array() || json.size() != stages.size())
        return wrong(name, json, fmt::format("a list of {} stages is", stages.size()));
    for (std::size_t i = 0; i < stages.size(); ++i) {
        ObjectReader reader(json[i], fmt::format("{}[{}]", name, i));
        each_stage_field(stages[i], [&](const char* field, auto& value) { reader.read(field, value); });
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
            reader.read(name, value);
        }
    });
    if (const Status status = reader.finish(); !status) return status.error();
    return plan;
}

}  // namespace tandem
