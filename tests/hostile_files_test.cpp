// Files that are no files, and texts that were written to do harm: an error with a sentence, soon.
#include "support/doctest.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/cpu/report_json.hpp"
#include "core/plan/choice.hpp"
#include "core/run/machine_json.hpp"
#include "core/run/plan_json.hpp"
#include "core/run/whole_file.hpp"
#include "core/run/wisdom_file.hpp"
#include "support/in_child.hpp"
#include "support/temporary_directory.hpp"
#include "tandem/tandem.hpp"

using namespace tandem;
using tandem::test::in_child;
using tandem::test::TemporaryDirectory;
namespace fs = std::filesystem;

namespace {

void write(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}
std::string text_of(const std::string& path) {
    const Result<std::string> text = read_file(path);
    return text ? *text : text.error().message;
}
bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// What every reader of JSON says of a text.
std::vector<std::string> refusals(const std::string& text) {
    const auto said = [](const auto& result) {
        return result ? std::string() : result.error().message;
    };
    return {said(Wisdom::parse(text, "T")), said(machine_from_text(text, "T")),
            said(measured_machine_from_text(text, "T")), said(plan_from_text(text, "T"))};
}

void make_socket(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    REQUIRE(path.size() < sizeof address.sun_path);
    std::strcpy(address.sun_path, path.c_str());
    const File socket(::socket(AF_UNIX, SOCK_STREAM, 0));
    REQUIRE(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
}

std::string repeated(const std::string& text, int times) {
    std::string result;
    for (int i = 0; i < times; ++i)
        result += text;
    return result;
}

}  // namespace

TEST_CASE("hostile files: every reader of JSON refuses what is nested deeply, with a sentence") {
    constexpr int many = 200000;
    const std::string lists = repeated("[", many) + repeated("]", many);
    for (const std::string& text :
         {lists, std::string(many, '['), repeated("{\"a\":", many) + "1" + repeated("}", many),
          "{\"format\": 1, \"entries\": [" + lists + "]}", "{\"format\": " + lists + "}"})
        for (const std::string& message : refusals(text))
            CHECK(message == "T is malformed: it is nested deeper than 64.");
    // As deep as is read: the entry is put aside, and written back as it was.
    const std::string deep = repeated("[", 62) + repeated("]", 62);
    const Result<Wisdom> wisdom = Wisdom::parse("{\"format\": 1, \"entries\": [" + deep + "]}", "T");
    REQUIRE(wisdom);
    CHECK(wisdom->put_aside().size() == 1);
    CHECK(contains(wisdom->to_text(), deep));
}

TEST_CASE("hostile files: every reader of JSON refuses members given twice or without end, and no text") {
    std::string many = "{\"m\": 0";
    for (int i = 0; i < 1000; ++i)
        many += ", \"m" + std::to_string(i) + "\": 0";
    const auto all_say = [](const std::string& text, const std::string& why) {
        for (const std::string& message : refusals(text)) {
            CHECK_MESSAGE(message.starts_with("T is malformed: "), message);
            CHECK_MESSAGE(contains(message, why), message);
            CHECK(message.size() < 400);
        }
    };
    all_say("{\"format\": 1, \"format\": 1, \"entries\": []}", "an object has the member \"format\" twice");
    all_say(many + "}", "an object has more than 256 members");
    all_say("", "parse error at line 1");
    all_say("{\"format\": 1e999}", "number overflow");
    all_say("{\"format\": \"\xff\xfe\"}", "invalid string");
    all_say(std::string("{\"for\0mat\": 1}", 14), "it has a NUL byte");
    all_say(std::string("{}\0", 3), "it has a NUL byte");
    all_say("\"" + std::string(1000000, 'x'), "invalid string");
}

TEST_CASE("hostile files: numbers that fit no integer are put aside") {
    const std::string entry =
        R"({"problem":"p","isa":"avx2","threads":THREADS,"cpu":"c","core_kind":"","l1":1,
        "l2":1,"l3":1,"emitter":1,"plan":{},"microseconds":MICROSECONDS,"ratio":1,"effort":"measure","date":""})";
    const auto reason = [&](const std::string& threads, const std::string& microseconds) {
        std::string text = entry;
        text.replace(text.find("THREADS"), 7, threads);
        text.replace(text.find("MICROSECONDS"), 12, microseconds);
        const Result<Wisdom> wisdom = Wisdom::parse("{\"format\": 1, \"entries\": [" + text + "]}", "T");
        REQUIRE(wisdom);
        REQUIRE(wisdom->put_aside().size() == 1);
        return wisdom->put_aside().front();
    };
    for (const char* const number : {"1e300", "-1", "4294967297", "99999999999999999999999", "1.5", "null"})
        CHECK_MESSAGE(contains(reason(number, "1"), "threads is "), reason(number, "1"));
    CHECK(contains(reason("1", "\"1\""), "microseconds is \"1\"; a number is accepted"));
}

TEST_CASE("hostile files: a byte order mark and lines that end in CR LF are read") {
    const TemporaryDirectory directory;
    write(directory / "w.json", "\xef\xbb\xbf{\"format\": 1,\r\n \"entries\": [\r\n]}\r\n");
    CHECK(read_wisdom(directory / "w.json").ok());
    CHECK(Wisdom::parse("\xef\xbb\xbf{\"format\": 1, \"entries\": []}", "T").ok());
}

TEST_CASE("hostile files: pipes, sockets, devices and directories are refused without waiting") {
    const TemporaryDirectory directory;
    REQUIRE(mkfifo((directory / "pipe").c_str(), 0666) == 0);
    make_socket(directory / "socket");
    fs::create_symlink(directory / "pipe", directory / "link");
    const std::pair<std::string, const char*> names[] = {{directory / "pipe", "a pipe"},
                                                         {directory / "link", "a pipe"},
                                                         {directory / "socket", "a socket"},
                                                         {"/dev/zero", "a device"},
                                                         {directory / "", "a directory"}};
    for (const auto& [path, kind] : names) {
        INFO(path);
        const auto code = in_child([&path = path, &kind = kind] {
            const std::string why = path + " cannot be read: it is " + kind + "; a regular file is accepted.";
            setenv("TANDEM_WISDOM", path.c_str(), 1);
            Context context;
            const bool dispatched = context.dispatch(*ConvPair::parse("1x16x6x6:dw3:conv1o16")).ok();
            const std::vector<std::string> notes = context.wisdom_notes();
            return read_file(path).error().message == why && read_machine(path).error().message == why &&
                           read_wisdom(path).error().message == why && !save_wisdom(path, {}) && dispatched &&
                           notes.size() == 1 && notes.front() == why
                       ? 0
                       : 1;
        });
        CHECK(code == 0);
    }
    CHECK(contains(text_of(directory / "none"), "cannot be read: No such file"));
}

TEST_CASE("hostile files: a file that is too large is refused before it is read") {
    const TemporaryDirectory directory;
    write(directory / "large", "");
    fs::resize_file(directory / "large", std::uintmax_t{1} << 40);
    CHECK(contains(text_of(directory / "large"), "it has more than 64 MB"));
}
