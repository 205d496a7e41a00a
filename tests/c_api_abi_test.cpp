// The C API's binary interface, which programs built with older headers rely on: what is exported, with which
// parameters, what the constants are, and where the fields of structs lie. TANDEM_BLESS=1 rewrites the lists.
#include "support/doctest.hpp"

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <regex>
#include <set>

#include <fmt/format.h>

#include "support/c_header.hpp"
#include "support/source_text.hpp"
#include "tandem/tandem.h"

using namespace tandem::test;

extern "C" std::size_t tandem_test_initializers(void);

namespace {

struct Field {
    std::string name;
    std::size_t offset, size;
};

struct Struct {
    std::string name;
    std::size_t size;
    std::vector<Field> fields;
};

#define TANDEM_FIELD(type, field) \
    { #field, offsetof(type, field), sizeof(type::field) }

// Structs of data alone.
std::vector<Struct> small_structs() {
    return {
        {"tandem_quantization",
         sizeof(tandem_quantization),
         {TANDEM_FIELD(tandem_quantization, struct_size), TANDEM_FIELD(tandem_quantization, scale),
          TANDEM_FIELD(tandem_quantization, zero_point)}},
        {"tandem_tensor",
         sizeof(tandem_tensor),
         {TANDEM_FIELD(tandem_tensor, struct_size), TANDEM_FIELD(tandem_tensor, n),
          TANDEM_FIELD(tandem_tensor, c), TANDEM_FIELD(tandem_tensor, h), TANDEM_FIELD(tandem_tensor, w),
          TANDEM_FIELD(tandem_tensor, data_type), TANDEM_FIELD(tandem_tensor, layout),
          TANDEM_FIELD(tandem_tensor, pixel_stride), TANDEM_FIELD(tandem_tensor, row_stride),
          TANDEM_FIELD(tandem_tensor, block_stride), TANDEM_FIELD(tandem_tensor, image_stride),
          TANDEM_FIELD(tandem_tensor, elements), TANDEM_FIELD(tandem_tensor, bytes)}},
        {"tandem_chain_info",
         sizeof(tandem_chain_info),
         {TANDEM_FIELD(tandem_chain_info, struct_size), TANDEM_FIELD(tandem_chain_info, stages),
          TANDEM_FIELD(tandem_chain_info, math), TANDEM_FIELD(tandem_chain_info, input_factors),
          TANDEM_FIELD(tandem_chain_info, quantized)}},
        {"tandem_pool_options",
         sizeof(tandem_pool_options),
         {TANDEM_FIELD(tandem_pool_options, struct_size), TANDEM_FIELD(tandem_pool_options, threads),
          TANDEM_FIELD(tandem_pool_options, pinning)}},
        {"tandem_cache_stats",
         sizeof(tandem_cache_stats),
         {TANDEM_FIELD(tandem_cache_stats, struct_size), TANDEM_FIELD(tandem_cache_stats, hits),
          TANDEM_FIELD(tandem_cache_stats, misses), TANDEM_FIELD(tandem_cache_stats, evictions),
          TANDEM_FIELD(tandem_cache_stats, failures), TANDEM_FIELD(tandem_cache_stats, entries),
          TANDEM_FIELD(tandem_cache_stats, code_bytes), TANDEM_FIELD(tandem_cache_stats, emission_seconds)}},
    };
}

std::vector<Struct> code_structs() {
    return {
        {"tandem_symbol",
         sizeof(tandem_symbol),
         {TANDEM_FIELD(tandem_symbol, struct_size), TANDEM_FIELD(tandem_symbol, offset),
          TANDEM_FIELD(tandem_symbol, size), TANDEM_FIELD(tandem_symbol, name),
          TANDEM_FIELD(tandem_symbol, kind), TANDEM_FIELD(tandem_symbol, reserved)}},
        {"tandem_code_info",
         sizeof(tandem_code_info),
         {TANDEM_FIELD(tandem_code_info, struct_size), TANDEM_FIELD(tandem_code_info, code),
          TANDEM_FIELD(tandem_code_info, code_bytes), TANDEM_FIELD(tandem_code_info, symbol_count),
          TANDEM_FIELD(tandem_code_info, name), TANDEM_FIELD(tandem_code_info, name_bytes)}},
        {"tandem_code_observer",
         sizeof(tandem_code_observer),
         {TANDEM_FIELD(tandem_code_observer, struct_size), TANDEM_FIELD(tandem_code_observer, user),
          TANDEM_FIELD(tandem_code_observer, created), TANDEM_FIELD(tandem_code_observer, released),
          TANDEM_FIELD(tandem_code_observer, destroyed)}},
        {"tandem_kernel_info",
         sizeof(tandem_kernel_info),
         {TANDEM_FIELD(tandem_kernel_info, struct_size), TANDEM_FIELD(tandem_kernel_info, name),
          TANDEM_FIELD(tandem_kernel_info, code), TANDEM_FIELD(tandem_kernel_info, code_bytes),
          TANDEM_FIELD(tandem_kernel_info, symbol_count), TANDEM_FIELD(tandem_kernel_info, scratch_bytes),
          TANDEM_FIELD(tandem_kernel_info, shared_bytes), TANDEM_FIELD(tandem_kernel_info, tiles),
          TANDEM_FIELD(tandem_kernel_info, steps), TANDEM_FIELD(tandem_kernel_info, fused)}},
    };
}

std::vector<Struct> option_structs() {
    return {
        {"tandem_context_options",
         sizeof(tandem_context_options),
         {TANDEM_FIELD(tandem_context_options, struct_size),
          TANDEM_FIELD(tandem_context_options, cache_capacity),
          TANDEM_FIELD(tandem_context_options, cache_bytes), TANDEM_FIELD(tandem_context_options, profile),
          TANDEM_FIELD(tandem_context_options, observer),
          TANDEM_FIELD(tandem_context_options, measure_machine),
          TANDEM_FIELD(tandem_context_options, reserved)}},
        {"tandem_dispatch_options",
         sizeof(tandem_dispatch_options),
         {TANDEM_FIELD(tandem_dispatch_options, struct_size), TANDEM_FIELD(tandem_dispatch_options, isa),
          TANDEM_FIELD(tandem_dispatch_options, plan), TANDEM_FIELD(tandem_dispatch_options, threads),
          TANDEM_FIELD(tandem_dispatch_options, effort)}},
    };
}

std::vector<Struct> call_structs() {
    return {
        {"tandem_args",
         sizeof(tandem_args),
         {TANDEM_FIELD(tandem_args, struct_size), TANDEM_FIELD(tandem_args, input),
          TANDEM_FIELD(tandem_args, output), TANDEM_FIELD(tandem_args, weights),
          TANDEM_FIELD(tandem_args, residual), TANDEM_FIELD(tandem_args, input_bytes),
          TANDEM_FIELD(tandem_args, output_bytes), TANDEM_FIELD(tandem_args, residual_bytes),
          TANDEM_FIELD(tandem_args, input_factors), TANDEM_FIELD(tandem_args, input_factors_bytes),
          TANDEM_FIELD(tandem_args, next), TANDEM_FIELD(tandem_args, next_bytes)}},
        {"tandem_stage_weights",
         sizeof(tandem_stage_weights),
         {TANDEM_FIELD(tandem_stage_weights, struct_size), TANDEM_FIELD(tandem_stage_weights, weights),
          TANDEM_FIELD(tandem_stage_weights, weight_count), TANDEM_FIELD(tandem_stage_weights, bias),
          TANDEM_FIELD(tandem_stage_weights, bias_count), TANDEM_FIELD(tandem_stage_weights, prelu),
          TANDEM_FIELD(tandem_stage_weights, prelu_count), TANDEM_FIELD(tandem_stage_weights, scale),
          TANDEM_FIELD(tandem_stage_weights, scale_count),
          TANDEM_FIELD(tandem_stage_weights, quantized_weights),
          TANDEM_FIELD(tandem_stage_weights, quantized_weight_count),
          TANDEM_FIELD(tandem_stage_weights, weight_scales),
          TANDEM_FIELD(tandem_stage_weights, weight_scale_count),
          TANDEM_FIELD(tandem_stage_weights, output_scale),
          TANDEM_FIELD(tandem_stage_weights, output_zero_point),
          TANDEM_FIELD(tandem_stage_weights, residual_scale),
          TANDEM_FIELD(tandem_stage_weights, residual_zero_point)}},
        {"tandem_reference_args",
         sizeof(tandem_reference_args),
         {TANDEM_FIELD(tandem_reference_args, struct_size), TANDEM_FIELD(tandem_reference_args, input),
          TANDEM_FIELD(tandem_reference_args, input_count), TANDEM_FIELD(tandem_reference_args, stages),
          TANDEM_FIELD(tandem_reference_args, stage_count), TANDEM_FIELD(tandem_reference_args, residual),
          TANDEM_FIELD(tandem_reference_args, residual_count),
          TANDEM_FIELD(tandem_reference_args, input_factors),
          TANDEM_FIELD(tandem_reference_args, input_factor_count),
          TANDEM_FIELD(tandem_reference_args, input_scale),
          TANDEM_FIELD(tandem_reference_args, input_zero_point)}},
    };
}

std::vector<Struct> all_structs() {
    std::vector<Struct> all;
    for (const auto& some : {small_structs(), code_structs(), option_structs(), call_structs()})
        all.insert(all.end(), some.begin(), some.end());
    return all;
}

/// `text` is what the file in tests/c_api/ has; or is written there.
void check_list(const std::string& name, const std::string& text) {
    const std::string path = fmt::format("{}/tests/c_api/{}", TANDEM_SOURCE_DIR, name);
    if (std::getenv("TANDEM_BLESS") != nullptr) std::ofstream(path) << text;
    CHECK_MESSAGE(
        read_text(path) == text,
        "if this is meant: TANDEM_BLESS=1 tandem_tests -sf='*/c_api_abi_test*', and mind that what is "
        "in the list stays");
}

/// The global functions called tandem_... that the library defines.
std::set<std::string> exported() {
    std::set<std::string> names;
    const std::string command =
        fmt::format("nm {} --defined-only '{}' 2>/dev/null",
                    std::string(TANDEM_LIBRARY).ends_with(".a") ? "-g" : "-D", TANDEM_LIBRARY);
    FILE* const pipe = popen(command.c_str(), "r");
    if (pipe == nullptr) return names;
    char line[4096];
    while (std::fgets(line, sizeof line, pipe) != nullptr) {
        const std::string text = line;
        const std::size_t at = text.find(" T tandem_");
        if (at != std::string::npos) names.insert(text.substr(at + 3, text.find_first_of("@\n") - at - 3));
    }
    pclose(pipe);
    return names;
}

}  // namespace

TEST_CASE("C ABI: functions are those of the list, and the library has just these") {
    std::string text;
    std::set<std::string> names;
    for (const auto& [name, declaration] : c_header().functions) {
        text += std::regex_replace(declaration, std::regex(", "), ",\n    ") + "\n";
        names.insert(name);
    }
    CHECK(names.size() > 60);
    check_list("symbols.txt", text);
    CHECK(exported() == names);
}

TEST_CASE("C ABI: constants and the places of fields are those of the list") {
    std::string text;
    for (const std::string& constant : c_header().constants)
        text += constant + "\n";
    std::size_t sizes = 0;
    for (const Struct& type : all_structs()) {
        sizes += type.size;
        text += fmt::format("struct {}: {} bytes\n", type.name, type.size);
        std::vector<std::string> fields;
        for (const Field& field : type.fields) {
            fields.push_back(field.name);
            text += fmt::format("  {} {}: {} bytes\n", field.offset, field.name, field.size);
        }
        CAPTURE(type.name);
        REQUIRE(c_header().structs.contains(type.name));
        CHECK(c_header().structs.at(type.name) == fields);
    }
    CHECK(c_header().structs.size() == all_structs().size());
    CHECK(tandem_test_initializers() == sizes);
    check_list("layouts.txt", text);
}
