#include "tools/bench_plot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "core/run/profile_measurement.hpp"
#include "core/run/probes.hpp"
#include "tools/files.hpp"
#include "tools/gnuplot.hpp"

namespace tandem::tool {

namespace {

constexpr int width = 1200, roofline_height = 520, bars_height = 480, pixels_per_bar = 7;
constexpr std::size_t longest_name = 16;
// Okabe and Ito's colours, which the colour-blind tell apart.
constexpr const char* colours[] = {"#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"};
constexpr const char* level_names[level_count] = {"L1", "L2", "L3", "memory"};

std::string quoted(const std::string& text) {
    std::string result = "'";
    for (const char c : text)
        result += c == '\'' ? std::string("''") : std::string(1, c);
    return result + "'";
}

/// A layer's name, or the start of its text where it has none.
std::string label(const Item& item) {
    std::string name =
        item.name.size() <= longest_name ? item.name : item.name.substr(0, longest_name - 3) + "...";
    std::replace(name.begin(), name.end(), '"', ' ');
    return '"' + name + '"';
}

const ContenderResult* comparable(const LayerResult& layer, const std::string& name) {
    for (const ContenderResult& other : layer.others)
        if (other.name == name && other.problem.empty() && other.series.median > 0) return &other;
    return nullptr;
}

std::vector<const LayerResult*> measured(const BenchReport& report) {
    std::vector<const LayerResult*> layers;
    for (const LayerResult& layer : report.layers)
        if (layer.error.empty()) layers.push_back(&layer);
    return layers;
}

/// The contenders that at least one layer has a bar of.
std::vector<std::string> contenders(const BenchReport& report) {
    std::vector<std::string> names;
    for (const std::string& name : report.against)
        if (report.geomean(name).second > 0) names.push_back(name);
    return names;
}

/// A slope for each level, from far below to its ridge.
std::string roofs_data(const Roofs& roofs) {
    std::string text;
    for (std::size_t i = 0; i < level_count; ++i) {
        const double ridge = roofs.gflops / roofs.gb_per_s[i];
        text += fmt::format("$roof{} << EOD\n{} {}\n{} {}\nEOD\n", i, ridge * 1e-4, roofs.gflops * 1e-4,
                            ridge, roofs.gflops);
    }
    return text;
}

/// FLOP/byte and GFLOP/s of Tandem's kernels, fused or not, and of the separate ones; lines from the latter
/// to the former.
std::string roofline_data(const std::vector<const LayerResult*>& layers) {
    std::string fused = "$fused << EOD\n", whole = "$whole << EOD\n", separate = "$separate << EOD\n",
                moves = "$moves << EOD\n";
    for (const LayerResult* const layer : layers) {
        const double x = layer->fused ? layer->fused_intensity : layer->separate_intensity,
                     y = layer->gflops();
        (layer->fused ? fused : whole) += fmt::format("{} {}\n", x, y);
        const ContenderResult* const other = comparable(*layer, "separate");
        if (!other) continue;
        const double from_x = layer->separate_intensity, from_y = layer->flops / other->series.median * 1e-9;
        separate += fmt::format("{} {}\n", from_x, from_y);
        moves += fmt::format("{} {}\n{} {}\n\n", from_x, from_y, x, y);
    }
    return fused + "EOD\n" + whole + "EOD\n" + separate + "EOD\n" + moves + "EOD\n";
}

bool any(const std::vector<const LayerResult*>& layers, bool (*of)(const LayerResult&)) {
    return std::any_of(layers.begin(), layers.end(), [of](const LayerResult* layer) { return of(*layer); });
}

/// Labels at 1, 2 and 5 of every decade: a logarithmic axis of less than two decades has hardly any
/// otherwise.
std::string tics(const char* axis, double low, double high) {
    std::string text = fmt::format("set {}tics (", axis);
    for (double decade = std::pow(10, std::floor(std::log10(low))); decade <= high; decade *= 10)
        for (const int digit : {1, 2, 5})
            text += fmt::format("{0:g}, ", decade * digit);
    return text.substr(0, text.size() - 2) + ")\n";
}

/// Limits of the axes: around the points, with the ridge of the nearest roof in sight.
std::string roofline_ranges(const std::vector<const LayerResult*>& layers, const Roofs& roofs) {
    double left = 1e30, right = 0, low = roofs.gflops, high = roofs.gflops;
    for (const LayerResult* const layer : layers) {
        left = std::min({left, layer->separate_intensity, layer->fused_intensity});
        right = std::max({right, layer->separate_intensity, layer->fused_intensity});
        const ContenderResult* const other = comparable(*layer, "separate");
        const double separate = other ? layer->flops / other->series.median * 1e-9 : layer->gflops();
        low = std::min({low, layer->gflops(), separate});
        high = std::max({high, layer->gflops(), separate});
    }
    left = std::min(left, roofs.gflops / roofs.gb_per_s.front());
    return fmt::format("set xrange [{}:{}]\nset yrange [{}:{}]\n", left / 1.5,
                       std::max(right, roofs.gflops / roofs.gb_per_s.back()) * 1.5, low / 2, high * 1.5) +
           tics("x", left / 10, right * 10) + tics("y", low / 10, high * 10);
}

std::string roofline_chart(const BenchReport& report, const std::vector<const LayerResult*>& layers,
                           const Roofs& roofs) {
    const Settings& settings = report.setup.settings;
    std::string text;
    const auto out = std::back_inserter(text);
    const std::string title =
        fmt::format("Roofline: {}, {}, {}, {} thread{}, math {}", settings.machine.cpu_name,
                    to_string(settings.isa()), to_string(settings.layout), settings.threads,
                    settings.threads == 1 ? "" : "s", to_string(settings.math));
    fmt::format_to(out,
                   "set title {}\nset logscale xy\nset xlabel 'FLOP / byte of tensors'\nset ylabel \"GFLOP/s "
                   "of direct convolution\"\n",
                   quoted(title));
    text += roofline_ranges(layers, roofs);
    text += "plot ";
    for (std::size_t i = 0; i < level_count; ++i)
        fmt::format_to(out, "$roof{0} with lines lw 2 dt {1} lc rgb '#777777' title {2}, ", i, i + 1,
                       quoted(fmt::format("{} {:.0f} GB/s", level_names[i], roofs.gb_per_s[i])));
    fmt::format_to(out, "{} with lines lw 2 lc rgb 'black' title {}", roofs.gflops,
                   quoted(fmt::format("{} peak {:.0f} GFLOP/s", roofs.peak_of, roofs.gflops)));
    if (any(layers, [](const LayerResult& layer) { return comparable(layer, "separate") != nullptr; }))
        fmt::format_to(out,
                       ", $moves with lines lw 1 lc rgb '#BBBBBB' notitle, $separate with points pt 6 ps 1.1 "
                       "lw 1.5 lc rgb '{}' title 'separate'",
                       colours[1]);
    if (any(layers, [](const LayerResult& layer) { return !layer.fused; }))
        fmt::format_to(out, ", $whole with points pt 9 ps 1.2 lc rgb '{}' title 'Tandem, not fused'",
                       colours[3]);
    if (any(layers, [](const LayerResult& layer) { return layer.fused; }))
        fmt::format_to(out, ", $fused with points pt 7 ps 1.1 lc rgb '{}' title 'Tandem, fused'", colours[0]);
    return text + "\n";
}

/// One block for each contender: position, ratio, quartiles. Groups of bars are 1 apart.
std::string bars_data(const std::vector<const LayerResult*>& layers, const std::vector<std::string>& names) {
    std::string text;
    const double bar = 0.8 / static_cast<double>(std::max<std::size_t>(1, names.size()));
    for (std::size_t i = 0; i < names.size(); ++i) {
        text += fmt::format("$bars{} << EOD\n", i);
        for (std::size_t layer = 0; layer < layers.size(); ++layer)
            if (const ContenderResult* const other = comparable(*layers[layer], names[i]))
                text += fmt::format(
                    "{} {} {} {}\n", static_cast<double>(layer) - 0.4 + (static_cast<double>(i) + 0.5) * bar,
                    other->ratio.of_medians, other->ratio.lower_quartile, other->ratio.upper_quartile);
        text += "EOD\n";
    }
    return text;
}

std::string bars_chart(const BenchReport& report, const std::vector<const LayerResult*>& layers,
                       const std::vector<std::string>& names) {
    std::string text =
        "set title \"time / Tandem's time, with quartiles: above 1, Tandem is faster\"\nunset "
        "logscale\nunset xlabel\n";
    const auto out = std::back_inserter(text);
    fmt::format_to(out,
                   "set ylabel 'ratio'\nset ytics autofreq\nset yrange [0:*]\nset xrange [-0.6:{}]\nset "
                   "xtics rotate by 60 right scale 0 (",
                   static_cast<double>(layers.size()) - 0.4);
    for (std::size_t i = 0; i < layers.size(); ++i)
        fmt::format_to(out, "{}{} {}", i ? ", " : "", label(layers[i]->item), i);
    text += ")\nset boxwidth " +
            fmt::format("{}", 0.8 / static_cast<double>(std::max<std::size_t>(1, names.size()))) +
            "\nset style fill solid 0.9 noborder\nplot ";
    for (std::size_t i = 0; i < names.size(); ++i) {
        const char* const colour =
            names[i] == "separate" ? colours[1] : colours[(i + 2) % std::size(colours)];
        const auto [mean, count] = report.geomean(names[i]);
        fmt::format_to(out,
                       "$bars{0} using 1:2 with boxes lc rgb '{1}' title {2}, $bars{0} using 1:2:3:4 with "
                       "yerrorbars pt 0 lw 1.5 lc rgb '#444444' notitle, ",
                       i, colour, quoted(fmt::format("{} (geomean {:.2f}x)", names[i], mean)));
    }
    return text + "1 with lines lw 2 lc rgb 'black' title 'Tandem'\n";
}

bool ends_with(const std::string& path, const char* ending) {
    return std::string_view(path).ends_with(ending);
}

}  // namespace

Roofs measure_roofs(const BenchSetup& setup) {
    Machine machine = setup.settings.machine;
    machine.measured = measured_host();
    const MachineRates one = rates_of(machine);
    if (!setup.pool) return {"FMA", one.gflops(), one.gb_per_s};
    const Isa isa = setup.settings.isa();
    const int threads = setup.settings.threads;
    const ParallelFor parallel = [&](const std::function<void(int)>& fn) {
        static_cast<void>(setup.pool->parallel(fn));
    };
    Roofs roofs;
    roofs.gflops = dot_peak_gflops(Dot::f32, isa, threads, parallel);
    const CacheSizes& caches = setup.settings.machine.caches;
    const auto count = static_cast<std::size_t>(threads);
    const std::size_t bytes[level_count] = {caches.l1 / 2, caches.l2 / 2,
                                            std::max(caches.l2 * 2, caches.l3 / 4 / count),
                                            std::max(caches.l3, caches.l2) * 3 / count + caches.l2 * 2};
    for (std::size_t level = 0; level < level_count; ++level) {
        std::vector<double> found(count);
        parallel(
            [&](int part) { found[static_cast<std::size_t>(part)] = read_bandwidth(isa, bytes[level]); });
        for (const double each : found)
            roofs.gb_per_s[level] += each;
        if (level > 0) roofs.gb_per_s[level] = std::min(roofs.gb_per_s[level], roofs.gb_per_s[level - 1]);
    }
    return roofs;
}

Status check_plot(const std::string& path) {
    if (!ends_with(path, ".svg") && !ends_with(path, ".png"))
        return Error{ErrorCode::invalid_argument,
                     fmt::format("--plot is '{}'; accepted: a file name that ends in .svg or .png.", path)};
    return find_gnuplot();
}

Status draw_plot(const BenchReport& report, const Roofs& measured_roofs, const std::string& path) {
    const std::vector<const LayerResult*> layers = measured(report);
    if (layers.empty())
        return Error{ErrorCode::invalid_argument, "--plot has nothing to draw: no layer was measured."};
    const std::vector<std::string> names = contenders(report);
    Roofs roofs = measured_roofs;
    for (const LayerResult* const layer : layers) {
        if (layer->peak_gflops <= roofs.gflops) continue;
        roofs.gflops = layer->peak_gflops;  // of a faster instruction, or in a better moment
        if (layer->peak_of != dot_instruction(Dot::f32)) roofs.peak_of = layer->peak_of;
    }
    const bool bars = !names.empty();
    const int wide =
        std::max(width, 260 + pixels_per_bar * static_cast<int>(layers.size() * (names.size() + 1)));
    const int high = roofline_height + (bars ? bars_height : 0);
    std::string script =
        ends_with(path, ".png")
            ? fmt::format(
                  "set terminal pngcairo size {},{} noenhanced font 'sans,13' background rgb 'white'\n", wide,
                  high)
            : fmt::format(
                  "set terminal svg size {},{} noenhanced font 'sans-serif,17' background rgb 'white'\n",
                  wide, high);
    script += roofs_data(roofs) + roofline_data(layers) + bars_data(layers, names);
    script +=
        "set key outside right top vertical Left reverse samplen 2 spacing 1.2 width 2\nset grid back lt 1 "
        "lc rgb '#DDDDDD' lw 1\nset border 3\n"
        "set tics nomirror\nset lmargin 10\nset rmargin 32\nset multiplot\n";
    const double split = bars ? static_cast<double>(bars_height) / high : 0;
    script += fmt::format("set origin 0,{0}\nset size 1,{1}\n", split, 1 - split) +
              roofline_chart(report, layers, roofs);
    if (bars)
        script += fmt::format("set origin 0,0\nset size 1,{}\n", split) + bars_chart(report, layers, names);
    const Result<std::string> picture = run_gnuplot(script + "unset multiplot\nunset output\n");
    return picture ? write_output({"--plot", path}, *picture) : picture.error();
}

}  // namespace tandem::tool
