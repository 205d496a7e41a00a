// The command-line tool, run the way scripts run it: exit codes, the lines they rely on, the files it
// writes.
#ifdef TANDEM_TOOL

#include "support/doctest.hpp"
#include "support/source_text.hpp"
#include "support/tool.hpp"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

using namespace tandem::test;

namespace {

const std::string small_pair = "'1x16x12x12:dw3+bias+relu6:conv1o32+bias+relu6'";

}  // namespace

TEST_CASE("tool: check passes a pair, a single convolution and a layer by name") {
    const Outcome outcome = run_tool("check " + small_pair + " 1x16x9x9:conv3o16+bias mv2_7");
    CHECK(outcome.code == 0);
    CHECK(outcome.contains("mv2_7"));
    CHECK(outcome.last_line() == "3 passed, 0 failed");
}

TEST_CASE("tool: check runs in blocked layout, for a named ISA, on two threads") {
    const Outcome outcome =
        run_tool("check " + small_pair + " --isa avx2 --layout blocked --threads 2 --seed 7 --math strict");
    CHECK(outcome.code == 0);
    CHECK(outcome.contains("nchw8c"));
}

TEST_CASE("tool: check runs every data type and says which") {
    for (const std::string dtype : {"f32", "bf16", "f16", "u8", "s8"}) {
        const Outcome outcome = run_tool("check " + small_pair + " --dtype " + dtype);
        INFO(outcome.output);
        CHECK(outcome.code == 0);
        CHECK(outcome.contains(" nhwc " + dtype + ": passed: integers equal"));
    }
    CHECK(run_tool("check " + small_pair + " --dtype int8 --isa avx2 --layout blocked")
              .contains(" avx2 nchw8c u8: passed"));
    // An ISA's instructions that the data type has no use for are left out, and the kernel named without
    // them.
    CHECK(run_tool("check " + small_pair + " --dtype f16").output.find("_bf16") == std::string::npos);
    CHECK(run_tool("check " + small_pair + " --dtype f16 --math f16")
              .contains(" nhwc f16: passed: integers equal"));
    CHECK(run_tool("plan " + small_pair + " --dtype f16 --math f16").contains("/nhwc/f16/f16/"));
}

TEST_CASE("tool: data types of intermediate and output, of a pair and of its halves") {
    const std::string types = " --dtype u8 --intermediate-dtype s8 --output-dtype f32";
    CHECK(run_tool("plan " + small_pair + types).contains("/nhwc/u8-s8-f32/fast/"));
    const Outcome halves = run_tool("plan " + small_pair + types + " --separate");
    CHECK(halves.contains(":dw3+bias+relu6/nhwc/u8-s8/fast/"));
    CHECK(halves.contains(":conv1o32+bias+relu6/nhwc/s8-f32/fast/"));
    const Outcome back = run_tool("plan " + small_pair + " --dtype u8 --intermediate-dtype s8 --separate");
    CHECK(back.contains(":conv1o32+bias+relu6/nhwc/s8-u8/fast/"));
    CHECK(run_tool("plan 1x16x12x12:dw3 --dtype s8 --output-dtype u8")
              .contains("1x16x12x12:dw3/nhwc/s8-u8/fast/"));
    const Outcome checked = run_tool("check " + small_pair + types + " --separate");
    CHECK(checked.last_line() == "2 passed, 0 failed");
    CHECK(checked.contains("u8, intermediate s8, output f32: passed"));
}

TEST_CASE("tool: options fill in what a text leaves out, field by field, and contradict none of it") {
    const Outcome filled = run_tool(
        "check '1x16x9x9:dw3:conv1o16/in=i2000' '1x16x9x9:dw3:conv1o16/f32' --isa avx2 --layout blocked "
        "--math "
        "strict");
    INFO(filled.output);
    CHECK(filled.contains("/in=i2000 avx2 nchw8c f32 strict: passed"));
    CHECK(filled.contains("/f32 avx2 nchw8c f32 strict: passed"));
    const Outcome typed = run_tool("check '1x8x9x9:dw3:conv1o8/in=p20' --dtype bf16 --math strict");
    CHECK(typed.contains(" nhwc bf16 strict: passed"));
    CHECK(run_tool("plan '1x16x9x9:dw3:conv1o16/nhwc' --dtype u8 --output-dtype f32")
              .contains("/nhwc/u8-u8-f32/fast/"));
    CHECK(run_tool("check '1x16x9x9:dw3:conv1o16/u8-s8-f32/strict' --dtype int8 --math strict")
              .contains(" nhwc u8-s8-f32 strict: passed"));
    const auto refuses = [](const std::string& arguments, const std::string& text) {
        const Outcome outcome = run_tool("check " + arguments);
        INFO(outcome.output);
        CHECK(outcome.code == 1);
        CHECK(outcome.contains(text));
    };
    const std::string pair = "'1x16x9x9:dw3:conv1o16/nhwc/u8-s8-f32/strict' ";
    refuses(pair + "--dtype bf16", "--dtype is 'bf16', but the text says u8-s8-f32; the option is accepted");
    refuses(pair + "--dtype u8 --output-dtype s8", "--output-dtype is 's8', but the text says u8-s8-f32;");
    refuses(pair + "--dtype u8 --intermediate-dtype u8",
            "--intermediate-dtype is 'u8', but the text says u8-s8-f32;");
    refuses(pair + "--math fast", "--math is 'fast', but the text says strict;");
    refuses(pair + "--layout blocked --isa avx2", "--layout is 'blocked (nchw8c)', but the text says nhwc;");
}

TEST_CASE("tool: a kernel's name is checked for the ISA that it ends with") {
    const std::string name = "'1x16x9x9:dw3:conv1o16/nchw8c/f32/fast/avx2' ";
    CHECK(run_tool("check " + name).contains(" avx2 nchw8c f32 fast: passed"));
    CHECK(run_tool("plan " + name + "--isa avx2_vnni --layout blocked").contains("/nchw8c/f32/fast/avx2\n"));
    CHECK(run_tool("plan '1x16x9x9:dw3:conv1o16/nchw8c/f32/fast/avx2'").contains("/avx2\n"));
    CHECK(run_tool("plan '1x16x9x9:dw3:conv1o16/amx' --dtype bf16 --layout blocked")
              .contains("/nchw16c/bf16/fast/amx\n"));
    const Outcome other = run_tool("plan " + name + "--isa avx512");
    INFO(other.output);
    CHECK(other.code == 1);
    CHECK(other.contains("--isa is 'avx512', but the text says avx2;"));
}

TEST_CASE("tool: check --in-place says why the output cannot be the residual") {
    const auto refuses = [](const std::string& pair, const std::string& text) {
        const Outcome outcome = run_tool("check --in-place '" + pair + "'");
        INFO(outcome.output);
        CHECK(outcome.code == 1);
        CHECK(outcome.contains(text));
    };
    CHECK(run_tool("check --in-place '1x16x9x9:dw3:conv1o16+sum'").code == 0);
    refuses("1x16x9x9:dw3:conv1o16", "the last convolution has no +sum,");
    refuses("1x16x9x9:dw3:conv1o16+sum(in)", "+sum(in) adds the chain's input, which is never the output;");
    refuses("1x16x9x9:dw3:conv1o16+sum/res1=p32",
            "residual lies in nhwc with strides of 32 (pixel), 288 (row)");
    refuses("1x16x9x9:dw3:conv1o16+sum/res1=nchw8c", "residual lies in nchw8c with strides of");
}

TEST_CASE("tool: check reads files with comments and blank lines") {
    const TemporaryFile file("pairs.txt");
    std::ofstream(file.path())
        << "# pairs\n\n  1x16x12x12:dw3:conv1o16  # with a remark\n1x8x6x6:conv3o8:conv3o8\n";
    const Outcome outcome = run_tool("check --file " + file.path());
    CHECK(outcome.code == 0);
    CHECK(outcome.last_line() == "2 passed, 0 failed");
}

TEST_CASE("tool: a pair that cannot be parsed counts as failed, and the rest is checked") {
    const Outcome outcome = run_tool("check 1x16x12x12:dw3:nonsense " + small_pair);
    CHECK(outcome.code == 1);
    CHECK(outcome.contains("nonsense"));
    CHECK(outcome.last_line() == "1 passed, 1 failed");
}

TEST_CASE("tool: wrong options are refused with what would be accepted") {
    const auto refuses = [](const std::string& arguments, const std::string& text) {
        const Outcome outcome = run_tool(arguments);
        INFO(outcome.output);
        CHECK(outcome.code == 2);
        CHECK(outcome.contains(text));
    };
    refuses("check " + small_pair + " --isa sse9",
            "--isa: ISA 'sse9' is not known; accepted: avx2, avx2_vnni, avx512, avx512_vnni, avx512_bf16, "
            "avx512_fp16");
    refuses("check " + small_pair + " --math f64", "--math is 'f64'; accepted: strict, fast, bf16, f16.");
    refuses("check " + small_pair + " --layout chwn", "accepted: nhwc, blocked");
    refuses("check " + small_pair + " --dtype f64",
            "--dtype is 'f64'; accepted: f32, bf16, f16, u8, s8, int8 (u8).");
    refuses("check " + small_pair + " --output-dtype u8",
            "--output-dtype is 'u8'; accepted: f32 (as --dtype is f32).");
    refuses("bench " + small_pair + " --dtype bf16 --output-dtype f32",
            "--output-dtype is 'f32'; accepted: bf16 (as --dtype is bf16).");
    refuses("plan " + small_pair + " --dtype int8 --output-dtype f16",
            "--output-dtype is 'f16'; accepted: u8, s8, f32 (as --dtype is u8).");
    refuses("plan " + small_pair + " --dtype s8 --intermediate-dtype f32",
            "--intermediate-dtype is 'f32'; accepted: u8, s8 (as --dtype is s8).");
    refuses("check " + small_pair + " --math sloppy", "accepted: strict, fast");
    refuses("check " + small_pair + " --threads -1", "0 (one) to 1024");
    refuses("check --suite unknown", "accepted: paper, paper-dw, paper-dense");
    refuses("check --file /nonexistent/pairs", "cannot be read");
    refuses("check", "No pair was given");
    refuses("bench " + small_pair + " --against nobody", "separate");
    refuses("bench " + small_pair + " --onednn-algorithm magic", "accepted: direct, auto");
    refuses("dump " + small_pair + " --raw", "-o FILE");
    refuses("nonsense", "");
    refuses("", "");
}

TEST_CASE("tool: dump prints the listing that the README shows of mv2_1") {
    const std::string readme = read_text(TANDEM_SOURCE_DIR "/README.md");
    const std::size_t from = readme.find("$ tandem dump mv2_1\n"), to = readme.find("Time it against");
    REQUIRE(from < to);
    const Outcome outcome = run_tool("dump mv2_1 --isa avx512");
    CHECK(outcome.code == 0);
    int shown = 0;
    for (const std::string& line : lines_of(readme.substr(from, to - from))) {
        const std::size_t text = line.find_first_not_of(' ');
        if (text == std::string::npos || line.find("...") != std::string::npos || line[text] == '$') continue;
        CHECK_MESSAGE(outcome.contains(line.substr(text)), line);
        ++shown;
    }
    CHECK(shown > 40);
}

TEST_CASE("tool: dump shows notes, offsets and a return; raw bytes are what the plan counts") {
    const Outcome listing = run_tool("dump " + small_pair);
    CHECK(listing.code == 0);
    CHECK(listing.output.starts_with("; 1x16x12x12:dw3+bias+relu6:conv1o32+bias+relu6"));
    CHECK(listing.contains("; --- "));
    CHECK(listing.contains("\n     0:  "));
    CHECK(listing.contains("vfmadd231ps"));
    CHECK(listing.contains("ret"));
    const TemporaryFile file("code.bin");
    CHECK(run_tool("dump " + small_pair + " --raw -o " + file.path()).code == 0);
    const Outcome plan = run_tool("plan " + small_pair);
    CHECK(plan.contains("code     " + std::to_string(file.text().size()) + " bytes"));
    CHECK(run_tool("dump 1x16x12x12:nonsense").code == 1);
}

TEST_CASE("tool: plan, dump and explain know machines that this is not") {
    const Outcome plan = run_tool("plan " + small_pair + " --isa amx+amx_fp16 --dtype bf16");
    CHECK(plan.code == 0);
    CHECK(plan.contains("/amx\n"));
    const Outcome dump = run_tool("dump " + small_pair + " --isa amx --dtype bf16");
    CHECK(dump.contains("tdpbf16ps"));
    const TemporaryFile file("machine.json");
    std::ofstream(file.path())
        << R"({"format": 1, "cpu": "a Zen 4", "vendor": "AuthenticAMD", "family": 25, "model": 97, "stepping": 2,
               "core_kind": "", "features": ["avx2", "avx512", "vnni", "bf16", "vbmi"],
               "caches": {"l1": 32768, "l2": 1048576, "l3": 33554432, "l3_cores": 8},
               "topology": {"cores": 16, "threads_per_core": 2}})";
    const std::string there = " --dtype u8 --machine " + file.path();
    CHECK(run_tool("dump " + small_pair + there).contains("vpermb"));
    CHECK_FALSE(run_tool("dump " + small_pair + there + " --isa avx512_vnni").contains("vpermb"));
    const Outcome explained = run_tool("explain " + small_pair + there);
    CHECK(explained.code == 0);
    CHECK(explained.contains("/avx512_vnni+vbmi"));
    CHECK(explained.contains("Not measured: the kernel is for another machine."));
    const Outcome lacking = run_tool("plan " + small_pair + there + " --isa amx");
    CHECK(lacking.code == 2);
    CHECK(lacking.contains("--isa is 'amx', which the machine of " + file.path() + " does not offer"));
    CHECK(run_tool("plan " + small_pair + " --machine /nonexistent.json").contains("cannot be read"));
    CHECK(run_tool("check " + small_pair + there).code != 0);  // what runs kernels knows this machine only
    const Outcome unknown = run_tool("check " + small_pair + " --isa avx512+avx10_2+amx_fp16");
    if (unknown.code != 0) CHECK(unknown.contains("does not offer; accepted here: avx2"));
}

TEST_CASE("tool: machine --json describes this machine as --machine reads it") {
    const TemporaryFile file("machine.json");
    REQUIRE(run_tool("machine --json " + file.path()).code == 0);
    CHECK(nlohmann::json::parse(file.text()).at("caches").at("l1").get<int>() > 0);
    const Outcome here = run_tool("plan " + small_pair),
                  there = run_tool("plan " + small_pair + " --machine " + file.path());
    CHECK(there.code == 0);
    const auto plan_line = [](const Outcome& outcome) {
        const std::size_t at = outcome.output.find("\nplan ");
        return outcome.output.substr(at, outcome.output.find('\n', at + 1) - at);
    };
    CHECK(plan_line(here) == plan_line(there));
    CHECK(run_tool("machine --json /nonexistent/machine.json").code == 1);
}

TEST_CASE("tool: plan, suites and machine say what they are for") {
    const Outcome plan = run_tool("plan " + small_pair);
    CHECK(plan.code == 0);
    for (const char* word : {"kernel", "plan", "tiles", "scratch", "code"})
        CHECK(plan.contains(word));
    const Outcome suites = run_tool("suites");
    CHECK(suites.code == 0);
    for (const char* word : {"paper-dw          27 layers", "paper-dense        6 layers", "res_3x_b_2",
                             "mv1_7-11", "efficientnet-lite 12 layers", "vgg_5"})
        CHECK(suites.contains(word));
    const Outcome machine = run_tool("machine");
    CHECK(machine.code == 0);
    for (const char* word : {"FMA peak", "L1", "pool", "avx2"})
        CHECK(machine.contains(word));
}

TEST_CASE("tool: layers of every suite validate, and suites can be named together") {
    // With strict arithmetic and nothing to run: plan dispatches each layer, which validates and compiles
    // it.
    const Outcome outcome = run_tool(
        "plan --suite efficientnet-lite,mobilenetv3 --suite proxyless --suite blazeface,inception --suite "
        "vgg --math strict");
    CHECK(outcome.code == 0);
    for (const char* layer : {"el0_6_2", "mv3_9-10", "pxl_7", "bf_10a", "inc_17_red", "vgg_5"})
        CHECK(outcome.contains(std::string("layer    ") + layer));
    CHECK(run_tool("plan --suite paper,unknown")
              .contains("--suite is 'unknown'; accepted: paper, paper-dw, paper-dense, efficientnet-lite"));
    CHECK(run_tool("check bf_9b inc_8_1x3 mv3_9-10").last_line() == "3 passed, 0 failed");
}

TEST_CASE("tool: every subcommand's help describes it and its options, with an example") {
    const Outcome all = run_tool("--help");
    CHECK(all.code == 0);
    for (const char* name : {"check", "bench", "dump", "plan", "suites", "machine", "cpu", "explain", "model",
                             "tune", "wisdom"}) {
        CHECK_MESSAGE(all.contains(std::string("\n  ") + name), name);
        const Outcome help = run_tool(std::string(name) + " --help");
        CHECK(help.code == 0);
        CHECK_MESSAGE(help.contains("Example: tandem " + std::string(name)), name);
    }
}

TEST_CASE("tool: tune remembers in a file, in shards; wisdom shows and merges") {
    const TemporaryFile one("one.json"), two("two.json"), all("all.json");
    const TemporaryFile locks[] = {TemporaryFile("one.json.lock"), TemporaryFile("two.json.lock"),
                                   TemporaryFile("all.json.lock")};
    const std::string tune = "tune " + small_pair + " 1x8x6x6:dw3:conv1o16 --seconds 0.05 --wisdom ";
    const Outcome first = run_tool(tune + one.path() + " --shard 0/2"),
                  second = run_tool(tune + two.path() + " --shard 1/2");
    INFO(first.output << second.output);
    CHECK(first.code == 0);
    CHECK(first.last_line() == "1 tuned, 0 failed");
    CHECK(!first.contains("1x8x6x6"));
    CHECK(second.contains("1x8x6x6"));
    CHECK(second.contains("plans timed"));
    const Outcome merged = run_tool("wisdom merge " + one.path() + " " + two.path() + " -o " + all.path());
    CHECK(merged.code == 0);
    CHECK(merged.contains("2 entries from 2 files"));
    const Outcome shown = run_tool("wisdom show " + all.path());
    CHECK(shown.last_line() == "2 entries");
    CHECK(!shown.contains("not used here"));
    CHECK(run_tool(tune + all.path()).contains("known since"));
}

TEST_CASE("tool: tune's and wisdom's wrong options are named") {
    CHECK(run_tool("tune " + small_pair + " --wisdom w --shard 2/2").contains("--shard is '2/2'"));
    CHECK(run_tool("tune " + small_pair + " --wisdom w --effort estimate")
              .contains("accepted: measure, exhaustive"));
    CHECK(run_tool("tune " + small_pair)
              .contains("--wisdom FILE is needed"));  // the tests run with TANDEM_WISDOM empty
    CHECK(run_tool("wisdom show /nonexistent.json").code == 1);
}

#endif
