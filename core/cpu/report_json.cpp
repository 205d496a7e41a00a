#include "core/cpu/report_json.hpp"

#include <fmt/format.h>

#include "core/run/machine_json.hpp"

namespace tandem {
namespace {

constexpr int report_version = 1;

// One list of the members of each part serves both directions.
template <class AnyFigure, class Visit>
void each_figure_member(AnyFigure& figure, Visit&& visit) {
    visit("median", figure.median);
    visit("low", figure.low);
    visit("high", figure.high);
    visit("rounds", figure.rounds);
    visit("doubt", figure.doubt);
}

template <class AnyReading, class Visit>
void each_member(const Reading&, AnyReading& reading, Visit&& visit) {
    visit("name", reading.name);
    visit("x", reading.x);
    visit("threads", reading.threads);
    each_figure_member(reading.figure, visit);
}

template <class AnyTable, class Visit>
void each_member(const ReportTable&, AnyTable& table, Visit&& visit) {
    visit("name", table.name);
    visit("unit", table.unit);
    visit("x", table.x);
    visit("readings", table.readings);
}

template <class AnyFeature, class Visit>
void each_member(const ExecutedFeature&, AnyFeature& feature, Visit&& visit) {
    visit("name", feature.name);
    visit("advertised", feature.advertised);
    visit("outcome", feature.outcome);
}

template <class AnyReport, class Visit>
void each_member(const CpuReport&, AnyReport& report, Visit&& visit) {
    visit("date", report.date);
    visit("hypervisor", report.hypervisor);
    visit("amx", report.amx);
    visit("seconds", report.seconds);
    visit("quick", report.quick);
    visit("l1_instructions", report.l1_instructions);
    visit("xcr0", report.xcr0);
    visit("palettes", report.palettes);
    visit("features", report.features);
    visit("tables", report.tables);
}

Json to_json_value(const std::string& value) { return value; }
// Seven digits: more than any measurement has.
Json to_json_value(double value) { return std::stod(fmt::format("{:.7g}", value)); }
template <class Number>
requires std::is_arithmetic_v<Number> Json to_json_value(const Number& value) { return value; }
template <class Part>
Json to_json_value(const std::vector<Part>& parts);

template <class Part>
requires(std::is_class_v<Part> && !std::is_same_v<Part, std::string>) Json to_json_value(const Part& part) {
    Json json = Json::object();
    each_member(part, part, [&](const char* name, const auto& value) { json[name] = to_json_value(value); });
    return json;
}

template <class Part>
Json to_json_value(const std::vector<Part>& parts) {
    Json json = Json::array();
    for (const Part& part : parts)
        json.push_back(to_json_value(part));
    return json;
}

Status read_part(const std::string& name, const Json& json, double& value) {
    if (!json.is_number()) return wrong(name, json, "a number is");
    value = json.get<double>();
    return {};
}
template <class Simple>
requires std::is_arithmetic_v<Simple> || std::is_same_v<Simple, std::string> Status
read_part(const std::string& name, const Json& json, Simple& value) {
    return read_value(name, json, value);
}
template <class Part>
Status read_part(const std::string& name, const Json& json, std::vector<Part>& parts);

template <class Part>
requires(std::is_class_v<Part> && !std::is_same_v<Part, std::string>) Status
    read_part(const std::string& name, const Json& json, Part& part) {
    ObjectReader reader(json, name);
    if (std::is_same_v<Part, CpuReport>) reader.member("version");
    each_member(part, part, [&](const char* member, auto& value) {
        if (const Json* const found = reader.member(member))
            reader.fail(read_part(reader.path(member), *found, value));
    });
    return reader.finish();
}

template <class Part>
Status read_part(const std::string& name, const Json& json, std::vector<Part>& parts) {
    if (!json.is_array()) return wrong(name, json, "a list is");
    for (std::size_t i = 0; i < json.size(); ++i) {
        parts.emplace_back();
        if (Status status = read_part(fmt::format("{}[{}]", name, i), json[i], parts.back()); !status)
            return status;
    }
    return {};
}

std::string line_of(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

// A reading a line, so that a thousand of them can be read and compared.
std::string report_text(const Json& report) {
    std::string text = "{";
    for (const auto& [name, value] : report.items())
        if (name != "tables") text += fmt::format("\n    \"{}\": {},", name, line_of(value));
    text += "\n    \"tables\": [";
    for (const Json& table : report.at("tables")) {
        Json head = table;
        head.erase("readings");
        std::string start = line_of(head);
        start.pop_back();
        text += fmt::format("\n      {}, \"readings\": [", start);
        for (const Json& reading : table.at("readings"))
            text += "\n        " + line_of(reading) + ",";
        if (text.back() == ',') text.pop_back();
        text += "]},";
    }
    if (text.back() == ',') text.pop_back();
    return text + "]\n  }";
}

}  // namespace

Json report_to_json(const CpuReport& report) {
    Json json{{"version", report_version}};
    json.update(to_json_value(report));
    return json;
}

Result<CpuReport> report_from_json(const std::string& name, const Json& json) {
    CpuReport report;
    if (json.is_object() && json.contains("version") && json["version"] != Json(report_version))
        return wrong(name + ".version", json["version"], fmt::format("{} is", report_version));
    if (const Status status = read_part(name, json, report); !status) return status.error();
    return report;
}

std::string measured_machine_to_text(const Machine& machine, const CpuReport& report) {
    std::string text = machine_to_text(machine);
    text.erase(text.rfind('}'));
    text.erase(text.find_last_not_of(" \n") + 1);
    return text + ",\n  \"report\": " + report_text(report_to_json(report)) + "\n}\n";
}

Result<MeasuredMachine> measured_machine_from_text(const std::string& text, const std::string& source) {
    Result<Json> parsed = parse_json(text, source);
    if (!parsed) return parsed.error();
    Json& json = *parsed;
    if (!json.is_object())
        return Error{ErrorCode::parse_error, fmt::format("{} is malformed: it is no object.", source)};
    if (!json.contains("report"))
        return Error{
            ErrorCode::parse_error,
            fmt::format("{} has no \"report\"; accepted: a file as tandem cpu --json writes it.", source)};
    Result<CpuReport> report = report_from_json(source + ": report", json["report"]);
    if (!report) return report.error();
    json.erase("report");
    Result<Machine> machine =
        machine_from_text(json.dump(-1, ' ', false, Json::error_handler_t::replace), source);
    if (!machine) return machine.error();
    return MeasuredMachine{std::move(*machine), std::move(*report)};
}

}  // namespace tandem
