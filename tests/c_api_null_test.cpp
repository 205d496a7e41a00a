// Every function of the C API that takes pointers, with each of them null in turn: an error that names it.
#include "support/doctest.hpp"

#include <functional>
#include <set>
#include <vector>

#include "support/c_handles.hpp"
#include "support/c_header.hpp"

using namespace tandem::test;

namespace {

/// One of everything.
struct Everything {
    CChain chain = c_chain("1x8x6x6:dw3:conv1o16+bias");
    CContext context = made<CContext>([](auto out) { return tandem_context_create(nullptr, out); });
    CKernel kernel =
        made<CKernel>([&](auto out) { return tandem_dispatch(context.get(), chain.get(), nullptr, out); });
    std::vector<float> w1 = std::vector<float>(72, 1.0f), w2 = std::vector<float>(128, 1.0f),
                       b2 = std::vector<float>(16, 1.0f);
    tandem_stage_weights stages[2] = {TANDEM_STAGE_WEIGHTS_INIT, TANDEM_STAGE_WEIGHTS_INIT};
    CWeights weights;
    CPool pool = made<CPool>([](auto out) {
        tandem_pool_options options = TANDEM_POOL_OPTIONS_INIT;
        options.threads = 1;
        return tandem_pool_create(&options, out);
    });
    CProfile profile = made<CProfile>([](auto out) { return tandem_profile_of_this_machine(out); });
    tandem_args args = TANDEM_ARGS_INIT;
    tandem_tensor tensor = TANDEM_TENSOR_INIT;
    tandem_reference_args reference = TANDEM_REFERENCE_ARGS_INIT;

    Everything() {
        stages[0].weights = w1.data();
        stages[0].weight_count = w1.size();
        stages[1].weights = w2.data();
        stages[1].weight_count = w2.size();
        stages[1].bias = b2.data();
        stages[1].bias_count = b2.size();
        weights = made<CWeights>(
            [&](auto out) { return tandem_kernel_pack(kernel.get(), stages, 2, nullptr, out); });
        REQUIRE((chain && context && kernel && weights && pool && profile));
    }
};

struct NullCall {
    const char* function;
    const char* pointer;  // its name in the error
    std::function<tandem_error*(Everything&)> call;
};

// The calls' variables are in Everything, `e`.
#define NULL_CALL(function, pointer, ...)                         \
    {                                                             \
#function, pointer, [](Everything & e) -> tandem_error* { \
            (void)e;                                              \
            return function(__VA_ARGS__);                         \
        }                                                         \
    }

float number;
double result;
std::int32_t integer;
std::int64_t long_integer;
std::size_t size;
const void* memory;
char* text;
alignas(64) char scratch[64];

std::vector<NullCall> value_calls() {
    return {
        NULL_CALL(tandem_data_type_parse, "text", nullptr, &integer),
        NULL_CALL(tandem_data_type_parse, "data_type", "f32", nullptr),
        NULL_CALL(tandem_round, "rounded", TANDEM_F32, 1.0f, nullptr),
        NULL_CALL(tandem_load_element, "tensor", TANDEM_F32, nullptr, 0, &number),
        NULL_CALL(tandem_load_element, "value", TANDEM_F32, &number, 0, nullptr),
        NULL_CALL(tandem_store_element, "tensor", TANDEM_F32, nullptr, 0, 1.0f),
        NULL_CALL(tandem_tensor_fill, "tensor", nullptr),
        NULL_CALL(tandem_tensor_index, "tensor", nullptr, 0, 0, 0, 0, &long_integer),
        NULL_CALL(tandem_tensor_index, "index", &e.tensor, 0, 0, 0, 0, nullptr),
        NULL_CALL(tandem_from_nchw, "tensor", nullptr, &number, 1, &number, 1),
        NULL_CALL(tandem_from_nchw, "nchw", &e.tensor, nullptr, 0, &number, 1),
        NULL_CALL(tandem_from_nchw, "out", &e.tensor, &number, 1, nullptr, 0),
        NULL_CALL(tandem_to_nchw, "tensor", nullptr, &number, 1, &number, 1),
        NULL_CALL(tandem_to_nchw, "in", &e.tensor, nullptr, 0, &number, 1),
        NULL_CALL(tandem_to_nchw, "nchw", &e.tensor, &number, 1, nullptr, 0),
        NULL_CALL(tandem_host_isas, "names", nullptr),
        NULL_CALL(tandem_host_isas_of, "names", TANDEM_F32, TANDEM_MATH_FAST, nullptr),
        NULL_CALL(tandem_isa_canonical, "isa", nullptr, &text),
        NULL_CALL(tandem_isa_canonical, "canonical", "avx2", nullptr),
        NULL_CALL(tandem_isa_includes, "isa", nullptr, "avx2", &integer),
        NULL_CALL(tandem_isa_includes, "other", "avx2", nullptr, &integer),
        NULL_CALL(tandem_isa_includes, "includes", "avx2", "avx2", nullptr),
        NULL_CALL(tandem_effort_parse, "text", nullptr, &integer),
        NULL_CALL(tandem_effort_parse, "effort", "measure", nullptr),
    };
}

tandem_chain* chain_out;
tandem_kernel* kernel_out;
tandem_weights* weights_out;
tandem_profile* profile_out;
tandem_observation* observation_out;

std::vector<NullCall> chain_calls() {
    return {
        NULL_CALL(tandem_chain_parse, "text", nullptr, &chain_out),
        NULL_CALL(tandem_chain_parse, "chain", "1x8x6x6:dw3", nullptr),
        NULL_CALL(tandem_chain_text, "chain", nullptr, &text),
        NULL_CALL(tandem_chain_text, "text", e.chain.get(), nullptr),
        NULL_CALL(tandem_chain_get_info, "chain", nullptr, nullptr),
        NULL_CALL(tandem_chain_get_info, "info", e.chain.get(), nullptr),
        NULL_CALL(tandem_chain_tensor, "chain", nullptr, TANDEM_INPUT, &e.tensor),
        NULL_CALL(tandem_chain_tensor, "tensor", e.chain.get(), TANDEM_INPUT, nullptr),
        NULL_CALL(tandem_chain_stage, "chain", nullptr, 0, &chain_out),
        NULL_CALL(tandem_chain_stage, "alone", e.chain.get(), 0, nullptr),
        NULL_CALL(tandem_code_get_info, "code", nullptr, nullptr),
        NULL_CALL(tandem_code_symbol, "code", nullptr, 0, nullptr),
        NULL_CALL(tandem_observe, "observer", nullptr, &observation_out),
        NULL_CALL(tandem_observe, "observation", nullptr, nullptr),
        NULL_CALL(tandem_profile_of_this_machine, "profile", nullptr),
        NULL_CALL(tandem_profile_measure, "profile", nullptr),
        NULL_CALL(tandem_profile_load, "path", nullptr, &profile_out),
        NULL_CALL(tandem_profile_load, "profile", "x", nullptr),
        NULL_CALL(tandem_profile_save, "profile", nullptr, "x"),
        NULL_CALL(tandem_profile_save, "path", e.profile.get(), nullptr),
        NULL_CALL(tandem_profile_source, "profile", nullptr, &text),
        NULL_CALL(tandem_profile_source, "source", e.profile.get(), nullptr),
        NULL_CALL(tandem_reference, "chain", nullptr, &e.reference, &result, 1),
        NULL_CALL(tandem_reference, "args", e.chain.get(), nullptr, &result, 1),
        NULL_CALL(tandem_reference, "output", e.chain.get(), &e.reference, nullptr, 1),
        NULL_CALL(tandem_reference, "stages", e.chain.get(), &e.reference, &result, 1),
    };
}

std::vector<NullCall> context_calls() {
    return {
        NULL_CALL(tandem_context_create, "context", nullptr, nullptr),
        NULL_CALL(tandem_context_shared, "context", nullptr),
        NULL_CALL(tandem_dispatch, "context", nullptr, e.chain.get(), nullptr, &kernel_out),
        NULL_CALL(tandem_dispatch, "chain", e.context.get(), nullptr, nullptr, &kernel_out),
        NULL_CALL(tandem_dispatch, "kernel", e.context.get(), e.chain.get(), nullptr, nullptr),
        NULL_CALL(tandem_prewarm, "context", nullptr, nullptr, 0, nullptr, 1),
        NULL_CALL(tandem_prewarm, "chains", e.context.get(), nullptr, 1, nullptr, 1),
        NULL_CALL(tandem_load_wisdom, "context", nullptr, nullptr),
        NULL_CALL(tandem_save_wisdom, "context", nullptr, nullptr),
        NULL_CALL(tandem_wisdom_notes, "context", nullptr, &text),
        NULL_CALL(tandem_wisdom_notes, "notes", e.context.get(), nullptr),
        NULL_CALL(tandem_get_cache_stats, "context", nullptr, nullptr),
        NULL_CALL(tandem_get_cache_stats, "stats", e.context.get(), nullptr),
        NULL_CALL(tandem_clear_cache, "context", nullptr),
        NULL_CALL(tandem_pool_create, "pool", nullptr, nullptr),
        NULL_CALL(tandem_pool_threads, "pool", nullptr, &integer),
        NULL_CALL(tandem_pool_threads, "threads", e.pool.get(), nullptr),
        NULL_CALL(tandem_pool_run, "pool", nullptr, e.kernel.get(), &e.args),
        NULL_CALL(tandem_pool_run, "kernel", e.pool.get(), nullptr, &e.args),
        NULL_CALL(tandem_pool_run, "args", e.pool.get(), e.kernel.get(), nullptr),
        NULL_CALL(
            tandem_pool_parallel, "pool", nullptr, [](void*, std::int32_t) {}, nullptr),
        NULL_CALL(tandem_pool_parallel, "function", e.pool.get(), nullptr, nullptr),
    };
}

std::vector<NullCall> kernel_calls() {
    return {
        NULL_CALL(tandem_kernel_copy, "kernel", nullptr, &kernel_out),
        NULL_CALL(tandem_kernel_copy, "copy", e.kernel.get(), nullptr),
        NULL_CALL(tandem_kernel_get_info, "kernel", nullptr, nullptr),
        NULL_CALL(tandem_kernel_get_info, "info", e.kernel.get(), nullptr),
        NULL_CALL(tandem_kernel_tensor, "kernel", nullptr, TANDEM_INPUT, &e.tensor),
        NULL_CALL(tandem_kernel_tensor, "tensor", e.kernel.get(), TANDEM_INPUT, nullptr),
        NULL_CALL(tandem_kernel_symbol, "kernel", nullptr, 0, nullptr),
        NULL_CALL(tandem_kernel_symbol, "symbol", e.kernel.get(), 0, nullptr),
        NULL_CALL(tandem_kernel_plan, "kernel", nullptr, &text),
        NULL_CALL(tandem_kernel_plan, "json", e.kernel.get(), nullptr),
        NULL_CALL(tandem_kernel_explain, "kernel", nullptr, &text),
        NULL_CALL(tandem_kernel_explain, "text", e.kernel.get(), nullptr),
        NULL_CALL(tandem_kernel_pack, "kernel", nullptr, e.stages, 2, nullptr, &weights_out),
        NULL_CALL(tandem_kernel_pack, "stages", e.kernel.get(), nullptr, 2, nullptr, &weights_out),
        NULL_CALL(tandem_kernel_pack, "weights", e.kernel.get(), e.stages, 2, nullptr, nullptr),
        NULL_CALL(tandem_weights_copy, "weights", nullptr, &weights_out),
        NULL_CALL(tandem_weights_copy, "copy", e.weights.get(), nullptr),
        NULL_CALL(tandem_weights_memory, "weights", nullptr, &memory, &size),
        NULL_CALL(tandem_weights_memory, "memory", e.weights.get(), nullptr, &size),
        NULL_CALL(tandem_weights_memory, "bytes", e.weights.get(), &memory, nullptr),
        NULL_CALL(tandem_kernel_call, "kernel", nullptr, &e.args),
        NULL_CALL(tandem_kernel_call, "args", e.kernel.get(), nullptr),
        NULL_CALL(tandem_kernel_call, "input", e.kernel.get(), &e.args),
        NULL_CALL(tandem_kernel_run, "kernel", nullptr, 0, 1, &e.args, scratch, sizeof scratch),
        NULL_CALL(tandem_kernel_run, "args", e.kernel.get(), 0, 1, nullptr, scratch, sizeof scratch),
        NULL_CALL(tandem_kernel_run_step, "kernel", nullptr, 0, 0, 1, &e.args, scratch, 64, scratch, 64),
        NULL_CALL(tandem_kernel_run_step, "args", e.kernel.get(), 0, 0, 1, nullptr, scratch, 64, scratch, 64),
    };
}

}  // namespace

TEST_CASE("C API: a null pointer is an error that names it, in every function") {
    Everything everything;
    std::set<std::string> called;
    for (const auto& calls : {value_calls(), chain_calls(), context_calls(), kernel_calls()})
        for (const NullCall& null : calls) {
            CAPTURE(null.function);
            const std::string message = said(null.call(everything));
            CHECK_MESSAGE(message.starts_with(std::string("invalid_argument: ") + null.pointer + " is null"),
                          message);
            called.insert(null.function);
        }
    for (const auto& [name, declaration] : c_header().functions)
        if (declaration.starts_with("tandem_error*")) CHECK_MESSAGE(called.contains(name), name);
}

TEST_CASE("C API: frees accept null, and so do the questions to an error") {
    tandem_error_free(nullptr);
    tandem_string_free(nullptr);
    tandem_chain_free(nullptr);
    tandem_context_free(nullptr);
    tandem_kernel_free(nullptr);
    tandem_weights_free(nullptr);
    tandem_pool_free(nullptr);
    tandem_profile_free(nullptr);
    tandem_observation_free(nullptr);
    CHECK(tandem_error_code(nullptr) == TANDEM_OK);
    CHECK(std::string(tandem_error_message(nullptr)) == "");
}
