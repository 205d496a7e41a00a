// The C API does what the C++ API does, refuses what has no meaning, and accepts structs of other versions.
#include "support/doctest.hpp"

#include <atomic>
#include <cstring>
#include <fstream>
#include <vector>

#include <fmt/format.h>

#include "core/c_api/guard.hpp"
#include "core/c_api/structs.hpp"
#include "support/c_handles.hpp"
#include "support/temporary_file.hpp"
#include "tandem/tandem.hpp"

using namespace tandem::test;
using tandem::ConvChain;

namespace {

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

/// A kernel with a residual, its weights and a call of it, all by the C API.
struct Call {
    CChain chain = c_chain("2x8x6x6:dw3+bias+relu:conv1o8+bias+sum");
    CContext context = made<CContext>([](auto out) { return tandem_context_create(nullptr, out); });
    CKernel kernel =
        made<CKernel>([&](auto out) { return tandem_dispatch(context.get(), chain.get(), nullptr, out); });
    std::vector<float> w1 = ramp(72), b1 = ramp(8), w2 = ramp(64), b2 = ramp(8), x = ramp(576), r = ramp(576),
                       y = std::vector<float>(576);
    std::vector<tandem_stage_weights> stages{2, TANDEM_STAGE_WEIGHTS_INIT};
    CWeights weights;
    tandem_args args = TANDEM_ARGS_INIT;

    Call() {
        set(stages[0], w1, b1);
        set(stages[1], w2, b2);
        weights = made<CWeights>(
            [&](auto out) { return tandem_kernel_pack(kernel.get(), stages.data(), 2, nullptr, out); });
        args.input = x.data();
        args.output = y.data();
        args.weights = weights.get();
        args.residual[1] = r.data();
        args.input_bytes = args.output_bytes = args.residual_bytes[1] = 576 * sizeof(float);
    }
    static std::vector<float> ramp(int count) {
        std::vector<float> values;
        for (int i = 0; i < count; ++i)
            values.push_back(static_cast<float>((i * 7) % 11 - 5));
        return values;
    }
    static void set(tandem_stage_weights& stage, const std::vector<float>& w, const std::vector<float>& b) {
        stage.weights = w.data();
        stage.weight_count = w.size();
        stage.bias = b.data();
        stage.bias_count = b.size();
    }
    tandem_reference_args reference_args() const {
        tandem_reference_args reference = TANDEM_REFERENCE_ARGS_INIT;
        reference.input = x.data();
        reference.input_count = x.size();
        reference.stages = stages.data();
        reference.stage_count = stages.size();
        reference.residual[1] = r.data();
        reference.residual_count[1] = r.size();
        return reference;
    }
    std::vector<double> expected() const {
        const tandem_reference_args reference = reference_args();
        std::vector<double> result(576);
        CHECK(said(tandem_reference(chain.get(), &reference, result.data(), result.size())) == "ok");
        return result;
    }
    bool right() const { return std::vector<double>(y.begin(), y.end()) == expected(); }
    tandem_kernel_info info() const {
        tandem_kernel_info found = TANDEM_KERNEL_INFO_INIT;
        CHECK(said(tandem_kernel_get_info(kernel.get(), &found)) == "ok");
        return found;
    }
};

struct alignas(64) Line {
    std::byte bytes[64];
};

/// Whole lines, at least one.
std::vector<Line> lines_for(std::size_t bytes) { return std::vector<Line>(bytes / sizeof(Line) + 1); }

}  // namespace

TEST_CASE("C API: version and names") {
    CHECK(tandem_version() ==
          fmt::format("{}.{}.{}", TANDEM_VERSION_MAJOR, TANDEM_VERSION_MINOR, TANDEM_VERSION_PATCH));
    CHECK(tandem_version_number() == TANDEM_VERSION_NUMBER);
    CHECK(tandem_error_code_name(TANDEM_OK) == std::string("ok"));
    CHECK(tandem_error_code_name(TANDEM_OUT_OF_MEMORY) == std::string("out_of_memory"));
    CHECK(tandem_error_code_name(TANDEM_INTERNAL) == std::string("internal"));
    CHECK(tandem_data_type_name(TANDEM_S8) == std::string("s8"));
    CHECK(tandem_layout_name(TANDEM_NCHW8C) == std::string("nchw8c"));
    CHECK(tandem_math_name(TANDEM_MATH_STRICT) == std::string("strict"));
    CHECK(tandem_effort_name(TANDEM_EFFORT_EXHAUSTIVE) == std::string("exhaustive"));
    CHECK(tandem_symbol_kind_name(TANDEM_NOTE) == std::string("note"));
    for (const std::int32_t number : {-1, 99, INT32_MIN, INT32_MAX}) {
        for (const char* name :
             {tandem_error_code_name(number), tandem_data_type_name(number), tandem_layout_name(number),
              tandem_math_name(number), tandem_effort_name(number), tandem_symbol_kind_name(number)})
            CHECK(name == std::string("unknown"));
    }
    std::int32_t number = -1;
    CHECK(said(tandem_data_type_parse("bf16", &number)) == "ok");
    CHECK(number == TANDEM_BF16);
    CHECK(said(tandem_data_type_parse("f64", &number)).starts_with("parse_error: "));
    CHECK(said(tandem_effort_parse("measure", &number)) == "ok");
    CHECK(number == TANDEM_EFFORT_MEASURE);
    CHECK(said(tandem_effort_parse("hard", &number)).starts_with("parse_error: "));
}

TEST_CASE("C API: whatever is thrown is an error") {
    using namespace tandem::c_api;
    CHECK(said(guarded([]() -> tandem::Status { throw std::bad_alloc(); })) ==
          "out_of_memory: Out of memory.");
    CHECK(said(guarded([]() -> tandem::Status { throw std::runtime_error("reason"); })) ==
          "internal: An exception was not expected: reason.");
    CHECK(said(guarded([]() -> tandem::Status { throw 1; })) ==
          "internal: An exception was not expected: its type is not known.");
}

TEST_CASE("C API: elements and numbers") {
    CHECK(tandem_from_bf16(tandem_to_bf16(1.5f)) == 1.5f);
    CHECK(tandem_from_f16(tandem_to_f16(-2.25f)) == -2.25f);
    float value = 0;
    CHECK(said(tandem_round(TANDEM_U8, 300.0f, &value)) == "ok");
    CHECK(value == 255.0f);
    CHECK(said(tandem_round(5, 1.0f, &value)) == "invalid_argument: data_type is 5; 0 to 4 is accepted.");
    std::int8_t bytes[3] = {};
    CHECK(said(tandem_store_element(TANDEM_S8, bytes, 2, -7.4f)) == "ok");
    CHECK(said(tandem_load_element(TANDEM_S8, bytes, 2, &value)) == "ok");
    CHECK(value == -7.0f);
    CHECK(contains(said(tandem_store_element(-1, bytes, 0, 1.0f)), "data_type is -1"));
    CHECK(contains(said(tandem_load_element(9, bytes, 0, &value)), "data_type is 9"));
}

TEST_CASE("C API: tensors are filled in, indexed and converted") {
    tandem_tensor tensor = TANDEM_TENSOR_INIT;
    tensor.n = 1;
    tensor.c = 3;
    tensor.h = 2;
    tensor.w = 2;
    tensor.layout = TANDEM_NCHW8C;
    CHECK(said(tandem_tensor_fill(&tensor)) == "ok");
    CHECK(tensor.pixel_stride == 8);
    CHECK(tensor.elements == 32);
    CHECK(tensor.bytes == 128);
    std::int64_t index = 0;
    CHECK(said(tandem_tensor_index(&tensor, 0, 2, 1, 1, &index)) == "ok");
    CHECK(index == 26);
    CHECK(said(tandem_tensor_index(&tensor, 0, 3, 1, 1, &index)) ==
          "invalid_argument: c is 3; 0 to 2 is accepted.");
    const std::vector<float> plain = Call::ramp(12);
    std::vector<float> stored(32, 9.0f), again(12);
    CHECK(said(tandem_from_nchw(&tensor, plain.data(), 12, stored.data(), 32)) == "ok");
    CHECK(stored[7] == 0.0f);
    CHECK(said(tandem_to_nchw(&tensor, stored.data(), 32, again.data(), 12)) == "ok");
    CHECK(again == plain);
    CHECK(contains(said(tandem_from_nchw(&tensor, plain.data(), 11, stored.data(), 32)), "nchw has 11"));
    CHECK(contains(said(tandem_to_nchw(&tensor, stored.data(), 31, again.data(), 12)), "in has 31"));

    const auto with = [&](auto change) {
        tandem_tensor changed = tensor;
        change(changed);
        return said(tandem_tensor_fill(&changed));
    };
    CHECK(contains(with([](auto& t) { t.layout = 4; }), "tensor->layout is 4; 0 to 3"));
    CHECK(contains(with([](auto& t) { t.data_type = 7; }), "data_type is 7"));
    CHECK(contains(with([](auto& t) { t.c = -1; }), "tensor->c is -1; 0 or more"));
    CHECK(contains(with([](auto& t) { t.row_stride = -8; }), "tensor->row_stride is -8"));
    CHECK(with([](auto& t) { t.h = INT64_MAX; }).starts_with("overflow: "));
    CHECK(with([](auto& t) { t.image_stride = INT64_MAX / 2, t.n = 2; }).starts_with("overflow: "));
}

TEST_CASE("C API: ISAs") {
    const std::string isas = text_of([](char** out) { return tandem_host_isas(out); });
    CHECK(isas.starts_with("avx2"));
    const std::string of =
        text_of([](char** out) { return tandem_host_isas_of(TANDEM_U8, TANDEM_MATH_FAST, out); });
    CHECK(of.starts_with("avx2"));
    char* text = nullptr;
    CHECK(contains(said(tandem_host_isas_of(5, 0, &text)), "data_type is 5"));
    CHECK(contains(said(tandem_host_isas_of(0, 4, &text)), "math is 4"));
    CHECK(text_of([](char** out) { return tandem_isa_canonical("avx512+vnni", out); }) == "avx512_vnni");
    CHECK(text_of([](char** out) { return tandem_isa_canonical("sse2", out); }).starts_with("parse_error"));
    std::int32_t includes = -1;
    CHECK(said(tandem_isa_includes("amx", "avx512", &includes)) == "ok");
    CHECK(includes == 1);
    CHECK(said(tandem_isa_includes("avx2", "avx512", &includes)) == "ok");
    CHECK(includes == 0);
    CHECK(said(tandem_isa_includes("x", "avx2", &includes)).starts_with("parse_error: "));
    CHECK(said(tandem_isa_includes("avx2", "x", &includes)).starts_with("parse_error: "));
}

TEST_CASE("C API: a chain's text, sizes, tensors and stages") {
    const char* const text = "1x8x9x9*:dw3s2:conv1o20+sum(4)/nchw16c/bf16";
    const CChain chain = c_chain(text);
    REQUIRE(chain);
    CHECK(text_of([&](char** out) { return tandem_chain_text(chain.get(), out); }) ==
          to_string(*ConvChain::parse(text)));
    tandem_chain_info info = TANDEM_CHAIN_INFO_INIT;
    CHECK(said(tandem_chain_get_info(chain.get(), &info)) == "ok");
    CHECK(info.stages == 2);
    CHECK(info.math == TANDEM_MATH_FAST);
    CHECK(info.input_factors == 1);
    CHECK(info.quantized == 0);
    tandem_tensor tensor = TANDEM_TENSOR_INIT;
    CHECK(said(tandem_chain_tensor(chain.get(), TANDEM_OUTPUT, &tensor)) == "ok");
    CHECK(tensor.c == 20);
    CHECK(tensor.h == 5);
    CHECK(tensor.data_type == TANDEM_BF16);
    CHECK(tensor.layout == TANDEM_NCHW16C);
    CHECK(tensor.elements == 32 * 25);
    CHECK(said(tandem_chain_tensor(chain.get(), TANDEM_RESIDUAL(1), &tensor)) == "ok");
    CHECK(tensor.c == 4);
    CHECK(said(tandem_chain_tensor(chain.get(), TANDEM_RESIDUAL(0), &tensor)) == "ok");
    CHECK(tensor.c == 0);
    for (const std::int32_t which : {-1, 4, INT32_MAX})
        CHECK(contains(said(tandem_chain_tensor(chain.get(), which, &tensor)), "which is"));
    const CChain second = made<CChain>([&](auto out) { return tandem_chain_stage(chain.get(), 1, out); });
    CHECK(text_of([&](char** out) {
              return tandem_chain_text(second.get(), out);
          }).starts_with("1x8x5x5:conv1"));
    tandem_chain* none = second.get();
    CHECK(contains(said(tandem_chain_stage(chain.get(), 2, &none)), "stage is 2; 0 to 1"));
    CHECK(none == nullptr);
    none = second.get();
    CHECK(said(tandem_chain_parse("1x8x9x9:dw", &none)).starts_with("parse_error: "));
    CHECK(none == nullptr);
    CHECK(said(tandem_chain_parse("1x0x9x9:dw3", &none)).starts_with("invalid_argument: "));
}

TEST_CASE("C API: call, parts, steps and pool compute what the reference does") {
    Call call;
    REQUIRE(call.kernel);
    REQUIRE(call.weights);
    CHECK(said(tandem_kernel_call(call.kernel.get(), &call.args)) == "ok");
    CHECK(call.right());

    const tandem_kernel_info info = call.info();
    auto scratch = lines_for(info.scratch_bytes), shared = lines_for(info.shared_bytes);
    const std::size_t scratch_bytes = scratch.size() * sizeof(Line),
                      shared_bytes = shared.size() * sizeof(Line);
    call.y.assign(576, 0.0f);
    for (int part = 0; part < 3; ++part)
        CHECK(said(tandem_kernel_run(call.kernel.get(), part, 3, &call.args, scratch.data(),
                                     scratch_bytes)) == "ok");
    CHECK(call.right());
    call.y.assign(576, 0.0f);
    for (int step = 0; step < info.steps; ++step)
        CHECK(said(tandem_kernel_run_step(call.kernel.get(), step, 0, 1, &call.args, scratch.data(),
                                          scratch_bytes, shared.data(), shared_bytes)) == "ok");
    CHECK(call.right());
    CHECK(
        contains(said(tandem_kernel_run(call.kernel.get(), 3, 3, &call.args, scratch.data(), scratch_bytes)),
                 "part is 3"));
    CHECK(
        contains(said(tandem_kernel_run(call.kernel.get(), 0, 1, &call.args, nullptr, 0)), "scratch has 0"));
    CHECK(contains(said(tandem_kernel_run_step(call.kernel.get(), 9, 0, 1, &call.args, scratch.data(),
                                               scratch_bytes, shared.data(), shared_bytes)),
                   "step is 9"));

    tandem_pool_options options = TANDEM_POOL_OPTIONS_INIT;
    options.threads = 2;
    options.pinning = TANDEM_PIN_NONE;
    const CPool pool = made<CPool>([&](auto out) { return tandem_pool_create(&options, out); });
    std::int32_t threads = 0;
    CHECK(said(tandem_pool_threads(pool.get(), &threads)) == "ok");
    CHECK(threads == 2);
    call.y.assign(576, 0.0f);
    CHECK(said(tandem_pool_run(pool.get(), call.kernel.get(), &call.args)) == "ok");
    CHECK(call.right());
    std::atomic<int> parts{0};
    CHECK(said(tandem_pool_parallel(
              pool.get(),
              [](void* user, std::int32_t part) { *static_cast<std::atomic<int>*>(user) += part + 1; },
              &parts)) == "ok");
    CHECK(parts == 3);
}

TEST_CASE("C API: calls that are wrong") {
    Call call;
    const auto with = [&](auto change) {
        tandem_args args = call.args;
        change(args);
        return said(tandem_kernel_call(call.kernel.get(), &args));
    };
    CHECK(contains(with([](auto& a) { a.input = nullptr; }), "input is null"));
    CHECK(contains(with([](auto& a) { a.residual[1] = nullptr; }), "residual[1] is null"));
    CHECK(contains(with([](auto& a) { a.residual[3] = &a; }), "residual[3] is at"));
    CHECK(with([](auto& a) { a.output_bytes = 4; }).starts_with("buffer_too_small: "));
    CHECK(contains(with([](auto& a) { a.next_bytes = 4; }), "args->next is null, but its count is 4"));
    CHECK(with([&](auto& a) { a.next = call.x.data(), a.next_bytes = 64; }) == "ok");
    CHECK(contains(with([](auto& a) { a.input_factors_bytes = 4; }), "ok"));

    const auto packing = [&](auto change, std::size_t count = 2) {
        auto stages = call.stages;
        change(stages);
        tandem_weights* weights = nullptr;
        const std::string message =
            said(tandem_kernel_pack(call.kernel.get(), stages.data(), count, nullptr, &weights));
        tandem_weights_free(weights);
        return message;
    };
    CHECK(packing([](auto&) {}) == "ok");
    CHECK(contains(packing([](auto&) {}, 0), "stage_count is 0"));
    CHECK(contains(packing([](auto&) {}, 5), "stage_count is 5"));
    CHECK(packing([](auto&) {}, 1) != "ok");
    CHECK(contains(packing([](auto& s) { s[1].bias = nullptr; }),
                   "stages[1]: bias is null, but its count is 8"));
    CHECK(contains(packing([](auto& s) { s[0].weight_count = 71; }), "71"));
    CHECK(contains(packing([](auto& s) { s[1].struct_size = 128; }), "stages[1].struct_size is 128"));

    double result = 0;
    tandem_reference_args reference = call.reference_args();
    CHECK(said(tandem_reference(call.chain.get(), &reference, &result, 1)) ==
          "buffer_too_small: output_count is 1; 576 is accepted.");
    reference.residual[1] = nullptr;
    CHECK(contains(said(tandem_reference(call.chain.get(), &reference, &result, 1)),
                   "args->residual[1] is null"));
}

TEST_CASE("C API: quantised chains") {
    const CChain chain = c_chain("1x8x4x4:conv1o8/u8");
    const CContext context = made<CContext>([](auto out) { return tandem_context_shared(out); });
    const CKernel kernel =
        made<CKernel>([&](auto out) { return tandem_dispatch(context.get(), chain.get(), nullptr, out); });
    const std::vector<std::int8_t> w(64, 1);
    const std::vector<float> scales(8, 1.0f);
    tandem_stage_weights stage = TANDEM_STAGE_WEIGHTS_INIT;
    stage.quantized_weights = w.data();
    stage.quantized_weight_count = w.size();
    stage.weight_scales = scales.data();
    stage.weight_scale_count = scales.size();
    stage.output_scale = 2.0f;
    tandem_quantization input = TANDEM_QUANTIZATION_INIT;
    input.scale = 0;  // 1
    input.zero_point = 1;
    const CWeights weights =
        made<CWeights>([&](auto out) { return tandem_kernel_pack(kernel.get(), &stage, 1, &input, out); });
    const std::vector<std::uint8_t> x(128, 4);
    std::vector<std::uint8_t> y(128);
    tandem_args args = TANDEM_ARGS_INIT;
    args.input = x.data();
    args.output = y.data();
    args.weights = weights.get();
    CHECK(said(tandem_kernel_call(kernel.get(), &args)) == "ok");
    CHECK(y == std::vector<std::uint8_t>(128, 12));  // 8 * (4 - 1) * 1 / 2
}

TEST_CASE("C API: what a kernel says of itself is what C++ says") {
    Call call;
    const tandem::Kernel kernel =
        *tandem::Context::shared().dispatch(*ConvChain::parse("2x8x6x6:dw3+bias+relu:conv1o8+bias+sum"));
    const tandem_kernel_info info = call.info();
    CHECK(info.name == kernel.name());
    CHECK(info.code_bytes == kernel.code().size());
    CHECK(info.symbol_count == kernel.symbols().size());
    CHECK(info.scratch_bytes == kernel.scratch_bytes());
    CHECK(info.tiles == kernel.tiles());
    CHECK(info.steps == kernel.steps());
    CHECK((info.fused != 0) == kernel.fused());
    tandem_symbol symbol = TANDEM_SYMBOL_INIT;
    CHECK(said(tandem_kernel_symbol(call.kernel.get(), 0, &symbol)) == "ok");
    CHECK(symbol.name == kernel.symbols()[0].name);
    CHECK(contains(said(tandem_kernel_symbol(call.kernel.get(), info.symbol_count, &symbol)), "index is"));
    tandem_tensor tensor = TANDEM_TENSOR_INIT;
    CHECK(said(tandem_kernel_tensor(call.kernel.get(), TANDEM_RESIDUAL(1), &tensor)) == "ok");
    CHECK(tensor.bytes == 576 * 4);
    CHECK(contains(said(tandem_kernel_tensor(call.kernel.get(), 9, &tensor)), "which is 9"));
    CHECK(text_of([&](char** out) { return tandem_kernel_explain(call.kernel.get(), out); }).size() > 100);

    const void* memory = nullptr;
    std::size_t bytes = 0;
    CHECK(said(tandem_weights_memory(call.weights.get(), &memory, &bytes)) == "ok");
    CHECK(bytes > 136 * 4);
    const CKernel copy = made<CKernel>([&](auto out) { return tandem_kernel_copy(call.kernel.get(), out); });
    const CWeights weights =
        made<CWeights>([&](auto out) { return tandem_weights_copy(call.weights.get(), out); });
    call.context.reset();
    call.kernel.reset();
    call.weights.reset();
    call.args.weights = weights.get();
    CHECK(said(tandem_kernel_call(copy.get(), &call.args)) == "ok");
    CHECK(call.right());
}

TEST_CASE("C API: dispatch by plan, ISA, threads and effort") {
    Call call;
    const std::string plan = text_of([&](char** out) { return tandem_kernel_plan(call.kernel.get(), out); });
    CHECK(plan.starts_with("{\"isa\""));
    const auto with = [&](auto change) {
        tandem_dispatch_options options = TANDEM_DISPATCH_OPTIONS_INIT;
        change(options);
        tandem_kernel* kernel = nullptr;
        const std::string message =
            said(tandem_dispatch(call.context.get(), call.chain.get(), &options, &kernel));
        CHECK((kernel == nullptr) == (message != "ok"));
        tandem_kernel_free(kernel);
        return message;
    };
    CHECK(with([&](auto& o) { o.plan = plan.c_str(); }) == "ok");
    CHECK(with([&](auto& o) { o.isa = "avx2", o.threads = 2; }) == "ok");
    CHECK(contains(with([](auto& o) { o.plan = "{"; }), "options->plan: the text"));
    CHECK(contains(with([](auto& o) { o.plan = "{}"; }), "options->plan: "));
    CHECK(with([](auto& o) { o.isa = "avx"; }).starts_with("parse_error: "));
    CHECK(contains(with([](auto& o) { o.threads = -1; }), "options->threads is -1"));
    CHECK(contains(with([](auto& o) { o.effort = 3; }), "options->effort is 3"));
}

TEST_CASE("C API: contexts are prewarmed, counted and cleared") {
    const CContext context = made<CContext>([](auto out) { return tandem_context_create(nullptr, out); });
    const CChain a = c_chain("1x8x6x6:dw3"), b = c_chain("1x8x7x7:dw3");
    const tandem_chain* const chains[] = {a.get(), b.get()};
    CHECK(said(tandem_prewarm(context.get(), chains, 2, nullptr, 2)) == "ok");
    tandem_cache_stats stats = TANDEM_CACHE_STATS_INIT;
    CHECK(said(tandem_get_cache_stats(context.get(), &stats)) == "ok");
    CHECK(stats.entries == 2);
    CHECK(stats.misses == 2);
    CHECK(stats.code_bytes > 0);
    CHECK(stats.emission_seconds > 0);
    CHECK(said(tandem_clear_cache(context.get())) == "ok");
    CHECK(said(tandem_get_cache_stats(context.get(), &stats)) == "ok");
    CHECK(stats.entries == 0);
    CHECK(contains(said(tandem_prewarm(context.get(), chains, 2, nullptr, -1)), "workers is -1"));
    const tandem_chain* const broken[] = {a.get(), nullptr};
    CHECK(contains(said(tandem_prewarm(context.get(), broken, 2, nullptr, 1)), "chains[1] is null"));
    CHECK(said(tandem_prewarm(context.get(), nullptr, 0, nullptr, 1)) == "ok");

    const auto creating = [](auto change) {
        tandem_context_options options = TANDEM_CONTEXT_OPTIONS_INIT;
        change(options);
        tandem_context* made = nullptr;
        const std::string message = said(tandem_context_create(&options, &made));
        tandem_context_free(made);
        return message;
    };
    CHECK(creating([](auto& o) { o.cache_capacity = 1, o.cache_bytes = 1 << 20; }) == "ok");
    CHECK(contains(creating([](auto& o) { o.reserved = 1; }), "options->reserved is 1"));
    CHECK(contains(creating([](auto& o) { o.measure_machine = 2; }), "options->measure_machine is 2"));
    const auto pool = [](std::int32_t threads, std::int32_t pinning) {
        const tandem_pool_options options = {sizeof options, threads, pinning};
        tandem_pool* made = nullptr;
        const std::string message = said(tandem_pool_create(&options, &made));
        tandem_pool_free(made);
        return message;
    };
    CHECK(contains(pool(-1, 0), "options->threads is -1"));
    CHECK(contains(pool(1, 3), "options->pinning is 3"));
}

TEST_CASE("C API: wisdom and profiles in files") {
    const TemporaryFile wisdom("c_wisdom.json"), machine("c_machine.json");
    Call call;
    CHECK(said(tandem_save_wisdom(call.context.get(), wisdom.path().c_str())) == "ok");
    CHECK(said(tandem_load_wisdom(call.context.get(), wisdom.path().c_str())) == "ok");
    CHECK(said(tandem_load_wisdom(call.context.get(), "/nonexistent/wisdom.json")) != "ok");
    std::ofstream(wisdom.path()) << "[]";
    CHECK(said(tandem_load_wisdom(call.context.get(), wisdom.path().c_str())).starts_with("parse_error: "));
    CHECK(text_of([&](char** out) { return tandem_wisdom_notes(call.context.get(), out); }).size() < 10000);

    CProfile profile = made<CProfile>([](auto out) { return tandem_profile_of_this_machine(out); });
    CHECK(said(tandem_profile_save(profile.get(), machine.path().c_str())) == "ok");
    CHECK(said(tandem_profile_save(profile.get(), "/nonexistent/machine.json")) != "ok");
    tandem_profile* loaded = nullptr;
    CHECK(said(tandem_profile_load("/nonexistent/machine.json", &loaded)) != "ok");
    CHECK(loaded == nullptr);
    CHECK(said(tandem_profile_load(machine.path().c_str(), &loaded)) == "ok");
    const auto source = [](const tandem_profile* of) {
        return text_of([&](char** out) { return tandem_profile_source(of, out); });
    };
    CHECK(source(loaded) == source(profile.get()));
    tandem_context_options options = TANDEM_CONTEXT_OPTIONS_INIT;
    options.profile = loaded;
    const CContext context = made<CContext>([&](auto out) { return tandem_context_create(&options, out); });
    tandem_profile_free(loaded);
    CHECK(made<CKernel>(
        [&](auto out) { return tandem_dispatch(context.get(), call.chain.get(), nullptr, out); }));
}

TEST_CASE("C API: a profile is measured") {
    const CProfile profile = made<CProfile>([](auto out) { return tandem_profile_measure(out); });
    CHECK(text_of([&](char** out) {
              return tandem_profile_source(profile.get(), out);
          }).starts_with("measured"));
}

namespace {

struct Seen {
    std::atomic<int> created{0}, released{0}, destroyed{0}, faults{0};
};

tandem_code_observer observer_of(Seen& seen) {
    tandem_code_observer observer = TANDEM_CODE_OBSERVER_INIT;
    observer.user = &seen;
    observer.created = [](void* user, const tandem_code* code) {
        Seen& to = *static_cast<Seen*>(user);
        tandem_code_info info = TANDEM_CODE_INFO_INIT;
        tandem_symbol symbol = TANDEM_SYMBOL_INIT;
        ++to.created;
        to.faults += said(tandem_code_get_info(code, &info)) != "ok" || info.code == nullptr ||
                     info.code_bytes == 0 ||
                     !std::string(info.name, info.name_bytes).starts_with("1x8x6x6") ||
                     said(tandem_code_symbol(code, info.symbol_count - 1, &symbol)) != "ok" ||
                     symbol.offset >= info.code_bytes ||
                     said(tandem_code_symbol(code, info.symbol_count, &symbol)) == "ok" ||
                     said(tandem_code_get_info(code, nullptr)) == "ok";
    };
    observer.released = [](void* user, const tandem_code*) {
        ++static_cast<Seen*>(user)->released;
    };
    observer.destroyed = [](void* user) {
        ++static_cast<Seen*>(user)->destroyed;
    };
    return observer;
}

}  // namespace

TEST_CASE("C API: observers of a context and of the process are told, and told of their end") {
    Seen of_context, of_process, of_failure;
    const tandem_code_observer context_observer = observer_of(of_context), observer = observer_of(of_process),
                               failing = observer_of(of_failure);
    tandem_observation* observation = nullptr;
    CHECK(said(tandem_observe(&observer, &observation)) == "ok");
    tandem_context_options options = TANDEM_CONTEXT_OPTIONS_INIT;
    options.observer = &context_observer;
    CContext context = made<CContext>([&](auto out) { return tandem_context_create(&options, out); });
    const CChain chain = c_chain("1x8x6x6:dw3");
    CKernel kernel =
        made<CKernel>([&](auto out) { return tandem_dispatch(context.get(), chain.get(), nullptr, out); });
    CHECK(of_context.created == 1);
    CHECK(of_process.created == 1);
    tandem_observation_free(observation);
    CHECK(of_process.destroyed == 0);
    context.reset();
    kernel.reset();
    for (const Seen* seen : {&of_context, &of_process}) {
        CHECK(seen->released == 1);
        CHECK(seen->destroyed == 1);
        CHECK(seen->faults == 0);
    }
    options.observer = &failing;
    options.reserved = 1;
    tandem_context* none = nullptr;
    CHECK(said(tandem_context_create(&options, &none)) != "ok");
    CHECK(of_failure.destroyed == 0);
}

TEST_CASE("C API: structs of other versions") {
    const CChain chain = c_chain("1x8x6x6:dw3");
    struct Newer {
        tandem_dispatch_options known = TANDEM_DISPATCH_OPTIONS_INIT;
        std::int64_t added = 0;
    } newer;
    newer.known.struct_size = sizeof newer;
    const CContext context = made<CContext>([](auto out) { return tandem_context_create(nullptr, out); });
    const auto dispatch = [&] {
        tandem_kernel* kernel = nullptr;
        const std::string message = said(tandem_dispatch(context.get(), chain.get(), &newer.known, &kernel));
        tandem_kernel_free(kernel);
        return message;
    };
    CHECK(dispatch() == "ok");
    newer.added = 1;
    CHECK(contains(dispatch(), "options has a field at offset 32 that this version"));
    for (const std::size_t size : {0, 8, 24, 33, 4104, -1}) {
        newer.known.struct_size = size;
        CHECK(contains(dispatch(), fmt::format("options->struct_size is {}; 32 to 4096", size).c_str()));
    }
    struct NewerInfo {
        tandem_chain_info known = TANDEM_CHAIN_INFO_INIT;
        std::int64_t added = -1;
    } info;
    info.known.struct_size = sizeof info;
    CHECK(said(tandem_chain_get_info(chain.get(), &info.known)) == "ok");
    CHECK(info.known.stages == 1);
    CHECK(info.known.struct_size == sizeof info);
    CHECK(info.added == 0);
    info.known.struct_size = 16;
    CHECK(contains(said(tandem_chain_get_info(chain.get(), &info.known)), "info->struct_size is 16"));
}

namespace {

/// A struct that grew from 16 to 24 bytes.
struct Grown {
    std::size_t struct_size;
    std::int64_t first, second;
};

}  // namespace

template <>
inline constexpr std::size_t tandem::c_api::first_bytes<Grown> = 16;

TEST_CASE("C API: a struct of an older version lacks fields, which are neither read nor written") {
    using namespace tandem::c_api;
    Grown older{16, 1, 2}, read{};
    CHECK(read_struct("older", &older, read).ok());
    CHECK(read.first == 1);
    CHECK(read.second == 0);
    CHECK(write_struct("older", Grown{24, 3, 4}, &older).ok());
    CHECK(older.struct_size == 16);
    CHECK(older.first == 3);
    CHECK(older.second == 2);
}
