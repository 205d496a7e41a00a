#include "tools/options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "core/run/host_profile.hpp"
#include "core/run/machine_json.hpp"
#include "tools/files.hpp"

namespace tandem::tool {

namespace {

constexpr int max_threads = 1024;  // of one machine, with room to spare

Error invalid(const char* option, const std::string& value, const char* accepted) {
    return {ErrorCode::invalid_argument, fmt::format("{} is '{}'; accepted: {}.", option, value, accepted)};
}

/// Of the intermediate or the output; nullopt: as the input.
Result<std::optional<DataType>> read_tensor_dtype(const char* option, const std::string& text, DataType input,
                                                  bool or_f32) {
    if (text.empty()) return std::optional<DataType>{};
    const Result<DataType> dtype = parse_data_type(text);
    const bool accepted =
        dtype &&
        (is_quantized(input) ? is_quantized(*dtype) || (or_f32 && *dtype == DataType::f32) : *dtype == input);
    if (accepted) return std::optional(*dtype);
    const std::string types = !is_quantized(input) ? to_string(input) : or_f32 ? "u8, s8, f32" : "u8, s8";
    return invalid(option, text, fmt::format("{} (as --dtype is {})", types, to_string(input)).c_str());
}

Status read_dtypes(const CommonOptions& options, Settings& settings) {
    const std::string text = options.dtype.value_or("f32");
    const Result<DataType> dtype = parse_data_type(text);
    if (!dtype) return invalid("--dtype", text, "f32, bf16, f16, u8, s8, int8 (u8)");
    settings.dtype = *dtype;
    const auto intermediate =
        read_tensor_dtype("--intermediate-dtype", options.intermediate_dtype, *dtype, false);
    if (!intermediate) return intermediate.error();
    settings.intermediate_dtype = *intermediate;
    const auto output = read_tensor_dtype("--output-dtype", options.output_dtype, *dtype, true);
    if (!output) return output.error();
    settings.output_dtype = *output;
    return {};
}

/// Who asks for the ISA.
const char* isa_source(const CommonOptions& options) {
    return options.isa_of_text ? "The text's ISA" : "--isa";
}

}  // namespace

Result<Layout> read_layout(const CommonOptions& options, Isa isa) {
    const std::string text = options.layout.value_or("nhwc");
    if (text == "nhwc") return Layout::nhwc;
    if (text == "nchw16c") return Layout::nchw16c;
    if (text == "nchw8c") return Layout::nchw8c;
    if (text == "blocked") return is_avx512(isa) ? Layout::nchw16c : Layout::nchw8c;
    return invalid("--layout", text,
                   "nhwc, blocked (nchw16c with avx512, nchw8c with avx2), nchw16c, nchw8c");
}

void add_common_options(CLI::App& app, CommonOptions& options) {
    app.add_option(
        "--isa", options.isa,
        "Instruction set to generate for: avx2, avx2_vnni, avx512, avx512_vnni, avx512_bf16, avx512_fp16 or "
        "amx, and further features behind a +, as in avx512_vnni+vbmi (default: TANDEM_ISA, else the best "
        "here); what the data type has no use for is left out");
    app.add_option("--layout", options.layout,
                   "Of the tensors: nhwc, blocked (nchw16c or nchw8c, as fits the ISA), nchw16c, nchw8c")
        ->default_str("nhwc");
    app.add_option("--dtype", options.dtype,
                   "Of the tensors: f32, bf16, f16, or quantised: u8, s8, int8 (u8)")
        ->default_str("f32");
    app.add_option("--intermediate-dtype", options.intermediate_dtype,
                   "Of the tensor between the convolutions, where quantised: u8 or s8 (default: as --dtype)");
    app.add_option("--output-dtype", options.output_dtype,
                   "Of the output, where quantised: u8, s8 or f32 (default: as --dtype)");
    app.add_option("--math", options.math,
                   "Of Tandem's kernels: strict (sums in a fixed order), fast (any algorithm within 1e-5 of "
                   "max|y|, Winograd included), bf16 (f32 tensors; dense stages may round their operands to "
                   "bf16) or f16 (f16 tensors; dense stages may keep their sums in f16)")
        ->default_str("fast");
    app.add_option("--threads", options.threads, "Threads to run on (0: one)")->capture_default_str();
}

void add_seconds_option(CLI::App& app, double& seconds, const std::string& description) {
    static constexpr double most = 86400;  // a day
    const auto accepted = [](const std::string& text) -> std::string {
        double value = 0;
        if (CLI::detail::lexical_cast(text, value) && value >= 0 && value <= most) return {};
        return fmt::format("it is {}; accepted: 0 to {}", text, most);
    };
    app.add_option("--seconds", seconds, description)
        ->check(CLI::Validator(accepted, ""))
        ->capture_default_str();
}

void add_machine_option(CLI::App& app, CommonOptions& options) {
    add_file_option(app, "--machine", options.machine,
                    "File that describes the machine to plan and emit for, as tandem machine --json wrote it "
                    "there (default: this one). Without it, too, --isa may name what this machine lacks");
}

Result<Machine> chosen_machine(const CommonOptions& options) {
    if (options.isa.empty()) return profiled_machine();
    const Result<Isa> parsed = parse_isa(options.isa);
    if (!parsed) return Error{parsed.error().code, "--isa: " + parsed.error().message};
    Result<Machine> machine = profiled_machine(*parsed);
    if (!machine && options.isa_of_text)
        return Error{machine.error().code, "The text's ISA: " + machine.error().message};
    return machine;
}

namespace {

Result<Settings> settings_for(const Result<Machine>& machine, const CommonOptions& options) {
    if (!machine) return machine.error();
    Settings settings;
    if (const Status status = read_dtypes(options, settings); !status) return status.error();
    constexpr std::array maths{Math::strict, Math::fast, Math::bf16, Math::f16};
    const std::string text = options.math.value_or("fast");
    const auto math = std::ranges::find(maths, text, [](Math mode) { return std::string(to_string(mode)); });
    if (math == maths.end()) return invalid("--math", text, "strict, fast, bf16, f16");
    settings.math = *math;
    settings.machine = *machine;
    settings.offered = machine->isa;
    settings.machine.isa = least_isa(settings.dtype, settings.math, machine->isa);
    const Result<Layout> layout = read_layout(options, settings.isa());
    if (!layout) return layout.error();
    settings.layout = *layout;
    if (options.threads < 0 || options.threads > max_threads)
        return invalid("--threads", std::to_string(options.threads), "0 (one) to 1024");
    settings.threads = options.threads == 0 ? 1 : options.threads;
    settings.options = options;
    return settings;
}

Result<Machine> described_machine(const CommonOptions& options) {
    Result<Machine> machine = read_machine(options.machine);
    if (!machine) return Error{machine.error().code, "--machine: " + machine.error().message};
    if (options.isa.empty()) return machine;
    const Result<Isa> isa = parse_isa(options.isa);
    if (!isa) return Error{isa.error().code, "--isa: " + isa.error().message};
    if (!machine->features.includes(*isa))
        return Error{
            ErrorCode::unsupported,
            fmt::format("{} is '{}', which the machine of {} does not offer; it has {}.", isa_source(options),
                        options.isa, options.machine, to_string(machine->features))};
    machine->isa = *isa;
    return machine;
}

}  // namespace

Result<Settings> resolve(const CommonOptions& options) {
    return settings_for(chosen_machine(options), options);
}

Result<Settings> resolve_anywhere(const CommonOptions& options) {
    const Result<Isa> isa = parse_isa(options.isa);
    const bool described = !options.machine.empty(), imagined = isa && !host_offers(*isa);
    Result<Settings> settings = described  ? settings_for(described_machine(options), options)
                                : imagined ? settings_for(imagined_machine(*isa), options)
                                           : resolve(options);
    if (settings) settings->foreign = described || imagined;
    if (settings) settings->anywhere = true;
    return settings;
}

std::string dtypes_text(const Settings& settings) {
    if (!settings.text_dtypes.empty()) return settings.text_dtypes;
    std::string text = to_string(settings.dtype);
    if (settings.intermediate_dtype)
        text += fmt::format(", intermediate {}", to_string(*settings.intermediate_dtype));
    if (settings.output_dtype) text += fmt::format(", output {}", to_string(*settings.output_dtype));
    return text;
}

int complain(const std::string& message, int code) {
    std::fputs(fmt::format("tandem: {}\n", message).c_str(), stderr);  // lost where stderr is: no exception
    return code;
}

}  // namespace tandem::tool
