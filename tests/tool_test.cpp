// The command-line tool, run the way scripts run it: exit codes, the lines they rely on, the files it
// writes.
#ifdef TANDEM_TOOL

#include "support/doctest.hpp"
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

namespace {

const std::string small_pair = "'1x16x12x12:dw3+bias+relu6:conv1o32+bias+relu6'";

struct Outcome {
    int code = -1;
    std::string output;  // stdout and stderr
    bool contains(const std::string& text) const { return output.find(text) != std::string::npos; }
    std::string last_line() const {
        const std::size_t end = output.find_last_not_of('\n');
        if (end == std::string::npos) return {};
        const std::size_t from = output.rfind('\n', end);
        return output.substr(from == std::string::npos ? 0 : from + 1,
                             end - (from == std::string::npos ? 0 : from + 1) + 1);
    }
};

Outcome tandem(const std::string& arguments) {
    const std::string command = std::string("'") + TANDEM_TOOL + "' " + arguments + " 2>&1";
    Outcome outcome;
    FILE* const pipe = popen(command.c_str(), "r");
    REQUIRE(pipe);
    char buffer[4096];
    while (const std::size_t read = std::fread(buffer, 1, sizeof buffer, pipe))
        outcome.output.append(buffer, read);
    const int status = pclose(pipe);
    outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    INFO("tandem " << arguments << "\n" << outcome.output);
    CHECK(outcome.code != 128);
    return outcome;
}

/// A file name of this process's own, removed at the end.
class TemporaryFile {
public:
    explicit TemporaryFile(const std::string& name)
        : path_(std::filesystem::temp_directory_path() /
                ("tandem_" + std::to_string(getpid()) + "_" + name)) {}
    ~TemporaryFile() { std::filesystem::remove(path_); }
    std::string path() const { return path_.string(); }
    std::string text() const {
        std::ostringstream text;
        text << std::ifstream(path_, std::ios::binary).rdbuf();
        return text.str();
    }

private:
    std::filesystem::path path_;
};

}  // namespace

TEST_CASE("tool: check passes a pair, a single convolution and a layer by name") {
    const Outcome outcome = tandem("check " + small_pair + " 1x16x9x9:conv3o16+bias mv2_7");
    CHECK(outcome.code == 0);
    CHECK(outcome.contains("mv2_7"));
    CHECK(outcome.last_line() == "3 passed, 0 failed");
}

TEST_CASE("tool: check runs in blocked layout, for a named ISA, on two threads") {
    const Outcome outcome =
        tandem("check " + small_pair + " --isa avx2 --layout blocked --threads 2 --seed 7 --math strict");
    CHECK(outcome.code == 0);
    CHECK(outcome.contains("nchw8c"));
}

TEST_CASE("tool: check runs every data type and says which") {
    for (const std::string dtype : {"f32", "bf16", "f16", "u8", "s8"}) {
        const Outcome outcome = tandem("check " + small_pair + " --dtype " + dtype);
        INFO(outcome.output);
        CHECK(outcome.code == 0);
        CHECK(outcome.contains(" nhwc " + dtype + ": passed: integers equal"));
    }
    CHECK(tandem("check " + small_pair + " --dtype int8 --isa avx2 --layout blocked")
              .contains(" avx2 nchw8c u8: passed"));
    // An ISA's instructions that the data type has no use for are left out, and the kernel named without
    // them.
    CHECK(tandem("check " + small_pair + " --dtype f16").output.find("_bf16") == std::string::npos);
    CHECK(tandem("check " + small_pair + " --dtype f16 --math f16")
              .contains(" nhwc f16: passed: integers equal"));
    CHECK(tandem("plan " + small_pair + " --dtype f16 --math f16").contains("/nhwc/f16/f16/"));
}

TEST_CASE("tool: data types of intermediate and output, of a pair and of its halves") {
    const std::string types = " --dtype u8 --intermediate-dtype s8 --output-dtype f32";
    CHECK(tandem("plan " + small_pair + types).contains("/nhwc/u8-s8-f32/fast/"));
    const Outcome halves = tandem("plan " + small_pair + types + " --separate");
    CHECK(halves.contains(":dw3+bias+relu6/nhwc/u8-s8/fast/"));
    CHECK(halves.contains(":conv1o32+bias+relu6/nhwc/s8-f32/fast/"));
    const Outcome back = tandem("plan " + small_pair + " --dtype u8 --intermediate-dtype s8 --separate");
    CHECK(back.contains(":conv1o32+bias+relu6/nhwc/s8-u8/fast/"));
    CHECK(tandem("plan 1x16x12x12:dw3 --dtype s8 --output-dtype u8")
              .contains("1x16x12x12:dw3/nhwc/s8-u8/fast/"));
    const Outcome checked = tandem("check " + small_pair + types + " --separate");
    CHECK(checked.last_line() == "2 passed, 0 failed");
    CHECK(checked.contains("u8, intermediate s8, output f32: passed"));
}

TEST_CASE("tool: options fill in what a text leaves out, field by field, and contradict none of it") {
    const Outcome filled = tandem(
        "check '1x16x9x9:dw3:conv1o16/in=i2000' '1x16x9x9:dw3:conv1o16/f32' --isa avx2 --layout blocked "
        "--math "
        "strict");
    INFO(filled.output);
    CHECK(filled.contains("/in=i2000 avx2 nchw8c f32 strict: passed"));
    CHECK(filled.contains("/f32 avx2 nchw8c f32 strict: passed"));
    const Outcome typed = tandem("check '1x8x9x9:dw3:conv1o8/in=p20' --dtype bf16 --math strict");
    CHECK(typed.contains(" nhwc bf16 strict: passed"));
    CHECK(tandem("plan '1x16x9x9:dw3:conv1o16/nhwc' --dtype u8 --output-dtype f32")
              .contains("/nhwc/u8-u8-f32/fast/"));
    CHECK(tandem("check '1x16x9x9:dw3:conv1o16/u8-s8-f32/strict' --dtype int8 --math strict")
              .contains(" nhwc u8-s8-f32 strict: passed"));
    const auto refuses = [](const std::string& arguments, const std::string& text) {
        const Outcome outcome = tandem("check " + arguments);
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
    CHECK(tandem("check " + name).contains(" avx2 nchw8c f32 fast: passed"));
    CHECK(tandem("plan " + name + "--isa avx2_vnni --layout blocked").contains("/nchw8c/f32/fast/avx2\n"));
    CHECK(tandem("plan '1x16x9x9:dw3:conv1o16/nchw8c/f32/fast/avx2'").contains("/avx2\n"));
    CHECK(tandem("plan '1x16x9x9:dw3:conv1o16/amx' --dtype bf16 --layout blocked")
              .contains("/nchw16c/bf16/fast/amx\n"));
    const Outcome other = tandem("plan " + name + "--isa avx512");
    INFO(other.output);
    CHECK(other.code == 1);
    CHECK(other.contains("--isa is 'avx512', but the text says avx2;"));
}

TEST_CASE("tool: check --in-place says why the output cannot be the residual") {
    const auto refuses = [](const std::string& pair, const std::string& text) {
        const Outcome outcome = tandem("check --in-place '" + pair + "'");
        INFO(outcome.output);
        CHECK(outcome.code == 1);
        CHECK(outcome.contains(text));
    };
    CHECK(tandem("check --in-place '1x16x9x9:dw3:conv1o16+sum'").code == 0);
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
    const Outcome outcome = tandem("check --file " + file.path());
    CHECK(outcome.code == 0);
    CHECK(outcome.last_line() == "2 passed, 0 failed");
}

TEST_CASE("tool: a pair that cannot be parsed counts as failed, and the rest is checked") {
    const Outcome outcome = tandem("check 1x16x12x12:dw3:nonsense " + small_pair);
    CHECK(outcome.code == 1);
    CHECK(outcome.contains("nonsense"));
    CHECK(outcome.last_line() == "1 passed, 1 failed");
}

TEST_CASE("tool: wrong options are refused with what would be accepted") {
    const auto refuses = [](const std::string& arguments, const std::string& text) {
        const Outcome outcome = tandem(arguments);
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

TEST_CASE("tool: dump shows notes, offsets and a return; raw bytes are what the plan counts") {
    const Outcome listing = tandem("dump " + small_pair);
    CHECK(listing.code == 0);
    CHECK(listing.output.starts_with("; 1x16x12x12:dw3+bias+relu6:conv1o32+bias+relu6"));
    CHECK(listing.contains("; --- "));
    CHECK(listing.contains("\n     0:  "));
    CHECK(listing.contains("vfmadd231ps"));
    CHECK(listing.contains("ret"));
    const TemporaryFile file("code.bin");
    CHECK(tandem("dump " + small_pair + " --raw -o " + file.path()).code == 0);
    const Outcome plan = tandem("plan " + small_pair);
    CHECK(plan.contains("code     " + std::to_string(file.text().size()) + " bytes"));
    CHECK(tandem("dump 1x16x12x12:nonsense").code == 1);
}

TEST_CASE("tool: plan, dump and explain know machines that this is not") {
    const Outcome plan = tandem("plan " + small_pair + " --isa amx+amx_fp16 --dtype bf16");
    CHECK(plan.code == 0);
    CHECK(plan.contains("/amx\n"));
    const Outcome dump = tandem("dump " + small_pair + " --isa amx --dtype bf16");
    CHECK(dump.contains("tdpbf16ps"));
    const TemporaryFile file("machine.json");
    std::ofstream(file.path())
        << R"({"format": 1, "cpu": "a Zen 4", "vendor": "AuthenticAMD", "family": 25, "model": 97, "stepping": 2,
               "core_kind": "", "features": ["avx2", "avx512", "vnni", "bf16", "vbmi"],
               "caches": {"l1": 32768, "l2": 1048576, "l3": 33554432, "l3_cores": 8},
               "topology": {"cores": 16, "threads_per_core": 2}})";
    const std::string there = " --dtype u8 --machine " + file.path();
    CHECK(tandem("dump " + small_pair + there).contains("vpermb"));
    CHECK_FALSE(tandem("dump " + small_pair + there + " --isa avx512_vnni").contains("vpermb"));
    const Outcome explained = tandem("explain " + small_pair + there);
    CHECK(explained.code == 0);
    CHECK(explained.contains("/avx512_vnni+vbmi"));
    CHECK(explained.contains("Not measured: the kernel is for another machine."));
    const Outcome lacking = tandem("plan " + small_pair + there + " --isa amx");
    CHECK(lacking.code == 2);
    CHECK(lacking.contains("--isa is 'amx', which the machine of " + file.path() + " does not offer"));
    CHECK(tandem("plan " + small_pair + " --machine /nonexistent.json").contains("cannot be read"));
    CHECK(tandem("check " + small_pair + there).code != 0);  // what runs kernels knows this machine only
    const Outcome unknown = tandem("check " + small_pair + " --isa avx512+avx10_2+amx_fp16");
    if (unknown.code != 0) CHECK(unknown.contains("does not offer; accepted here: avx2"));
}

TEST_CASE("tool: machine --json describes this machine as --machine reads it") {
    const TemporaryFile file("machine.json");
    REQUIRE(tandem("machine --json " + file.path()).code == 0);
    CHECK(nlohmann::json::parse(file.text()).at("caches").at("l1").get<int>() > 0);
    const Outcome here = tandem("plan " + small_pair),
                  there = tandem("plan " + small_pair + " --machine " + file.path());
    CHECK(there.code == 0);
    const auto plan_line = [](const Outcome& outcome) {
        const std::size_t at = outcome.output.find("\nplan ");
        return outcome.output.substr(at, outcome.output.find('\n', at + 1) - at);
    };
    CHECK(plan_line(here) == plan_line(there));
    CHECK(tandem("machine --json /nonexistent/machine.json").code == 1);
}

TEST_CASE("tool: plan, suites and machine say what they are for") {
    const Outcome plan = tandem("plan " + small_pair);
    CHECK(plan.code == 0);
    for (const char* word : {"kernel", "plan", "tiles", "scratch", "code"})
        CHECK(plan.contains(word));
    const Outcome suites = tandem("suites");
    CHECK(suites.code == 0);
    for (const char* word : {"paper-dw          27 layers", "paper-dense        6 layers", "res_3x_b_2",
                             "mv1_7-11", "efficientnet-lite 12 layers", "vgg_5"})
        CHECK(suites.contains(word));
    const Outcome machine = tandem("machine");
    CHECK(machine.code == 0);
    for (const char* word : {"FMA peak", "L1", "pool", "avx2"})
        CHECK(machine.contains(word));
}

TEST_CASE("tool: bench writes JSON and CSV, on one thread and on two") {
    for (const char* threads : {"1", "2"}) {
        const TemporaryFile json_file("bench.json"), csv_file("bench.csv");
        const Outcome outcome =
            tandem("bench " + small_pair + " --seconds 0.01 --against separate --threads " + threads +
                   " --json " + json_file.path() + " --csv " + csv_file.path());
        INFO(outcome.output);
        CHECK(outcome.code == 0);
        CHECK(outcome.contains("geomean against separate"));
        const nlohmann::json json = nlohmann::json::parse(json_file.text());
        CHECK(json.contains("machine"));
        REQUIRE(json.at("results").size() == 1);
        const nlohmann::json& result = json.at("results").at(0);
        for (const char* key :
             {"layer", "pair", "isa", "layout", "threads", "ours_us", "ratio", "ratio_quartiles", "gflops",
              "peak_fraction", "dropped", "separate_us", "separate_ratio"})
            CHECK_MESSAGE(result.contains(key), key);
        CHECK(result.at("ours_us").get<double>() > 0);
        CHECK(result.at("fused").is_boolean());
        CHECK(result.at("peak_of").get<std::string>() == "vfmadd231ps");
        CHECK(result.at("fma_gflops") == result.at("peak_gflops"));
        REQUIRE(result.at("phases").size() >= 1);
        for (const nlohmann::json& phase : result.at("phases")) {
            CHECK(phase.at("rounds").get<int>() > 0);
            CHECK(phase.at("separate_ratio").get<double>() > 0);
            CHECK(phase.at("phase").get<std::string>() == (result.at("phases").size() == 1 ? "only"
                                                           : &phase == &result.at("phases").front()
                                                               ? "fast"
                                                               : "slow"));
        }
        CHECK(result.at("threads").get<int>() == std::stoi(threads));
        CHECK(csv_file.text().starts_with("layer,pair,isa,layout,dtype,math"));
    }
}

TEST_CASE("tool: bench times every data type, and oneDNN's kernels agree with it") {
    for (const std::string options :
         {"--dtype bf16", "--dtype f16", "--dtype u8", "--dtype u8 --output-dtype f32",
          "--dtype s8 --intermediate-dtype u8"}) {
        const TemporaryFile file("bench.json");
        const Outcome own = tandem("bench " + small_pair + " --seconds 0.01 --against separate --json " +
                                   file.path() + " " + options);
        INFO(own.output);
        CHECK(own.code == 0);
        const nlohmann::json result = nlohmann::json::parse(file.text()).at("results").at(0);
        CHECK(result.at("separate_us").get<double>() > 0);
        CHECK((result.at("peak_of") == "vfmadd231ps") ==
              (result.at("fma_gflops") == result.at("peak_gflops")));
        CHECK(options.starts_with("--dtype " + result.at("dtype").get<std::string>().substr(0, 2)));
        const Outcome outcome = tandem(
            "bench " + small_pair +
            " 1x16x9x9:dw3+bias+swish:conv1o16+sum+hswish --seconds 0.01 --layout blocked --against onednn " +
            options);
        INFO(outcome.output);
        if (outcome.contains("without oneDNN")) continue;
        CHECK(outcome.code == 0);
        CHECK(outcome.contains("onednn: ") != outcome.contains("is not offered by this oneDNN"));
    }
    const Outcome libxsmm = tandem("bench " + small_pair + " --seconds 0.001 --against libxsmm --dtype bf16");
    CHECK(libxsmm.contains("for f32 only, not for bf16") != libxsmm.contains("libxsmm is skipped"));
}

TEST_CASE("tool: bench empties caches before each call if asked to") {
    for (const char* threads : {"1", "2"}) {
        const TemporaryFile json_file("bench.json");
        const Outcome outcome = tandem("bench " + small_pair + " --cold --seconds 0.01 --against separate" +
                                       " --threads " + threads + " --json " + json_file.path());
        INFO(outcome.output);
        CHECK(outcome.code == 0);
        CHECK(outcome.contains("# cold: L1 and L2 emptied before each call"));
        CHECK(nlohmann::json::parse(json_file.text()).at("cold").get<bool>());
    }
}

TEST_CASE("tool: bench compares with oneDNN, or says that it cannot") {
    const TemporaryFile file("bench.json");
    const Outcome outcome =
        tandem("bench " + small_pair +
               " --seconds 0.01 --isa avx2 --layout blocked --against onednn --json " + file.path());
    INFO(outcome.output);
    if (outcome.contains("without oneDNN")) {
        CHECK(outcome.code == 2);
        return;
    }
    CHECK(outcome.code == 0);
    const nlohmann::json result = nlohmann::json::parse(file.text()).at("results").at(0);
    CHECK(result.at("onednn_us").get<double>() > 0);
    CHECK(result.at("onednn_implementations").size() == 2);
    for (const nlohmann::json& name : result.at("onednn_implementations"))
        CHECK(name.get<std::string>().find("avx512") == std::string::npos);
    for (const char* type : {"f32", "u8"}) {
        const Outcome planes = tandem(std::string("bench 1x3x20x20:conv3o8:dw3/nhwc/") + type +
                                      "/fast/in=nchw/out=nchw --seconds 0.001 --against onednn");
        CHECK_MESSAGE(planes.code == 0, planes.output);
        CHECK_MESSAGE(planes.contains("reorder to nchw"), planes.output);
    }
}

TEST_CASE("tool: layers of every suite validate, and suites can be named together") {
    // With strict arithmetic and nothing to run: plan dispatches each layer, which validates and compiles
    // it.
    const Outcome outcome = tandem(
        "plan --suite efficientnet-lite,mobilenetv3 --suite proxyless --suite blazeface,inception --suite "
        "vgg --math strict");
    CHECK(outcome.code == 0);
    for (const char* layer : {"el0_6_2", "mv3_9-10", "pxl_7", "bf_10a", "inc_17_red", "vgg_5"})
        CHECK(outcome.contains(std::string("layer    ") + layer));
    CHECK(tandem("plan --suite paper,unknown")
              .contains("--suite is 'unknown'; accepted: paper, paper-dw, paper-dense, efficientnet-lite"));
    CHECK(tandem("check bf_9b inc_8_1x3 mv3_9-10").last_line() == "3 passed, 0 failed");
}

TEST_CASE("tool: bench against LIBXSMM, or a sentence that it is skipped; geomeans by suite") {
    const TemporaryFile json_file("bench.json"), csv_file("bench.csv");
    const Outcome outcome = tandem("bench " + small_pair +
                                   " --suite mobilenetv3 --suite blazeface --seconds 0.001 --math strict "
                                   "--against libxsmm,separate --json " +
                                   json_file.path() + " --csv " + csv_file.path());
    INFO(outcome.output);
    CHECK(outcome.code == 0);
    CHECK(outcome.contains("math strict"));
    CHECK(outcome.contains("geomean against separate: "));
    CHECK(outcome.contains("over 6 layers of mobilenetv3"));
    CHECK(outcome.contains("over 10 layers of blazeface"));
    CHECK(outcome.contains("over 17 layers in all"));
    const nlohmann::json json = nlohmann::json::parse(json_file.text());
    CHECK(json.at("geomean_by_suite").at("blazeface").contains("separate"));
    const nlohmann::json& result = json.at("results").at(1);
    CHECK(result.at("math").get<std::string>() == "strict");
    CHECK(result.at("suite").get<std::string>() == "mobilenetv3");
    CHECK(result.at("flop_per_byte").get<double>() > result.at("flop_per_byte_separate").get<double>());
    CHECK(csv_file.text().find(",separate_us,separate_lower_us,separate_upper_us,separate_ratio,separate_"
                               "ratio_lower,separate_ratio_upper") != std::string::npos);
    if (outcome.contains("libxsmm is skipped")) {
        CHECK(!result.contains("libxsmm_us"));
        return;
    }
    CHECK(result.at("libxsmm_us").get<double>() > 0);
    for (const char* key : {"libxsmm_ratio", "libxsmm_ratio_quartiles", "libxsmm_quartiles_us"})
        CHECK_MESSAGE(result.contains(key), key);
    CHECK(tandem("bench 1x16x9x9:dw3 --seconds 0.001 --against libxsmm").contains("No stage is dense"));
}

TEST_CASE("tool: bench compares with oneDNN's own choice of algorithm beside direct convolution") {
    const TemporaryFile file("bench.json");
    const Outcome outcome =
        tandem("bench res_2x --seconds 0.01 --against onednn,onednn-auto --json " + file.path());
    INFO(outcome.output);
    if (outcome.contains("without oneDNN")) return;
    CHECK(outcome.code == 0);
    const nlohmann::json result = nlohmann::json::parse(file.text()).at("results").at(0);
    for (const char* key : {"onednn_us", "onednn_ratio_quartiles", "onednn_auto_us", "onednn_auto_ratio",
                            "onednn_auto_ratio_quartiles"})
        CHECK_MESSAGE(result.contains(key), key);
}

TEST_CASE("tool: bench draws a plot, or says that gnuplot is missing") {
    const TemporaryFile file("bench.svg");
    const Outcome outcome = tandem(
        "bench " + small_pair +
        " 1x16x12x12:nonsense mv3_9-10 --isa avx2 --seconds 0.001 --against separate --plot " + file.path());
    INFO(outcome.output);
    CHECK(outcome.code == 1);  // the nonsense
    if (outcome.contains("needs gnuplot")) return;
    CHECK(outcome.contains("geomean against separate"));
    const std::string text = file.text();
    for (const char* word : {"<svg", "</svg>", "mv3_9-10", "FMA peak", "FLOP / byte", "Tandem, ", "geomean"})
        CHECK_MESSAGE(text.find(word) != std::string::npos, word);
    CHECK(outcome.contains("not fused") == (text.find("Tandem, not fused") != std::string::npos));
    CHECK(tandem("bench " + small_pair + " --seconds 0.001 --against separate --plot /nonexistent/bench.svg")
              .code == 1);
    CHECK(tandem("bench " + small_pair + " --plot bench.pdf").contains("ends in .svg or .png"));
}

TEST_CASE("tool: every subcommand's help describes it and its options, with an example") {
    const Outcome all = tandem("--help");
    CHECK(all.code == 0);
    for (const char* name :
         {"check", "bench", "dump", "plan", "suites", "machine", "explain", "model", "tune", "wisdom"}) {
        CHECK_MESSAGE(all.contains(std::string("\n  ") + name), name);
        const Outcome help = tandem(std::string(name) + " --help");
        CHECK(help.code == 0);
        CHECK_MESSAGE(help.contains("Example: tandem " + std::string(name)), name);
    }
}

TEST_CASE("tool: bench times dispatch") {
    const Outcome outcome = tandem("bench --dispatch " + small_pair);
    CHECK(outcome.code == 0);
    CHECK(outcome.contains("median over layers"));
    const Outcome cold = tandem("bench --dispatch --cold " + small_pair);
    CHECK(cold.code == 2);
    CHECK(cold.contains("--cold excludes --dispatch"));
    CHECK(tandem("bench --seconds 0.01 1x16x12x12:nonsense").code == 1);
}

TEST_CASE("tool: tune remembers in a file, in shards; wisdom shows and merges") {
    const TemporaryFile one("one.json"), two("two.json"), all("all.json");
    const TemporaryFile locks[] = {TemporaryFile("one.json.lock"), TemporaryFile("two.json.lock"),
                                   TemporaryFile("all.json.lock")};
    const std::string tune = "tune " + small_pair + " 1x8x6x6:dw3:conv1o16 --seconds 0.05 --wisdom ";
    const Outcome first = tandem(tune + one.path() + " --shard 0/2"),
                  second = tandem(tune + two.path() + " --shard 1/2");
    INFO(first.output << second.output);
    CHECK(first.code == 0);
    CHECK(first.last_line() == "1 tuned, 0 failed");
    CHECK(!first.contains("1x8x6x6"));
    CHECK(second.contains("1x8x6x6"));
    CHECK(second.contains("plans timed"));
    const Outcome merged = tandem("wisdom merge " + one.path() + " " + two.path() + " -o " + all.path());
    CHECK(merged.code == 0);
    CHECK(merged.contains("2 entries from 2 files"));
    const Outcome shown = tandem("wisdom show " + all.path());
    CHECK(shown.last_line() == "2 entries");
    CHECK(!shown.contains("not used here"));
    CHECK(tandem(tune + all.path()).contains("known since"));
}

TEST_CASE("tool: tune's and wisdom's wrong options are named") {
    CHECK(tandem("tune " + small_pair + " --wisdom w --shard 2/2").contains("--shard is '2/2'"));
    CHECK(tandem("tune " + small_pair + " --wisdom w --effort estimate")
              .contains("accepted: measure, exhaustive"));
    CHECK(tandem("tune " + small_pair)
              .contains("--wisdom FILE is needed"));  // the tests run with TANDEM_WISDOM empty
    CHECK(tandem("wisdom show /nonexistent.json").code == 1);
}

#endif
