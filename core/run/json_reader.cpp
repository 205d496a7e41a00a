#include "core/run/json_reader.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <limits>

namespace tandem {
namespace {

Result<std::uint64_t> whole_number(const std::string& name, const Json& json, std::uint64_t most) {
    const bool negative =
        json.is_number_integer() && !json.is_number_unsigned() && json.get<std::int64_t>() < 0;
    if (!json.is_number_integer() || negative || json.get<std::uint64_t>() > most)
        return wrong(name, json, fmt::format("a whole number from 0 to {} is", most));
    return json.get<std::uint64_t>();
}

template <class Number>
Status read_number(const std::string& name, const Json& json, Number& value) {
    const Result<std::uint64_t> number =
        whole_number(name, json, static_cast<std::uint64_t>(std::numeric_limits<Number>::max()));
    if (!number) return number.error();
    value = static_cast<Number>(*number);
    return {};
}

}  // namespace

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
    return read_number(name, json, value);
}

Status read_value(const std::string& name, const Json& json, std::size_t& value) {
    return read_number(name, json, value);
}

Status read_value(const std::string& name, const Json& json, std::string& value) {
    if (!json.is_string()) return wrong(name, json, "a text is");
    value = json.get<std::string>();
    return {};
}

ObjectReader::ObjectReader(const Json& json, std::string prefix) : json_(json), prefix_(std::move(prefix)) {
    if (!json.is_object()) status_ = wrong(prefix_, json, "an object is");
}

const Json* ObjectReader::member(const char* name) {
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

Status ObjectReader::finish() const {
    if (!status_ || json_.size() == read_) return status_;
    return Error{ErrorCode::parse_error, fmt::format("{} has {} members; exactly these {} are accepted: {}.",
                                                     prefix_, json_.size(), read_, fmt::join(names_, ", "))};
}

}  // namespace tandem
