#include "tools/options.hpp"

#include <fmt/format.h>

#include <cstdio>

namespace tandem::tool {

namespace {

constexpr int max_threads = 1024;  // of one machine, with room to spare

Error invalid(const char* option, const std::string& value, const char* accepted) {
    return {ErrorCode::invalid_argument, fmt::format("{} is '{}'; accepted: {}.", option, value, accepted)};
}

Result<Layout> read_layout(const std::string& text, Isa isa) {
    if (text == "nhwc") return Layout::nhwc;
    if (text == "nchw16c") return Layout::nchw16c;
    if (text == "nchw8c") return Layout::nchw8c;
    if (text == "blocked") return is_avx512(isa) ? Layout::nchw16c : Layout::nchw8c;
    return invalid("--layout", text, "nhwc, blocked (nchw16c with avx512, nchw8c with avx2), nchw16c, nchw8c");
}

}  // namespace

void add_common_options(CLI::App& app, CommonOptions& options) {
    app.add_option("--isa", options.isa, "Instruction set to generate for: avx2 or avx512 (default: TANDEM_ISA, else the best here)");
    app.add_option("--layout", options.layout, "Of the tensors: nhwc, blocked (nchw16c or nchw8c, as fits the ISA), nchw16c, nchw8c")
        ->capture_default_str();
    app.add_option("--dtype", options.dtype, "Of the tensors: f32")->capture_default_str();
    app.add_option("--math", options.math, "Of Tandem's kernels: strict (sums in a fixed order) or fast (any algorithm within 1e-5 of max|y|, Winograd included)")->capture_default_str();
    app.add_option("--threads", options.threads, "Threads to run on (0: one)")->capture_default_str();
}

Result<Settings> resolve(const CommonOptions& options) {
    std::optional<Isa> isa;
    if (!options.isa.empty()) {
        const Result<Isa> parsed = parse_isa(options.isa);
        if (!parsed) return Error{parsed.error().code, "--isa: " + parsed.error().message};
        isa = *parsed;
    }
    Result<Machine> machine = host_machine(isa);
    if (!machine) return machine.error();
    Settings settings;
    settings.machine = *machine;
    const Result<Layout> layout = read_layout(options.layout, settings.isa());
    if (!layout) return layout.error();
    settings.layout = *layout;
    if (options.dtype != "f32") return invalid("--dtype", options.dtype, "f32");
    if (options.math != "strict" && options.math != "fast") return invalid("--math", options.math, "strict, fast");
    settings.math = options.math == "strict" ? Math::strict : Math::fast;
    if (options.threads < 0 || options.threads > max_threads)
        return invalid("--threads", std::to_string(options.threads), "0 (one) to 1024");
    settings.threads = options.threads == 0 ? 1 : options.threads;
    return settings;
}

int complain(const std::string& message, int code) {
    fmt::print(stderr, "tandem: {}\n", message);
    return code;
}

}  // namespace tandem::tool
