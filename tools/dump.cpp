// tandem dump: a kernel's machine code, annotated, or as it is.
#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "core/plan/plan.hpp"
#include "tools/commands.hpp"
#include "tools/disassembly.hpp"
#include "tools/files.hpp"
#include "tools/problem_source.hpp"

namespace tandem::tool {

namespace {

struct DumpOptions {
    CommonOptions common{};
    std::string pair, output;
    bool raw = false, bytes = false;
};

std::string as_comments(const std::string& text) {
    std::string result = "; ";
    for (const char c : text) {
        result += c;
        if (c == '\n') result += "; ";
    }
    return result + "\n";
}

std::string listing(const Kernel& kernel, bool bytes) {
    return fmt::format("; {}\n; plan: {}\n{}; {} tiles, {} bytes of scratch, {} bytes of code\n\n{}",
                       kernel.name(), to_string(kernel.plan()), as_comments(kernel.explain()), kernel.tiles(),
                       kernel.scratch_bytes(), kernel.code().size(),
                       disassemble(kernel.code(), kernel.symbols(), bytes));
}

int run_dump(const DumpOptions& options) {
    const Result<Settings> settings = resolve_anywhere(options.common);
    if (!settings) return complain(settings.error().message, exit_usage);
    if (options.raw && options.output.empty())
        return complain("--raw writes bytes and needs -o FILE to write them to.", exit_usage);
    const Status writable = check_outputs({{"-o", options.output}}, {{"--machine", options.common.machine}});
    if (!writable) return complain(writable.error().message, exit_failed);
    const Result<std::vector<Item>> items = read_items({{options.pair}, {}, {}});
    if (!items) return complain(items.error().message, exit_usage);
    const Result<Request> request = read_request(items->front(), *settings);
    if (!request) return complain(request.error().message, exit_failed);
    Context context;
    const Result<Kernel> kernel = kernel_to_show(context, *request);
    if (!kernel) return complain(kernel.error().message, exit_failed);
    const std::span<const std::byte> code = kernel->code();
    const std::string text = options.raw
                                 ? std::string(reinterpret_cast<const char*>(code.data()), code.size())
                                 : listing(*kernel, options.bytes);
    if (options.output.empty()) {
        fmt::print("{}", text);
        return exit_ok;
    }
    const Status written = write_output({"-o", options.output}, text);
    return written ? exit_ok : complain(written.error().message, exit_failed);
}

}  // namespace

void add_dump(CLI::App& app, int& exit_code) {
    CLI::App* const command =
        app.add_subcommand("dump", "Show a kernel's machine code, with the emitter's notes");
    command->footer("Example: tandem dump mv2_1 --layout blocked | less");
    const auto options = std::make_shared<DumpOptions>();
    command
        ->add_option(
            "pair", options->pair,
            "e.g. 1x32x112x112:dw3+bias+relu6:conv1o64+bias+relu6, or a suite layer's name, e.g. mv1_1")
        ->required();
    add_common_options(*command, options->common);
    add_machine_option(*command, options->common);
    add_file_option(*command, "-o,--output", options->output, "File to write to instead of the terminal");
    command->add_flag("--raw", options->raw,
                      "Write the bytes themselves, e.g. for objdump -D -b binary -m i386:x86-64");
    command->add_flag("--bytes", options->bytes, "Show each instruction's bytes");
    command->callback([options, &exit_code] { exit_code = run_dump(*options); });
}

}  // namespace tandem::tool
