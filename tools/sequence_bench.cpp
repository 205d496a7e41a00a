#include "tools/sequence_bench.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>

#include "core/run/aligned_buffer.hpp"
#include "core/run/measure.hpp"
#include "core/run/typed_tensor.hpp"
#include "tools/bench_report.hpp"
#include "tools/files.hpp"

namespace tandem::tool {

namespace {

/// How a layer is run.
enum class Way { warm, cold, announced, count };
constexpr std::size_t way_count = static_cast<std::size_t>(Way::count);

struct Layer {
    std::string name;
    Kernel kernel;
    PackedWeights weights;
    std::vector<float> factors;
    Args args{};
    std::size_t input_bytes = 0, output_bytes = 0, residual_bytes = 0;
    std::array<Series, way_count> times{};

    Series& time(Way way) { return times[static_cast<std::size_t>(way)]; }
    const Series& time(Way way) const { return times[static_cast<std::size_t>(way)]; }
};

/// Layers that read and write two buffers by turns, as a network's do.
class Sequence {
public:
    explicit Sequence(const BenchSetup& setup) : setup_(setup) {}

    Status add(const Item& item) {
        const Result<Request> request = read_request(item, setup_.settings);
        if (!request) return request.error();
        const Result<Kernel> kernel = setup_.context->dispatch(request->chain, request->settings.dispatch());
        if (!kernel) return kernel.error();
        const Result<std::unique_ptr<Workload>> workload = make_workload(request->chain);
        if (!workload) return workload.error();
        const Problem& problem = (*workload)->problem;
        const VerificationData& data = (*workload)->data;
        Result<PackedWeights> weights =
            kernel->pack(data.views(problem.stage_count), data.input_quantization);
        if (!weights) return weights.error();
        Layer layer{item.name, *kernel, std::move(*weights), data.input_factors};
        layer.input_bytes = bytes_of(kernel->input_dtype(), kernel->input_shape(), kernel->input_view());
        layer.output_bytes = bytes_of(kernel->output_dtype(), kernel->output_shape(), kernel->output_view());
        for (int i = 0; i < problem.stage_count; ++i)
            layer.residual_bytes = std::max(
                layer.residual_bytes,
                bytes_of(kernel->residual_dtype(i), kernel->residual_shape(i), kernel->residual_view(i)));
        layers_.push_back(std::move(layer));
        return {};
    }

    /// After the last layer was added.
    Status place() {
        std::size_t most = 0, residual = 0;
        for (const Layer& layer : layers_) {
            most = std::max({most, layer.input_bytes, layer.output_bytes});
            residual = std::max(residual, layer.residual_bytes);
        }
        for (const std::size_t bytes : {most, most, residual}) {
            Result<AlignedBuffer> buffer = AlignedBuffer::create(bytes);
            if (!buffer) return buffer.error();
            buffers_.push_back(std::move(*buffer));
        }
        for (std::size_t i = 0; i < layers_.size(); ++i) {
            Layer& layer = layers_[i];
            layer.args.input = buffers_[i % 2].data();
            layer.args.output = buffers_[(i + 1) % 2].data();
            layer.args.weights = &layer.weights;
            if (!layer.factors.empty()) layer.args.input_factors = layer.factors.data();
            for (int stage = 0; stage < max_stages; ++stage)
                if (layer.kernel.residual_shape(stage).c > 0)
                    layer.args.residual[static_cast<std::size_t>(stage)] = buffers_[2].data();
        }
        return {};
    }

    /// All layers once. Warm: each a second time, which is the one that counts.
    Status run(Way way) {
        for (std::size_t i = 0; i < layers_.size(); ++i) {
            Layer& layer = layers_[i];
            Args args = layer.args;
            if (way == Way::announced) args.next = layers_[(i + 1) % layers_.size()].weights.memory();
            if (way == Way::warm)
                if (const Status status = call(layer.kernel, args); !status) return status;
            const long switches = involuntary_switches(setup_.pool != nullptr);
            const double start = now_seconds();
            if (const Status status = call(layer.kernel, args); !status) return status;
            layer.time(way).seconds.push_back(now_seconds() - start);
            layer.time(way).kept.push_back(involuntary_switches(setup_.pool != nullptr) == switches);
        }
        return {};
    }

    void summarise_all() {
        for (Layer& layer : layers_)
            for (Series& series : layer.times)
                summarise(series);
    }
    const std::vector<Layer>& layers() const { return layers_; }

private:
    static std::size_t bytes_of(DataType type, const TensorShape& shape, const TensorView& view) {
        return shape.c == 0 ? 0 : tensor_bytes(type, static_cast<std::size_t>(element_count(shape, view)));
    }
    Status call(const Kernel& kernel, const Args& args) {
        return setup_.pool ? setup_.pool->run(kernel, args) : kernel(args);
    }

    const BenchSetup& setup_;
    std::vector<Layer> layers_;
    std::vector<AlignedBuffer> buffers_;
};

std::string ratio_text(const Ratio& r) {
    return fmt::format("{:5.2f}x  [{:.2f}, {:.2f}]", r.of_medians, r.lower_quartile, r.upper_quartile);
}

std::size_t weight_bytes(const std::vector<Layer>& layers) {
    std::size_t bytes = 0;
    for (const Layer& layer : layers)
        bytes += layer.weights.bytes();
    return bytes;
}

nlohmann::json print_layers(const std::vector<Layer>& layers) {
    nlohmann::json results = nlohmann::json::array();
    std::array<double, way_count> sums{};
    fmt::print("{:<16} {:>10} {:>9} {:>9} {:>9}   cold/next, quartiles\n", "layer", "weights KB", "warm us",
               "cold us", "next us");
    for (const Layer& layer : layers) {
        const double kilobytes = static_cast<double>(layer.weights.bytes()) / 1024;
        std::array<double, way_count> us{};
        for (std::size_t way = 0; way < way_count; ++way) {
            us[way] = layer.times[way].median * 1e6;
            sums[way] += us[way];
        }
        const Ratio gain = ratio(layer.time(Way::cold), layer.time(Way::announced));
        fmt::print("{:<16} {:10.1f} {:9.1f} {:9.1f} {:9.1f}   {}\n", layer.name, kilobytes, us[0], us[1],
                   us[2], ratio_text(gain));
        results.push_back({{"name", layer.name},
                           {"weight_bytes", layer.weights.bytes()},
                           {"warm_us", us[0]},
                           {"cold_us", us[1]},
                           {"next_us", us[2]},
                           {"ratio", gain.of_medians}});
    }
    fmt::print("{:<16} {:10.1f} {:9.1f} {:9.1f} {:9.1f}   {:5.2f}x\n", "all",
               static_cast<double>(weight_bytes(layers)) / 1024, sums[0], sums[1], sums[2],
               sums[1] / sums[2]);
    return results;
}

Status measure(Sequence& sequence, double seconds) {
    constexpr int least_rounds = 5;
    for (const Way way : {Way::cold, Way::warm})  // caches and clock settle
        if (const Status status = sequence.run(way); !status) return status;
    const double end = now_seconds() + seconds * static_cast<double>(sequence.layers().size());
    for (int round = 0; round < least_rounds || now_seconds() < end; ++round)
        for (const Way way : {Way::warm, Way::cold, Way::announced})
            if (const Status status = sequence.run(way); !status) return status;
    sequence.summarise_all();
    return {};
}

}  // namespace

int run_sequence_bench(const BenchSetup& setup, const std::vector<Item>& items, double seconds,
                       const std::string& json_path) {
    Sequence sequence(setup);
    for (const Item& item : items)
        if (const Status status = sequence.add(item); !status)
            return complain(fmt::format("{}: {}", item.name, status.error().message), exit_failed);
    Status status = sequence.place();
    if (status) status = measure(sequence, seconds);
    if (!status) return complain(status.error().message, exit_failed);
    fmt::print(
        "# {} layers one after the other; L2 {:.0f} KB; medians; warm: right after a call of the same "
        "layer; cold: after the layer before; next: after one whose Args::next was these weights\n",
        items.size(), static_cast<double>(setup.settings.machine.caches.l2) / 1024);
    const nlohmann::json results = print_layers(sequence.layers());
    if (json_path.empty()) return exit_ok;
    const nlohmann::json json{{"machine", machine_json(setup.settings)}, {"results", results}};
    const Status written = write_output({"--json", json_path}, json.dump(2) + "\n");
    return written ? exit_ok : complain(written.error().message, exit_failed);
}

}  // namespace tandem::tool
