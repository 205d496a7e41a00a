// tandem bench, run the way scripts run it.
#ifdef TANDEM_TOOL

#include "support/doctest.hpp"
#include "support/tool.hpp"

#include <nlohmann/json.hpp>
#include <string>

using namespace tandem::test;

namespace {

const std::string small_pair = "'1x16x12x12:dw3+bias+relu6:conv1o32+bias+relu6'";

}  // namespace

TEST_CASE("tool: bench writes JSON and CSV, on one thread and on two") {
    for (const char* threads : {"1", "2"}) {
        const TemporaryFile json_file("bench.json"), csv_file("bench.csv");
        const Outcome outcome =
            run_tool("bench " + small_pair + " --seconds 0.01 --against separate --threads " + threads +
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
        const Outcome own = run_tool("bench " + small_pair + " --seconds 0.01 --against separate --json " +
                                     file.path() + " " + options);
        INFO(own.output);
        CHECK(own.code == 0);
        const nlohmann::json result = nlohmann::json::parse(file.text()).at("results").at(0);
        CHECK(result.at("separate_us").get<double>() > 0);
        CHECK((result.at("peak_of") == "vfmadd231ps") ==
              (result.at("fma_gflops") == result.at("peak_gflops")));
        CHECK(options.starts_with("--dtype " + result.at("dtype").get<std::string>().substr(0, 2)));
        const Outcome outcome = run_tool(
            "bench " + small_pair +
            " 1x16x9x9:dw3+bias+swish:conv1o16+sum+hswish --seconds 0.01 --layout blocked --against onednn " +
            options);
        INFO(outcome.output);
        if (outcome.contains("without oneDNN")) continue;
        CHECK(outcome.code == 0);
        CHECK(outcome.contains("onednn: ") != outcome.contains("is not offered by this oneDNN"));
    }
    const Outcome libxsmm =
        run_tool("bench " + small_pair + " --seconds 0.001 --against libxsmm --dtype bf16");
    CHECK(libxsmm.contains("for f32 only, not for bf16") != libxsmm.contains("libxsmm is skipped"));
}

TEST_CASE("tool: bench empties caches before each call if asked to") {
    for (const char* threads : {"1", "2"}) {
        const TemporaryFile json_file("bench.json");
        const Outcome outcome = run_tool("bench " + small_pair + " --cold --seconds 0.01 --against separate" +
                                         " --threads " + threads + " --json " + json_file.path());
        INFO(outcome.output);
        CHECK(outcome.code == 0);
        CHECK(outcome.contains("# cold: L1 and L2 emptied before each call"));
        CHECK(nlohmann::json::parse(json_file.text()).at("cold").get<bool>());
    }
}

TEST_CASE("tool: bench times layers in sequence, without and with the next one's weights announced") {
    for (const char* threads : {"1", "2"}) {
        const TemporaryFile file("bench.json");
        const Outcome outcome = run_tool("bench --sequence " + small_pair +
                                         " 1x16x9x9:conv1o32+sum:dw3 1x16x9x9*:dw3:conv1o16 --seconds 0.01" +
                                         " --threads " + threads + " --json " + file.path());
        INFO(outcome.output);
        CHECK(outcome.code == 0);
        CHECK(outcome.contains("cold/next"));
        const nlohmann::json results = nlohmann::json::parse(file.text()).at("results");
        REQUIRE(results.size() == 3);
        for (const nlohmann::json& result : results)
            for (const char* key : {"weight_bytes", "warm_us", "cold_us", "next_us", "ratio"})
                CHECK(result.at(key).get<double>() > 0);
    }
    CHECK(run_tool("bench --sequence --cold " + small_pair).code == 2);
    CHECK(run_tool("bench --sequence 1x16x12x12:nonsense").code == 1);
}

TEST_CASE("tool: bench places tensors on pages or staggered") {
    for (const std::string align : {"line", "page", "staggered"}) {
        const TemporaryFile file("bench.json");
        const Outcome outcome =
            run_tool("bench " + small_pair + " --seconds 0.01 --against separate --align " + align +
                     " --json " + file.path());
        INFO(outcome.output);
        CHECK(outcome.code == 0);
        CHECK(outcome.contains("# align: " + align) == (align != "line"));
        CHECK(nlohmann::json::parse(file.text()).at("align").get<std::string>() == align);
    }
    const Outcome wrong = run_tool("bench --align word " + small_pair);
    CHECK(wrong.code == 2);
    CHECK(wrong.contains("--align is 'word'; accepted: line, page, staggered."));
}

TEST_CASE("tool: bench compares with oneDNN, or says that it cannot") {
    const TemporaryFile file("bench.json");
    const Outcome outcome =
        run_tool("bench " + small_pair +
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
        const Outcome planes = run_tool(std::string("bench 1x3x20x20:conv3o8:dw3/nhwc/") + type +
                                        "/fast/in=nchw/out=nchw --seconds 0.001 --against onednn");
        CHECK_MESSAGE(planes.code == 0, planes.output);
        CHECK_MESSAGE(planes.contains("reorder to nchw"), planes.output);
    }
}

TEST_CASE("tool: bench against LIBXSMM, or a sentence that it is skipped; geomeans by suite") {
    const TemporaryFile json_file("bench.json"), csv_file("bench.csv");
    const Outcome outcome = run_tool("bench " + small_pair +
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
    CHECK(run_tool("bench 1x16x9x9:dw3 --seconds 0.001 --against libxsmm").contains("No stage is dense"));
}

TEST_CASE("tool: bench compares with oneDNN's own choice of algorithm beside direct convolution") {
    const TemporaryFile file("bench.json");
    const Outcome outcome =
        run_tool("bench res_2x --seconds 0.01 --against onednn,onednn-auto --json " + file.path());
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
    const Outcome outcome = run_tool(
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
    CHECK(
        run_tool("bench " + small_pair + " --seconds 0.001 --against separate --plot /nonexistent/bench.svg")
            .code == 1);
    CHECK(run_tool("bench " + small_pair + " --plot bench.pdf").contains("ends in .svg or .png"));
}

TEST_CASE("tool: bench times dispatch") {
    const Outcome outcome = run_tool("bench --dispatch " + small_pair);
    CHECK(outcome.code == 0);
    CHECK(outcome.contains("median over layers"));
    const Outcome cold = run_tool("bench --dispatch --cold " + small_pair);
    CHECK(cold.code == 2);
    CHECK(cold.contains("--cold excludes --dispatch"));
    CHECK(run_tool("bench --seconds 0.01 1x16x12x12:nonsense").code == 1);
}

#endif
