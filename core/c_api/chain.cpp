// Chains and ISAs.
#include "core/c_api/handles.hpp"
#include "core/c_api/structs.hpp"
#include "core/c_api/tensors.hpp"
#include "core/plan/machine.hpp"

using namespace tandem;
using namespace tandem::c_api;

namespace {

std::string names_of(const std::vector<Isa>& isas) {
    std::vector<std::string> names;
    for (const Isa isa : isas)
        names.push_back(to_string(isa));
    return joined(names);
}

}  // namespace

tandem_error* tandem_host_isas(char** names) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"names", names}}); !status) return status;
        *names = nullptr;
        return give_text(names_of(host_isas()), names);
    });
}

tandem_error* tandem_host_isas_of(std::int32_t data_type, std::int32_t math, char** names) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"names", names}}); !status) return status;
        *names = nullptr;
        const Result<DataType> type = data_type_of(data_type);
        if (!type) return type.error();
        const Result<Math> mode = math_of(math);
        if (!mode) return mode.error();
        return give_text(names_of(host_isas(*type, *mode)), names);
    });
}

tandem_error* tandem_isa_canonical(const char* isa, char** canonical) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"canonical", canonical}}); !status) return status;
        *canonical = nullptr;
        if (Status status = check_given({{"isa", isa}}); !status) return status;
        const Result<Isa> parsed = parse_isa(isa);
        if (!parsed) return parsed.error();
        return give_text(to_string(*parsed), canonical);
    });
}

tandem_error* tandem_isa_includes(const char* isa, const char* other, std::int32_t* includes) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"isa", isa}, {"other", other}, {"includes", includes}}); !status)
            return status;
        const Result<Isa> all = parse_isa(isa), some = parse_isa(other);
        if (!all) return all.error();
        if (!some) return some.error();
        *includes = all->includes(*some) ? 1 : 0;
        return {};
    });
}

tandem_error* tandem_chain_parse(const char* text, tandem_chain** chain) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"chain", chain}}); !status) return status;
        *chain = nullptr;
        if (Status status = check_given({{"text", text}}); !status) return status;
        Result<ConvChain> parsed = ConvChain::parse(text);
        if (!parsed) return parsed.error();
        if (Status status = validate(*parsed); !status) return status;
        return give(chain, std::move(parsed));
    });
}

void tandem_chain_free(tandem_chain* chain) noexcept { delete chain; }

tandem_error* tandem_chain_text(const tandem_chain* chain, char** text) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"text", text}}); !status) return status;
        *text = nullptr;
        if (Status status = check_given({{"chain", chain}}); !status) return status;
        return give_text(to_string(chain->chain), text);
    });
}

tandem_error* tandem_chain_get_info(const tandem_chain* chain, tandem_chain_info* info) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"chain", chain}}); !status) return status;
        tandem_chain_info found = TANDEM_CHAIN_INFO_INIT;
        found.stages = chain->chain.conv_count;
        found.math = static_cast<std::int32_t>(chain->chain.math);
        found.input_factors = chain->chain.input.factors ? 1 : 0;
        found.quantized = is_quantized(chain->chain.dtype) ? 1 : 0;
        return write_struct("info", found, info);
    });
}

tandem_error* tandem_chain_tensor(const tandem_chain* chain, std::int32_t which,
                                  tandem_tensor* tensor) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"chain", chain}}); !status) return status;
        const Result<Problem> problem = make_problem(chain->chain);
        if (!problem) return problem.error();
        const Result<tandem_tensor> found = tensor_of(*problem, which);
        if (!found) return found.error();
        return write_struct("tensor", *found, tensor);
    });
}

tandem_error* tandem_chain_stage(const tandem_chain* chain, std::int32_t stage,
                                 tandem_chain** alone) noexcept {
    return guarded([&]() -> Status {
        if (Status status = check_given({{"alone", alone}}); !status) return status;
        *alone = nullptr;
        if (Status status = check_given({{"chain", chain}}); !status) return status;
        if (Status status = check_range("stage", stage, 0, chain->chain.conv_count - 1); !status)
            return status;
        return give(alone, Result<ConvChain>(stage_of(chain->chain, stage)));
    });
}
