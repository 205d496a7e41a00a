#include "tools/dispatch_bench.hpp"

#include <fmt/format.h>

#include "core/run/measure.hpp"
#include "tools/bench_report.hpp"
#include "tools/files.hpp"

namespace tandem::tool {

namespace {

constexpr int emissions = 5;
constexpr double warm_seconds = 0.02;

struct DispatchCost {
    double emission_us = 0;  // generating the code
    double cold_us = 0;      // the whole first dispatch: planning, emission, the cache
    double warm_ns = 0;      // a dispatch that finds the kernel in the cache
    std::size_t code_bytes = 0;
};

Result<DispatchCost> measure_dispatch(const ConvChain& chain, const DispatchOptions& options) {
    std::vector<double> emission, cold;
    Context context;
    DispatchCost cost;
    for (int i = 0; i < emissions; ++i) {
        context.clear_cache();
        const double before = context.cache_stats().emission_seconds, start = now_seconds();
        const Result<Kernel> kernel = context.dispatch(chain, options);
        cold.push_back(now_seconds() - start);
        if (!kernel) return kernel.error();
        emission.push_back(context.cache_stats().emission_seconds - before);
        cost.code_bytes = kernel->code().size();
    }
    InterleaveOptions timing;
    timing.seconds = warm_seconds;
    const auto warm = [&] {
        static_cast<void>(context.dispatch(chain, options));
    };
    cost.emission_us = quantile(emission, 0.5) * 1e6;
    cost.cold_us = quantile(cold, 0.5) * 1e6;
    cost.warm_ns = interleave({warm}, timing).front().median * 1e9;
    return cost;
}

}  // namespace

int run_dispatch_bench(const Settings& settings, const std::vector<Item>& items,
                       const std::string& json_path) {
    nlohmann::json json{{"machine", machine_json(settings)}, {"results", nlohmann::json::array()}};
    std::vector<double> emission, cold, warm;
    int exit_code = exit_ok;
    fmt::print(
        "# medians; emission: generating the code; cold: a first dispatch; warm: one that finds its kernel "
        "in the cache\n");
    for (const Item& item : items) {
        const Result<Request> request = read_request(item, settings);
        const Result<DispatchCost> cost = request
                                              ? measure_dispatch(request->chain, request->settings.dispatch())
                                              : Result<DispatchCost>(request.error());
        if (!cost) {
            fmt::print("{:<12} FAILED: {}\n", item.name, cost.error().message);
            exit_code = exit_failed;
            continue;
        }
        fmt::print("{:<12} emission {:>7.1f} us  cold {:>7.1f} us  warm {:>6.1f} ns  {:>6} bytes of code\n",
                   item.name, cost->emission_us, cost->cold_us, cost->warm_ns, cost->code_bytes);
        emission.push_back(cost->emission_us);
        cold.push_back(cost->cold_us);
        warm.push_back(cost->warm_ns);
        json["results"].push_back({{"layer", item.name},
                                   {"pair", item.text},
                                   {"isa", to_string(request->settings.isa())},
                                   {"layout", to_string(request->settings.layout)},
                                   {"emission_us", cost->emission_us},
                                   {"cold_us", cost->cold_us},
                                   {"warm_ns", cost->warm_ns},
                                   {"code_bytes", cost->code_bytes}});
    }
    if (!warm.empty())
        fmt::print("median over layers: emission {:.1f} us, cold {:.1f} us, warm {:.1f} ns\n",
                   quantile(emission, 0.5), quantile(cold, 0.5), quantile(warm, 0.5));
    if (!json_path.empty())
        if (const Status status = write_output({"--json", json_path}, json.dump(2) + "\n"); !status)
            return complain(status.error().message, exit_failed);
    return exit_code;
}

}  // namespace tandem::tool
