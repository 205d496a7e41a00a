// The reference.
#include "tandem/reference.hpp"

#include <algorithm>

#include "core/c_api/handles.hpp"
#include "core/c_api/kernel.hpp"
#include "core/c_api/structs.hpp"
#include "core/c_api/tensors.hpp"

using namespace tandem;
using namespace tandem::c_api;

namespace {

/// All but the stages.
Status read_reference_args(const tandem_reference_args& from, ReferenceArgs& to) {
    const auto input = array_of("args->input", from.input, from.input_count);
    if (!input) return input.error();
    to.input = *input;
    for (std::size_t i = 0; i < max_stages; ++i) {
        const std::string name = "args->residual[" + std::to_string(i) + "]";
        const auto residual = array_of(name.c_str(), from.residual[i], from.residual_count[i]);
        if (!residual) return residual.error();
        to.residual[i] = *residual;
    }
    const auto factors = array_of("args->input_factors", from.input_factors, from.input_factor_count);
    if (!factors) return factors.error();
    to.input_factors = *factors;
    to.input_quantization = quantization_of(from.input_scale, from.input_zero_point);
    return {};
}

}  // namespace

tandem_error* tandem_reference(const tandem_chain* chain, const tandem_reference_args* args, double* output,
                               std::size_t output_count) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"chain", chain}, {"output", output}}); !status) return status;
        tandem_reference_args read;
        if (Status status = read_struct("args", args, read); !status) return status;
        const auto stages = read_stages(read.stages, read.stage_count);
        if (!stages) return stages.error();
        ReferenceArgs called{.input = {}, .stages = *stages};
        if (Status status = read_reference_args(read, called); !status) return status;
        const Result<std::vector<double>> result = reference(chain->chain, called);
        if (!result) return result.error();
        if (output_count != result->size())
            return Error{ErrorCode::buffer_too_small, "output_count is " + std::to_string(output_count) +
                                                          "; " + std::to_string(result->size()) +
                                                          " is accepted."};
        std::ranges::copy(*result, output);
        return {};
    });
}
