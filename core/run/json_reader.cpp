#include "core/run/json_reader.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace tandem {
namespace {

constexpr std::size_t max_depth = 64, max_members = 256;
constexpr std::size_t longest_quote = 200;  // of a text or value, in an error

struct Refused {
    std::string why;
};

std::string shortened(std::string text) {
    if (text.size() > longest_quote) text.replace(longest_quote, std::string::npos, "...");
    return text;
}

/// nlohmann's messages begin with "[json.exception.type_error.302] ".
std::string plain(const Json::exception& error) {
    const std::string_view text = error.what();
    const std::size_t end = text.find("] ");
    return shortened(std::string(end == std::string_view::npos ? text : text.substr(end + 2)));
}

/// Watches the parser, which itself stores what it reads without end.
class Limits {
public:
    void operator()(Json::parse_event_t event, const Json& parsed) {
        using Event = Json::parse_event_t;
        if (event == Event::object_start || event == Event::array_start) open_.emplace_back();
        if (event == Event::object_end || event == Event::array_end) open_.pop_back();
        if (open_.size() > max_depth) throw Refused{fmt::format("it is nested deeper than {}", max_depth)};
        if (event == Event::key) add(parsed.get_ref<const std::string&>());
    }

private:
    void add(const std::string& name) {
        std::vector<std::string>& names = open_.back();
        if (std::ranges::find(names, name) != names.end())
            throw Refused{fmt::format("an object has the member \"{}\" twice", shortened(name))};
        if (names.size() == max_members)
            throw Refused{fmt::format("an object has more than {} members", max_members)};
        names.push_back(name);
    }

    std::vector<std::vector<std::string>> open_;  // names seen in each object; none in a list
};

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

Result<Json> parse_json(std::string_view text, const std::string& source) {
    const auto malformed = [&](const std::string& why) {
        return Error{ErrorCode::parse_error, fmt::format("{} is malformed: {}.", source, why)};
    };
    if (text.find('\0') != std::string_view::npos)  // the parser's end of a text
        return malformed("it has a NUL byte");
    Limits limits;
    const auto watch = [&](int, Json::parse_event_t event, const Json& parsed) {
        limits(event, parsed);
        return true;
    };
    try {
        return Json::parse(text, watch);
    } catch (const Refused& refused) {
        return malformed(refused.why);
    } catch (const Json::exception& error) {  // names line and column
        return malformed(plain(error));
    }
}

Error wrong(const std::string& name, const Json& value, const std::string& accepted) {
    return {ErrorCode::parse_error,
            fmt::format("{} is {}; {} accepted.", name,
                        shortened(value.dump(-1, ' ', false, Json::error_handler_t::replace)), accepted)};
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

Status read_value(const std::string& name, const Json& json, double& value) {
    if (!json.is_number() || !std::isfinite(json.get<double>())) return wrong(name, json, "a number is");
    value = json.get<double>();
    return {};
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
