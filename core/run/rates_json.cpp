#include "core/run/rates_json.hpp"

#include <fmt/format.h>

#include <cmath>

#include "core/plan/arithmetic.hpp"

namespace tandem {
namespace {

// One list of each struct's members serves both directions.
template <class Ports, class Visit>
void each_port(Ports& port, Visit&& visit) {
    visit("fma", port.fma);
    visit("narrow_fma", port.narrow_fma);
    visit("fma_latency", port.fma_latency);
    visit("load", port.load);
    visit("broadcast", port.broadcast);
    visit("embedded", port.embedded);
    visit("store", port.store);
    visit("instruction", port.instruction);
}

template <class Exposed, class Visit>
void each_share(Exposed& exposed, Visit&& visit) {
    visit("rows", exposed.rows);
    visit("pixels", exposed.pixels);
    visit("weights", exposed.weights);
    visit("output", exposed.output);
}

template <class Body, class Visit>
void each_dense_member(Body& body, Visit&& visit) {
    visit("vectors", body.vectors);
    visit("pixels", body.pixels);
    visit("embedded", body.embedded);
    visit("step", body.step);
    visit("fixed", body.fixed);
}

template <class Body, class Visit>
void each_depthwise_member(Body& body, Visit&& visit) {
    visit("kernel", body.kernel);
    visit("stride", body.stride);
    visit("rows", body.rows);
    visit("output", body.output);
    visit("ports", body.ports);
}

constexpr auto visit_dense = [](auto& body, auto&& visit) {
    each_dense_member(body, visit);
};
constexpr auto visit_depthwise = [](auto& body, auto&& visit) {
    each_depthwise_member(body, visit);
};
constexpr auto visit_ports = [](auto& port, auto&& visit) {
    each_port(port, visit);
};
constexpr auto visit_shares = [](auto& shares, auto&& visit) {
    each_share(shares, visit);
};

// Four digits: more than any measurement is good for.
double rounded(double value) {
    constexpr double least = 1e-5;  // below, nothing was measured
    if (!std::isfinite(value) || std::abs(value) < least) return 0;
    const double unit = std::pow(10, std::floor(std::log10(std::abs(value))) - 3);
    return std::round(value / unit) * unit;
}

Json number(double value) { return Json::parse(fmt::format("{:.4g}", rounded(value))); }
Json number(int value) { return value; }
Json number(bool value) { return value; }

template <class Item, class Each>
Json object_of(const Item& item, Each each) {
    Json json = Json::object();
    each(item, [&](const char* name, const auto& value) { json[name] = number(value); });
    return json;
}

template <class Item, class Each>
Json list_of(const std::vector<Item>& items, Each each) {
    Json list = Json::array();
    for (const Item& item : items)
        list.push_back(object_of(item, each));
    return list;
}

Json width_to_json(const MachineRates& rates) {
    Json dots = Json::object(), levels = Json::object();
    for (const Dot dot : all_dots)
        dots[to_string(dot)] = number(rates.peak(dot));
    for (std::size_t i = 0; i < level_count; ++i)
        levels[to_string(static_cast<Level>(i))] = number(rates.gb_per_s[i]);
    return {{"port", object_of(rates.port, visit_ports)},
            {"gflops", dots},
            {"gb_per_s", levels},
            {"exposed",
             {{"near", object_of(rates.near, visit_shares)}, {"far", object_of(rates.far, visit_shares)}}},
            {"transform", number(rates.transform)},
            {"tile", number(rates.tile_seconds * 1e9)},
            {"dense", list_of(rates.dense, visit_dense)},
            {"depthwise", list_of(rates.depthwise, visit_depthwise)}};
}

enum class Zero { refused, accepted };

// Rates from a thousandth of a thousandth up to a million million, in whichever of the file's units.
Status read_number(const std::string& name, const Json& json, double& value, Zero zero) {
    constexpr double least = 1e-6, most = 1e12;
    const std::string accepted =
        fmt::format("{}{} to {} is", zero == Zero::accepted ? "0 or " : "", least, most);
    if (!json.is_number()) return wrong(name, json, accepted);
    value = json.get<double>();
    const bool none = value == 0 && zero == Zero::accepted;
    if (!none && !(value >= least && value <= most)) return wrong(name, json, accepted);
    return {};
}

Status check_share(const std::string& name, double share) {
    return share <= 1 ? Status() : wrong(name, Json(share), "0 to 1 is");
}

Status read_field(const std::string& name, const Json& json, double& value, Zero zero) {
    return read_number(name, json, value, zero);
}
template <class Whole>
Status read_field(const std::string& name, const Json& json, Whole& value, Zero) {
    return read_value(name, json, value);
}

template <class Item, class Each>
Status read_object(const std::string& name, const Json& json, Item& item, Each each, Zero zero) {
    ObjectReader reader(json, name);
    each(item, [&](const char* field, auto& value) {
        if (const Json* const member = reader.member(field))
            reader.fail(read_field(reader.path(field), *member, value, zero));
    });
    return reader.finish();
}

// Blocks of nothing, or that take no time, are no measurements.
Status check_body(const std::string& name, const DenseBodyRate& body) {
    if (body.vectors < 1 || body.pixels < 1 || !(body.step > 0))
        return Error{ErrorCode::parse_error,
                     fmt::format("{} has vectors {}, pixels {} and step {}; positive ones are accepted.",
                                 name, body.vectors, body.pixels, body.step)};
    return {};
}
Status check_body(const std::string& name, const DepthwiseBodyRate& body) {
    if (body.kernel < 1 || body.stride < 1 || body.rows < 1 || !(body.output > 0) || !(body.ports > 0))
        return Error{
            ErrorCode::parse_error,
            fmt::format("{} has kernel {}, stride {}, rows {}, output {} and ports {}; positive ones are "
                        "accepted.",
                        name, body.kernel, body.stride, body.rows, body.output, body.ports)};
    return {};
}

template <class Item, class Each>
Status read_list(const std::string& name, const Json& json, std::vector<Item>& items, Each each) {
    if (!json.is_array()) return wrong(name, json, "a list is");
    for (std::size_t i = 0; i < json.size(); ++i) {
        const std::string at = fmt::format("{}[{}]", name, i);
        Status status = read_object(at, json[i], items.emplace_back(), each, Zero::accepted);
        if (status) status = check_body(at, items.back());
        if (!status) return status;
    }
    return {};
}

template <class Name, class Value>
Status read_named(const std::string& name, const Json& json, std::size_t count, Name name_of,
                  Value value_of) {
    ObjectReader reader(json, name);
    for (std::size_t i = 0; i < count; ++i)
        if (const Json* const member = reader.member(name_of(i)))
            reader.fail(read_number(reader.path(name_of(i)), *member, value_of(i), Zero::refused));
    return reader.finish();
}

// Dots that came after the file was written are taken to be as fast as they usually are.
Status read_dots(const std::string& name, const Json& json, MachineRates& rates) {
    ObjectReader reader(json, name);
    for (const Dot dot : all_dots) {
        const char* const member = to_string(dot);
        double& peak = rates.dot_gflops[static_cast<std::size_t>(dot)];
        peak = rates.gflops() * dot_speed(dot);
        if (dot != Dot::f32 && !reader.has(member)) continue;
        if (const Json* const found = reader.member(member))
            reader.fail(read_number(reader.path(member), *found, peak, Zero::refused));
    }
    return reader.finish();
}

Result<MachineRates> width_from_json(const std::string& name, const Json& json) {
    MachineRates rates;
    ObjectReader reader(json, name);
    const auto part = [&](const char* member, auto&& read) {
        if (const Json* const found = reader.member(member)) reader.fail(read(reader.path(member), *found));
    };
    using Text = const std::string&;
    part("port", [&](Text at, const Json& found) {
        return read_object(at, found, rates.port, visit_ports, Zero::refused);
    });
    part("gflops", [&](Text at, const Json& found) { return read_dots(at, found, rates); });
    part("gb_per_s", [&](Text at, const Json& found) {
        return read_named(
            at, found, level_count, [](std::size_t i) { return to_string(static_cast<Level>(i)); },
            [&](std::size_t i) -> double& { return rates.gb_per_s[i]; });
    });
    part("exposed", [&](Text at, const Json& found) {
        ObjectReader both(found, at);
        for (auto& [member, shares] : {std::pair{"near", &rates.near}, std::pair{"far", &rates.far}})
            if (const Json* const one = both.member(member)) {
                both.fail(read_object(both.path(member), *one, *shares, visit_shares, Zero::accepted));
                each_share(*shares, [&, member = member](const char* name, double share) {
                    both.fail(check_share(both.path(member) + "." + name, share));
                });
            }
        return both.finish();
    });
    part("transform",
         [&](Text at, const Json& found) { return read_number(at, found, rates.transform, Zero::accepted); });
    part("tile", [&](Text at, const Json& found) {
        return read_number(at, found, rates.tile_seconds, Zero::accepted);
    });
    part("dense", [&](Text at, const Json& found) { return read_list(at, found, rates.dense, visit_dense); });
    part("depthwise",
         [&](Text at, const Json& found) { return read_list(at, found, rates.depthwise, visit_depthwise); });
    if (const Status status = reader.finish(); !status) return status.error();
    rates.tile_seconds *= 1e-9;
    rates.measured = true;
    return rates;
}

}  // namespace

Json rates_to_json(const MeasuredRates& rates) {
    Json json{{"source", rates.source}};
    if (rates.ymm) json["ymm"] = width_to_json(*rates.ymm);
    if (rates.zmm) json["zmm"] = width_to_json(*rates.zmm);
    return json;
}

Result<MeasuredRates> rates_from_json(const std::string& name, const Json& json) {
    MeasuredRates rates;
    ObjectReader reader(json, name);
    if (const Json* const source = reader.member("source"))
        reader.fail(read_value(reader.path("source"), *source, rates.source));
    for (auto& [member, width] : {std::pair{"ymm", &rates.ymm}, std::pair{"zmm", &rates.zmm}}) {
        const Json* const found = reader.has(member) ? reader.member(member) : nullptr;
        if (!found) continue;
        Result<MachineRates> read = width_from_json(reader.path(member), *found);
        if (read)
            *width = std::move(*read);
        else
            reader.fail(read.error());
    }
    if (const Status status = reader.finish(); !status) return status.error();
    return rates;
}

}  // namespace tandem
