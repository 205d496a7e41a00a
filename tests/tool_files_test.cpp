// What the tool makes of files and output that are not as they should be: a sentence and an exit code, before
// anything is measured.
#ifdef TANDEM_TOOL

#include "support/doctest.hpp"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "core/run/whole_file.hpp"
#include "support/temporary_directory.hpp"
#include "support/tool.hpp"

using namespace tandem::test;
namespace fs = std::filesystem;

namespace {

const std::string pair = "1x16x6x6:dw3:conv1o16";
const std::string brief = " --seconds 0.001 --against separate ";

void write(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}
std::string text_of(const std::string& path) { return *tandem::read_file(path); }

void refuses(const std::string& arguments, int code, const std::string& text) {
    const Outcome outcome = run_tool(arguments);
    INFO(arguments << "\n" << outcome.output);
    CHECK(outcome.code == code);
    CHECK(outcome.contains(text));
    CHECK(outcome.output.find("us  ") == std::string::npos);  // nothing was measured
    CHECK(outcome.output.find("<svg") == std::string::npos);
}

}  // namespace

TEST_CASE("tool files: --file that has no pair, or is no file, is an error of every subcommand") {
    const TemporaryDirectory directory;
    write(directory / "empty", "");
    write(directory / "comments", "# none\r\n\n  # here\n");
    REQUIRE(mkfifo((directory / "pipe").c_str(), 0666) == 0);
    for (const char* const command : {"check", "bench", "plan", "explain", "tune", "model"}) {
        const auto file = [&](const std::string& path, const std::string& text) {
            refuses(std::string(command) + " --file '" + path + "'", 2, text);
        };
        file(directory / "", "it is a directory; a regular file is accepted.");
        file(directory / "pipe", "it is a pipe; a regular file is accepted.");
        file(directory / "empty", "holds no pair; one pair a line is accepted.");
        file(directory / "comments", "holds no pair; one pair a line is accepted.");
        file("/dev/zero", "it is a device; a regular file is accepted.");
        file("", "the file's name is empty");
    }
}

TEST_CASE("tool files: a byte order mark and lines that end in CR LF are read") {
    const TemporaryDirectory directory;
    write(directory / "pairs", "\xef\xbb\xbf" + pair + "\r\n# and\r\n1x8x6x6:dw3:conv1o8\r\n");
    CHECK(run_tool("check --file " + (directory / "pairs")).last_line() == "2 passed, 0 failed");
}

TEST_CASE("tool files: a full disk and a closed output are errors of every subcommand") {
    for (const std::string& command : std::initializer_list<std::string>{
             "--help", "--version", "check --help", "suites", "check " + pair, "plan " + pair, "dump " + pair,
             "explain --seconds 0 " + pair, "bench" + brief + pair, "wisdom show /dev/null"}) {
        INFO(command);
        const Outcome full = run_tool(command + " 2>&1 >/dev/full; (exit $?)"),
                      closed = run_tool(command + " 2>&1 >&-; (exit $?)");
        CHECK(full.code == 1);
        CHECK(closed.code == 1);
        if (command.starts_with("wisdom")) continue;  // fails before it says anything
        CHECK(full.output == "tandem: Writing to standard output failed: No space left on device.\n");
        CHECK(closed.output == "tandem: Writing to standard output failed: Bad file descriptor.\n");
    }
}

TEST_CASE("tool files: whoever closes the pipe early is told nothing") {
    const auto [code, output] = run_tool("suites 2>&1 | head -n 1; true");
    CHECK(output.find("failed") == std::string::npos);
    // Where SIGPIPE is ignored, the code alone tells.
    const Outcome ignored = run_tool("--version; trap '' PIPE; { { sleep 0.2; '" TANDEM_TOOL
                                     "' suites; echo \"code $?\" >&2; } | true; }");
    INFO(ignored.output);
    CHECK(ignored.contains("code 1"));
    CHECK_FALSE(ignored.contains("failed"));
}

TEST_CASE("tool files: outputs that cannot be written are refused before anything is measured") {
    const TemporaryDirectory directory;
    write(directory / "file", pair + "\n");
    const std::string none = directory / "none/out.svg";
    for (const std::string option : {"--json", "--csv", "--plot"}) {
        refuses("bench" + brief + pair + " " + option + " " + none, 1,
                "Writing " + option + " file " + none + " failed: No such file or directory.");
        refuses("bench" + brief + pair + " " + option + " " + (directory / ""), 1, "it is a directory");
        refuses("bench" + brief + pair + " " + option + " ''", 2, "the file's name is empty");
        refuses("bench" + brief + pair + " " + option + " " + (directory / "file/x.svg"), 1,
                "Not a directory");
    }
    refuses("bench --dispatch --json " + none + " " + pair, 1, "No such file or directory");
    refuses("bench --sequence --json " + none + " " + pair, 1, "No such file or directory");
    refuses("model --csv " + none + " " + pair, 1, "No such file or directory");
    refuses("cpu --quick --json " + none, 1, "No such file or directory");
    refuses("cpu --quick --html " + none, 1, "No such file or directory");
    refuses("machine --json " + none, 1, "No such file or directory");
    refuses("dump -o " + none + " " + pair, 1, "No such file or directory");
    refuses("dump -o '' " + pair, 2, "the file's name is empty");
    refuses("tune --wisdom " + (directory / "") + " " + pair, 1, "it is a directory");
    refuses("tune --wisdom " + (directory / "file/w.json") + " " + pair, 1, "Not a directory");
    refuses("tune --wisdom /dev/null " + pair, 1, "it is a device");
    refuses("wisdom merge -o '' " + (directory / "file"), 2, "the file's name is empty");
}

TEST_CASE("tool files: an output that is also an input or another output is refused and stays") {
    const TemporaryDirectory directory;
    const std::string file = directory / "pairs";
    write(file, pair + "\n");
    fs::create_symlink(file, directory / "link");
    refuses("bench" + brief + "--file " + file + " --json " + (directory / "link"), 1,
            "--file names the same file");
    refuses("model --file " + file + " --csv " + file, 1, "--file names the same file");
    refuses("bench" + brief + pair + " --json " + (directory / "new") + " --csv " + (directory / "./new"), 1,
            "--json names the same file");
    CHECK(text_of(file) == pair + "\n");
    CHECK_FALSE(fs::exists(directory / "new"));
}

TEST_CASE("tool files: a run that fails leaves older output as it was") {
    const TemporaryDirectory directory;
    write(directory / "old.csv", "old");
    run_tool("bench --seconds 0.001 --against nobody " + pair + " --csv " + (directory / "old.csv"));
    CHECK(text_of(directory / "old.csv") == "old");
}

TEST_CASE("tool files: numbers out of range are refused with what is accepted") {
    for (const char* const command : {"bench", "explain", "tune", "model"})
        for (const char* const seconds : {"-1", "inf", "nan", "1e300", "1e999", "soon"})
            refuses(std::string(command) + " " + pair + " --seconds=" + seconds, 2, "accepted: 0 to 86400");
    for (const char* const command : {"check", "bench", "plan", "dump", "explain", "tune", "model"})
        for (const char* const threads : {"-1", "1025", "2147483648", "1e3"})
            refuses(std::string(command) + " " + pair + " --threads=" + threads, 2, "--threads");
}

#endif
