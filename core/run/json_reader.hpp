// Reading JSON that a stranger may have written: every member exactly once, errors that name the member, its
// value and what is accepted.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tandem/result.hpp"

namespace tandem {

using Json = nlohmann::ordered_json;

/// Reads a text. What is malformed, nested deeper than 64, has more than 256 members in an object or one of
/// them twice is an error that calls the text `source`. So whatever walks the result ends soon.
Result<Json> parse_json(std::string_view text, const std::string& source);

/// "NAME is VALUE; ACCEPTED accepted."
Error wrong(const std::string& name, const Json& json, const std::string& accepted);

Status read_value(const std::string& name, const Json& json, bool& value);
Status read_value(const std::string& name, const Json& json, int& value);
Status read_value(const std::string& name, const Json& json, std::size_t& value);
Status read_value(const std::string& name, const Json& json, double& value);
Status read_value(const std::string& name, const Json& json, std::string& value);

/// Reads the members of one object: every one exactly once, and no others.
class ObjectReader {
public:
    ObjectReader(const Json& json, std::string prefix);
    bool has(const char* name) const { return json_.is_object() && json_.contains(name); }
    /// The named member; null after an error or where it is missing.
    const Json* member(const char* name);
    void fail(const Status& status) {
        if (status_ && !status) status_ = status;
    }
    std::string path(const char* name) const { return prefix_ + "." + name; }
    /// Of objects that may have further members.
    const Status& so_far() const { return status_; }
    Status finish() const;

private:
    const Json& json_;
    std::string prefix_;
    std::size_t read_ = 0;
    std::vector<std::string> names_;
    Status status_;
};

}  // namespace tandem
