// Files that the command line names.
#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

#include "tandem/result.hpp"

namespace tandem::tool {

/// An option, or argument, that names a file; an empty name is refused.
CLI::Option* add_file_option(CLI::App& app, const std::string& names, std::string& path,
                             const std::string& description);
CLI::Option* add_file_option(CLI::App& app, const std::string& names, std::vector<std::string>& paths,
                             const std::string& description);

/// An option's name and the file it was given; empty: it was not.
struct NamedFile {
    const char* option;
    std::string path;
};

/// Before a long run: that each of the outputs can be written afterwards, and is neither another one nor an
/// input. Touches nothing.
Status check_outputs(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs);

/// Afterwards, as a whole: until then an older file stays as it was.
Status write_output(const NamedFile& output, const std::string& text);

}  // namespace tandem::tool
