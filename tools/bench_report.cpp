#include "tools/bench_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "core/run/probes.hpp"
#include "tools/onednn_pair.hpp"

namespace tandem::tool {

namespace {

const ContenderResult* find(const LayerResult& layer, const std::string& name) {
    for (const ContenderResult& other : layer.others)
        if (other.name == name) return &other;
    return nullptr;
}

nlohmann::json quartiles_us(const Series& series) {
    return {series.lower_quartile * 1e6, series.upper_quartile * 1e6};
}

/// A contender's name in keys and column heads.
std::string key_of(std::string name) {
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
}

// The first contender's ratio is called "ratio" too, for scripts that want one number a layer.
void add_contender(nlohmann::json& json, const ContenderResult& other, bool main) {
    const std::string name = key_of(other.name);
    const bool comparable = other.problem.empty();
    json[name + "_us"] = comparable ? nlohmann::json(other.series.median * 1e6) : nlohmann::json();
    json[name + "_implementations"] = other.description;
    const nlohmann::json value = comparable ? nlohmann::json(other.ratio.of_medians) : nlohmann::json();
    const nlohmann::json quartiles =
        comparable ? nlohmann::json{other.ratio.lower_quartile, other.ratio.upper_quartile}
                   : nlohmann::json();
    json[name + "_ratio"] = value;
    json[name + "_ratio_quartiles"] = quartiles;
    if (comparable)
        json[name + "_quartiles_us"] = quartiles_us(other.series);
    else
        json[name + "_not_comparable"] = other.problem;
    if (!main) return;
    json["ratio"] = value;
    json["ratio_quartiles"] = quartiles;
}

nlohmann::json phase_json(const LayerResult& layer, const PhaseResult& phase) {
    nlohmann::json json{{"phase", phase.name}, {"rounds", phase.rounds}, {"peak_gflops", phase.peak_gflops}};
    for (std::size_t i = 0; i < layer.others.size(); ++i) {
        if (!layer.others[i].problem.empty()) continue;
        const Ratio& ratio = phase.ratios[i];
        json[key_of(layer.others[i].name) + "_ratio"] = ratio.of_medians;
        json[key_of(layer.others[i].name) + "_ratio_quartiles"] = {ratio.lower_quartile,
                                                                   ratio.upper_quartile};
    }
    return json;
}

nlohmann::json layer_json(const LayerResult& layer) {
    const Settings& settings = layer.settings;
    nlohmann::json json{
        {"layer", layer.item.name},
        {"suite", layer.item.suite.empty() ? nlohmann::json() : nlohmann::json(layer.item.suite)},
        {"pair", layer.item.text},
        {"isa", to_string(settings.isa())},
        {"layout", to_string(settings.layout)},
        {"dtype", dtypes_text(settings)},
        {"math", to_string(settings.math)},
        {"threads", settings.threads}};
    if (!layer.error.empty()) {
        json["error"] = layer.error;
        return json;
    }
    json["kernel"] = layer.kernel;
    json["fused"] = layer.fused;
    json["flops"] = layer.flops;
    json["flop_per_byte"] = layer.fused_intensity;
    json["flop_per_byte_separate"] = layer.separate_intensity;
    json["ours_us"] = layer.ours.median * 1e6;
    json["ours_quartiles_us"] = quartiles_us(layer.ours);
    json["samples"] = layer.ours.samples;
    json["dropped"] = layer.dropped;
    json["disturbed"] = layer.disturbed();
    json["gflops"] = layer.gflops();
    json["peak_of"] = layer.peak_of;
    json["peak_gflops"] = layer.peak_gflops;
    json["fma_gflops"] = layer.fma_gflops;
    json["peak_fraction"] = layer.peak_fraction();
    for (const ContenderResult& other : layer.others)
        add_contender(json, other, &other == &layer.others.front());
    for (const PhaseResult& phase : layer.phases)
        json["phases"].push_back(phase_json(layer, phase));
    return json;
}

/// Time, ratio and its quartiles, or a dash.
std::string column_text(const ContenderResult& other) {
    if (!other.problem.empty())
        return fmt::format("{:>15} {:>7}  {:<14}",
                           other.problem.find("not offered") == std::string::npos ? "-" : "not offered", "-",
                           "");
    return fmt::format(
        "{:>15.1f} {:>6.2f}x  {:<14}", other.series.median * 1e6, other.ratio.of_medians,
        fmt::format("[{:.2f}, {:.2f}]", other.ratio.lower_quartile, other.ratio.upper_quartile));
}

/// A line for each of two phases; nothing where there is one.
std::string phases_text(const LayerResult& layer) {
    std::string text;
    for (const PhaseResult& phase : layer.phases) {
        if (layer.phases.size() == 1) break;
        text += fmt::format("    {} phase, {} rounds, {} at {:.0f}:", phase.name, phase.rounds, layer.peak_of,
                            phase.peak_gflops);
        for (std::size_t i = 0; i < layer.others.size(); ++i)
            if (const Ratio& ratio = phase.ratios[i]; layer.others[i].problem.empty())
                text += fmt::format("  {} {:.2f}x [{:.2f}, {:.2f}]", layer.others[i].name, ratio.of_medians,
                                    ratio.lower_quartile, ratio.upper_quartile);
        text += "\n";
    }
    return text;
}

/// What ran for oneDNN; onednn-auto only where that differs.
std::string implementations_text(const LayerResult& layer) {
    const ContenderResult* const direct = find(layer, "onednn");
    std::string text;
    for (const ContenderResult& other : layer.others)
        if (other.name.starts_with("onednn") && other.problem.empty() &&
            (&other == direct || !direct || other.description != direct->description))
            text += fmt::format("  {}: {}", other.name, fmt::join(other.description, " + "));
    return text;
}

std::string quoted(const std::string& text) {
    std::string result = "\"";
    for (const char c : text)
        result += c == '"' ? std::string("\"\"") : std::string(1, c);
    return result + "\"";
}

}  // namespace

bool LayerResult::disturbed() const {
    constexpr double tolerance = 0.05;  // quartiles of short runs are a few percent off themselves
    if (ours.disturbed) return true;
    for (const ContenderResult& other : others)
        if (other.problem.empty() && (other.series.disturbed ||
                                      other.ratio.of_medians < other.ratio.lower_quartile * (1 - tolerance) ||
                                      other.ratio.of_medians > other.ratio.upper_quartile * (1 + tolerance)))
            return true;
    return false;
}

std::pair<double, int> BenchReport::geomean(const std::string& contender, const std::string& suite) const {
    std::vector<double> ratios;
    for (const LayerResult& layer : layers) {
        if (!suite.empty() && layer.item.suite != suite) continue;
        if (const ContenderResult* const other = find(layer, contender);
            other && other->problem.empty() && other->ratio.of_medians > 0)
            ratios.push_back(other->ratio.of_medians);
    }
    return {geometric_mean(ratios), static_cast<int>(ratios.size())};
}

std::pair<double, int> BenchReport::phase_geomean(const std::string& contender,
                                                  const std::string& phase) const {
    std::vector<double> ratios;
    for (const LayerResult& layer : layers)
        for (const PhaseResult& result : layer.phases)
            for (std::size_t i = 0; i < layer.others.size() && result.name == phase; ++i)
                if (layer.others[i].name == contender && result.ratios[i].of_medians > 0)
                    ratios.push_back(result.ratios[i].of_medians);
    return {geometric_mean(ratios), static_cast<int>(ratios.size())};
}

std::vector<std::string> BenchReport::suites() const {
    std::vector<std::string> names;
    for (const LayerResult& layer : layers)
        if (!layer.item.suite.empty() &&
            std::find(names.begin(), names.end(), layer.item.suite) == names.end())
            names.push_back(layer.item.suite);
    return names;
}

int BenchReport::dropped() const {
    int sum = 0;
    for (const LayerResult& layer : layers)
        sum += layer.dropped;
    return sum;
}

void print_header(const BenchReport& report) {
    const Settings& settings = report.setup.settings;
    fmt::print("# {}; {}, {}, {}, math {}, {} thread{}\n", settings.machine.cpu_name,
               to_string(settings.isa()), to_string(settings.layout), dtypes_text(settings),
               to_string(settings.math), settings.threads, settings.threads == 1 ? "" : "s");
    if (have_onednn())
        fmt::print(
            "# oneDNN {}: a primitive for each convolution, formats of its own choice, algorithm {}, {}, no "
            "reorder timed but of nchw\n",
            onednn_version(), report.setup.onednn_auto ? "auto" : "direct",
            settings.isa() == host_isas(settings.dtype).back()
                ? "any instructions"
                : fmt::format("nothing beyond {}", to_string(settings.isa())));
    else
        fmt::print("# built without oneDNN\n");
    if (report.setup.alignment != Alignment::line)
        fmt::print("# align: {}\n", to_string(report.setup.alignment));
    if (report.setup.cold) fmt::print("# cold: L1 and L2 emptied before each call\n");
    fmt::print(
        "# medians; ratio = its time / Tandem's, with the quartiles over rounds; peak = the probe, in the "
        "same rounds, of the instruction that multiplies\n"
        "# in the largest dense stage; FLOPs are direct convolution's, so that Winograd can exceed the "
        "peak\n");
    fmt::print("{:<16} {:>9} {:>8} {:>12} {:<11}", "layer", "Tandem us", "GFLOP/s", "% of peak", "of");
    for (const std::string& name : report.against)
        fmt::print("{:>15} {:>7}  {:<14}", name + " us", "ratio", "quartiles");
    fmt::print("\n");
}

void print_layer(const LayerResult& layer) {
    if (!layer.error.empty()) {
        fmt::print("{:<16} FAILED: {}\n", layer.item.name, layer.error);
        return;
    }
    fmt::print(
        "{:<16} {:>9.1f} {:>8.1f} {:>12} {:<11}", layer.item.name, layer.ours.median * 1e6, layer.gflops(),
        fmt::format("{:.0f} of {:.0f}", layer.peak_fraction() * 100, layer.peak_gflops), layer.peak_of);
    for (const ContenderResult& other : layer.others)
        fmt::print("{}", column_text(other));
    const std::string fma =
        layer.peak_of == dot_instruction(Dot::f32) ? "" : fmt::format("  FMA {:.0f}", layer.fma_gflops);
    fmt::print("{}{}{}{}\n{}", fma, layer.fused ? "" : "  not fused", layer.disturbed() ? "  disturbed" : "",
               implementations_text(layer), phases_text(layer));
    for (const ContenderResult& other : layer.others)
        if (!other.problem.empty()) fmt::print("    {} not comparable: {}\n", other.name, other.problem);
}

void print_summary(const BenchReport& report) {
    const auto print = [&](const std::string& suite, const std::string& where) {
        for (const std::string& name : report.against)
            if (const auto [mean, count] = report.geomean(name, suite); count > 0)
                fmt::print("geomean against {}: {:.3f}x over {} layers{}\n", name, mean, count, where);
    };
    const std::vector<std::string> suites = report.suites();
    for (const std::string& suite : suites)
        print(suite, " of " + suite);
    const bool others = std::any_of(report.layers.begin(), report.layers.end(),
                                    [](const LayerResult& layer) { return layer.item.suite.empty(); });
    if (suites.size() != 1 || others) print({}, suites.empty() ? "" : " in all");
    for (const char* phase : {"fast", "slow"})
        for (const std::string& name : report.against)
            if (const auto [mean, count] = report.phase_geomean(name, phase); count > 0)
                fmt::print("geomean against {} in the {} phase: {:.3f}x over the {} layers that had two\n",
                           name, phase, mean, count);
    fmt::print("dropped samples: {}\n", report.dropped());
}

nlohmann::json machine_json(const Settings& settings) {
    const Machine& machine = settings.machine;
    nlohmann::json isas = nlohmann::json::array();
    for (const Isa isa : host_isas())
        isas.push_back(to_string(isa));
    return {{"cpu", machine.cpu_name},
            {"isas", isas},
            {"caches",
             {{"l1", machine.caches.l1},
              {"l2", machine.caches.l2},
              {"l3", machine.caches.l3},
              {"l3_cores", machine.caches.l3_cores}}}};
}

nlohmann::json to_json(const BenchReport& report) {
    nlohmann::json json{{"machine", machine_json(report.setup.settings)},
                        {"threads", report.setup.settings.threads},
                        {"cold", report.setup.cold},
                        {"align", to_string(report.setup.alignment)},
                        {"dropped", report.dropped()},
                        {"results", nlohmann::json::array()},
                        {"geomean", nlohmann::json::object()},
                        {"geomean_by_suite", nlohmann::json::object()}};
    if (have_onednn())
        json["onednn"] = {{"version", onednn_version()},
                          {"algorithm", report.setup.onednn_auto ? "auto" : "direct"}};
    for (const LayerResult& layer : report.layers)
        json["results"].push_back(layer_json(layer));
    for (const std::string& name : report.against)
        if (const auto [mean, count] = report.geomean(name); count > 0) json["geomean"][name] = mean;
    for (const std::string& suite : report.suites())
        for (const std::string& name : report.against)
            if (const auto [mean, count] = report.geomean(name, suite); count > 0)
                json["geomean_by_suite"][suite][name] = mean;
    for (const char* phase : {"fast", "slow"})
        for (const std::string& name : report.against)
            if (const auto [mean, count] = report.phase_geomean(name, phase); count > 0)
                json["geomean_by_phase"][phase][name] = mean;
    return json;
}

std::string to_csv(const BenchReport& report) {
    std::string text =
        "layer,pair,isa,layout,dtype,math,threads,ours_us,ours_lower_us,ours_upper_us,gflops,peak_of,peak_"
        "gflops,peak_fraction,fma_gflops,dropped,suite";
    const auto out = std::back_inserter(text);
    for (const std::string& name : report.against)
        fmt::format_to(out, ",{0}_us,{0}_lower_us,{0}_upper_us,{0}_ratio,{0}_ratio_lower,{0}_ratio_upper",
                       key_of(name));
    text += '\n';
    for (const LayerResult& layer : report.layers) {
        if (!layer.error.empty()) continue;
        const Settings& settings = layer.settings;
        fmt::format_to(out, "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}", quoted(layer.item.name),
                       quoted(layer.item.text), to_string(settings.isa()), to_string(settings.layout),
                       quoted(dtypes_text(settings)), to_string(settings.math), settings.threads,
                       layer.ours.median * 1e6, layer.ours.lower_quartile * 1e6,
                       layer.ours.upper_quartile * 1e6, layer.gflops(), layer.peak_of, layer.peak_gflops,
                       layer.peak_fraction(), layer.fma_gflops, layer.dropped, layer.item.suite);
        for (const std::string& name : report.against) {
            const ContenderResult* const other = find(layer, name);
            if (other && other->problem.empty())
                fmt::format_to(out, ",{},{},{},{},{},{}", other->series.median * 1e6,
                               other->series.lower_quartile * 1e6, other->series.upper_quartile * 1e6,
                               other->ratio.of_medians, other->ratio.lower_quartile,
                               other->ratio.upper_quartile);
            else
                text += ",,,,,,";
        }
        text += '\n';
    }
    return text;
}

}  // namespace tandem::tool
