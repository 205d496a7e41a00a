// What the subcommands have in common: how to read --isa, --layout and the like, and what they come to on
// this machine.
#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <optional>
#include <string>

#include "core/plan/machine.hpp"
#include "tandem/tandem.hpp"

namespace tandem::tool {

/// Exit codes: everything went well, something failed, the command line is wrong.
inline constexpr int exit_ok = 0, exit_failed = 1, exit_usage = 2;

/// As written on the command line.
struct CommonOptions {
    std::string isa, machine, intermediate_dtype, output_dtype;
    std::optional<std::string> layout{}, dtype{}, math{};  // nullopt: nhwc, f32, fast
    bool isa_of_text = false;                              // `isa` is from a layer's text
    int threads = 1;
};
void add_common_options(CLI::App& app, CommonOptions& options);
/// --seconds, of subcommands that measure: 0 to a day.
void add_seconds_option(CLI::App& app, double& seconds, const std::string& description);
/// --machine, of subcommands that look at code and plans without running them: see resolve_anywhere().
void add_machine_option(CLI::App& app, CommonOptions& options);

/// What they mean here. machine.isa is the least that has what kernels of the data type use.
struct Settings {
    Machine machine{};
    Isa offered = Isa::avx2;  // may be used, whatever the data type
    Layout layout = Layout::nhwc;
    DataType dtype = DataType::f32;
    std::optional<DataType> intermediate_dtype{}, output_dtype{};  // nullopt: as dtype
    Math math = Math::fast;
    int threads = 1;
    bool foreign = false;       // the machine is not this one: nothing for it can be run or measured
    bool anywhere = false;      // by resolve_anywhere()
    CommonOptions options{};    // what these are
    std::string text_dtypes{};  // "u8-s8-f32": as a layer's text says them

    Isa isa() const noexcept { return machine.isa; }
    /// For a chain whose text says its data type itself.
    Machine machine_for(const ConvChain& chain) const {
        Machine own = machine;
        own.isa = least_isa(chain.dtype, chain.math, offered);
        return own;
    }
    DispatchOptions dispatch() const {
        DispatchOptions options;
        options.isa = offered;
        options.threads = threads;
        return options;
    }
};
Result<Settings> resolve(const CommonOptions& options);
/// The same where nothing is run: any ISA, and the machine of --machine, are accepted.
Result<Settings> resolve_anywhere(const CommonOptions& options);
/// --layout of code for an ISA; nhwc without the option.
Result<Layout> read_layout(const CommonOptions& options, Isa isa);
/// The host as --isa has it.
Result<Machine> chosen_machine(const CommonOptions& options);
/// "f32", or "u8, output f32".
std::string dtypes_text(const Settings& settings);

/// Prints "tandem: MESSAGE" to stderr and returns `code`.
int complain(const std::string& message, int code);

}  // namespace tandem::tool
