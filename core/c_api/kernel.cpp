#include "core/c_api/kernel.hpp"

#include "core/c_api/code.hpp"
#include "core/c_api/handles.hpp"
#include "core/c_api/structs.hpp"
#include "core/c_api/tensors.hpp"
#include "core/run/kernel_code.hpp"
#include "core/run/plan_json.hpp"

#include <nlohmann/json.hpp>

using namespace tandem;
using namespace tandem::c_api;

static_assert(TANDEM_MAX_STAGES == max_stages);

namespace tandem::c_api {
namespace {

template <class T>
Status read_array(const char* name, const T* elements, std::size_t count, std::span<const T>& to) {
    const Result<std::span<const T>> array = array_of(name, elements, count);
    if (!array) return array.error();
    to = *array;
    return {};
}

Status read_stage(const tandem_stage_weights& from, StageWeights& to) {
    to.output = quantization_of(from.output_scale, from.output_zero_point);
    to.residual = quantization_of(from.residual_scale, from.residual_zero_point);
    Status status = read_array("weights", from.weights, from.weight_count, to.weights);
    if (status) status = read_array("bias", from.bias, from.bias_count, to.bias);
    if (status) status = read_array("prelu", from.prelu, from.prelu_count, to.prelu);
    if (status) status = read_array("scale", from.scale, from.scale_count, to.scale);
    if (status)
        status = read_array("quantized_weights", from.quantized_weights, from.quantized_weight_count,
                            to.quantized_weights);
    if (status)
        status = read_array("weight_scales", from.weight_scales, from.weight_scale_count, to.weight_scales);
    return status;
}

}  // namespace

Status read_args(const tandem_args* args, Args& to) {
    tandem_args read;
    if (Status status = read_struct("args", args, read); !status) return status;
    to.input = read.input;
    to.output = read.output;
    to.weights = read.weights ? &read.weights->weights : nullptr;
    to.input_bytes = read.input_bytes;
    to.output_bytes = read.output_bytes;
    for (std::size_t i = 0; i < max_stages; ++i) {
        to.residual[i] = read.residual[i];
        to.residual_bytes[i] = read.residual_bytes[i];
    }
    to.input_factors = read.input_factors;
    to.input_factors_bytes = read.input_factors_bytes;
    const auto next = array_of("args->next", static_cast<const std::byte*>(read.next), read.next_bytes);
    if (!next) return next.error();
    to.next = *next;
    return {};
}

Result<std::vector<StageWeights>> read_stages(const tandem_stage_weights* stages, std::size_t count) {
    if (Status status = check_given({{"stages", stages}}); !status) return status.error();
    if (count < 1 || count > max_stages)
        return not_accepted("stage_count", static_cast<std::int64_t>(count), "1 to 4 is");
    std::vector<StageWeights> result(count);
    for (std::size_t i = 0; i < count; ++i) {
        const std::string name = "stages[" + std::to_string(i) + "]";
        const auto* const at = reinterpret_cast<const tandem_stage_weights*>(
            reinterpret_cast<const char*>(stages) + i * stages->struct_size);
        // Before the rest of it is read: the array is as long as the first one's size says.
        if (at->struct_size != stages->struct_size)
            return not_accepted((name + ".struct_size").c_str(), static_cast<std::int64_t>(at->struct_size),
                                "that of stages[0] is");
        tandem_stage_weights stage;
        if (Status status = read_struct(name.c_str(), at, stage); !status) return status.error();
        if (Status status = read_stage(stage, result[i]); !status)
            return Error{status.error().code, name + ": " + status.error().message};
    }
    return result;
}

}  // namespace tandem::c_api

tandem_error* tandem_kernel_copy(const tandem_kernel* kernel, tandem_kernel** copy) noexcept {
    return copied("kernel", kernel, copy);
}

void tandem_kernel_free(tandem_kernel* kernel) noexcept { delete kernel; }

tandem_error* tandem_kernel_get_info(const tandem_kernel* kernel, tandem_kernel_info* info) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"kernel", kernel}}); !status) return status;
        const Kernel& from = kernel->kernel;
        tandem_kernel_info found = TANDEM_KERNEL_INFO_INIT;
        found.name = from.name().c_str();
        found.code = from.code().data();
        found.code_bytes = from.code().size();
        found.symbol_count = from.symbols().size();
        found.scratch_bytes = from.scratch_bytes();
        found.shared_bytes = from.shared_bytes();
        found.tiles = from.tiles();
        found.steps = from.steps();
        found.fused = from.fused() ? 1 : 0;
        return write_struct("info", found, info);
    });
}

tandem_error* tandem_kernel_tensor(const tandem_kernel* kernel, std::int32_t which,
                                   tandem_tensor* tensor) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"kernel", kernel}}); !status) return status;
        const Result<tandem_tensor> found = tensor_of(kernel->kernel.impl()->problem, which);
        if (!found) return found.error();
        return write_struct("tensor", *found, tensor);
    });
}

tandem_error* tandem_kernel_symbol(const tandem_kernel* kernel, std::size_t index,
                                   tandem_symbol* symbol) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"kernel", kernel}}); !status) return status;
        return write_symbol(kernel->kernel.symbols(), index, symbol);
    });
}

tandem_error* tandem_kernel_plan(const tandem_kernel* kernel, char** json) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"json", json}}); !status) return status;
        *json = nullptr;
        if (Status status = check_given({{"kernel", kernel}}); !status) return status;
        return give_text(plan_to_json(kernel->kernel.plan()).dump(), json);
    });
}

tandem_error* tandem_kernel_explain(const tandem_kernel* kernel, char** text) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"text", text}}); !status) return status;
        *text = nullptr;
        if (Status status = check_given({{"kernel", kernel}}); !status) return status;
        return give_text(kernel->kernel.explain(), text);
    });
}

tandem_error* tandem_kernel_pack(const tandem_kernel* kernel, const tandem_stage_weights* stages,
                                 std::size_t stage_count, const tandem_quantization* input,
                                 tandem_weights** weights) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"weights", weights}}); !status) return status;
        *weights = nullptr;
        if (Status status = check_given({{"kernel", kernel}}); !status) return status;
        const auto read = read_stages(stages, stage_count);
        if (!read) return read.error();
        tandem_quantization quantization;
        if (Status status = read_options("input", input, quantization); !status) return status;
        return give(weights,
                    kernel->kernel.pack(*read, quantization_of(quantization.scale, quantization.zero_point)));
    });
}

tandem_error* tandem_weights_copy(const tandem_weights* weights, tandem_weights** copy) noexcept {
    return copied("weights", weights, copy);
}

void tandem_weights_free(tandem_weights* weights) noexcept { delete weights; }

tandem_error* tandem_weights_memory(const tandem_weights* weights, const void** memory,
                                    std::size_t* bytes) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"weights", weights}, {"memory", memory}, {"bytes", bytes}});
            !status)
            return status;
        const std::span<const std::byte> found = weights->weights.memory();
        *memory = found.data();
        *bytes = found.size();
        return {};
    });
}

tandem_error* tandem_kernel_call(const tandem_kernel* kernel, const tandem_args* args) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"kernel", kernel}}); !status) return status;
        Args read;
        if (Status status = read_args(args, read); !status) return status;
        return kernel->kernel(read);
    });
}

tandem_error* tandem_kernel_run(const tandem_kernel* kernel, std::int32_t part, std::int32_t nparts,
                                const tandem_args* args, void* scratch, std::size_t scratch_bytes) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"kernel", kernel}}); !status) return status;
        Args read;
        if (Status status = read_args(args, read); !status) return status;
        return kernel->kernel.run(part, nparts, read, {static_cast<std::byte*>(scratch), scratch_bytes});
    });
}

tandem_error* tandem_kernel_run_step(const tandem_kernel* kernel, std::int32_t step, std::int32_t part,
                                     std::int32_t nparts, const tandem_args* args, void* scratch,
                                     std::size_t scratch_bytes, void* shared,
                                     std::size_t shared_bytes) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"kernel", kernel}}); !status) return status;
        Args read;
        if (Status status = read_args(args, read); !status) return status;
        return kernel->kernel.run_step(step, part, nparts, read,
                                       {static_cast<std::byte*>(scratch), scratch_bytes},
                                       {static_cast<std::byte*>(shared), shared_bytes});
    });
}
