// The host is detected once per process, at the first question: the CPU does not change, and TANDEM_ISA is
// read then too (setting it later has no effect), so that a dispatch pays nothing for it.
#include "core/plan/machine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "core/plan/eternal.hpp"
#include "core/plan/isa_text.hpp"
#include "core/plan/machine_detail.hpp"
#include "core/plan/sysfs.hpp"

namespace tandem {

struct Host {
    std::optional<Isa> features{};
    std::vector<Isa> isas{};
    Machine machine{};  // its isa is the best of them
    bool withholds_amx = false;
    Result<Machine> chosen = Machine{};  // what TANDEM_ISA makes of it
};

namespace {

/// Measured on Emerald Rapids: a vdpbf16ps every 1.9 cycles, two FMAs a cycle. Cooper Lake (model 0x55),
/// the only earlier one of Intel's with the instruction, has it at the full rate, and so have AMD's.
bool has_slow_bf16(const CpuIdentity& cpu, Isa features) {
    constexpr int cooper_lake = 0x55;
    return cpu.vendor == "GenuineIntel" && has_bf16(features) && cpu.model != cooper_lake;
}

Result<Machine> machine_for(const Host& host, std::optional<Isa> asked,
                            std::optional<std::string_view> environment) {
    const Result<Isa> isa = choose_isa(asked, environment, host.features);
    if (!isa) return isa.error();
    Machine machine = host.machine;
    machine.isa = *isa;
    return machine;
}

/// A host with these features that is otherwise `machine`.
Host host_with(std::optional<Isa> features, const Machine& machine) {
    Host host;
    host.features = features;
    host.machine = machine;
    if (features) {
        host.isas = isas_of(*features);
        host.machine = machine_with(machine, host.isas.back());
        host.machine.features = *features;
    }
    const char* environment = std::getenv("TANDEM_ISA");
    host.chosen = machine_for(host, std::nullopt,
                              environment ? std::optional<std::string_view>(environment) : std::nullopt);
    return host;
}

Host detect_host() {
    const CpuQueries cpu = host_cpu();
    const int cpu_index = first_cpu();
    Machine machine;
    machine.caches = read_caches(fmt::format("/sys/devices/system/cpu/cpu{}", cpu_index));
    machine.cores = read_cores("/sys/devices/system/cpu");
    machine.core_kind = read_core_kind(cpu_index);
    machine.cpu_name = detect_name(cpu);
    machine.identity = detect_identity(cpu);
    Host host = host_with(detect_features(cpu), machine);
    host.withholds_amx = withholds_amx(cpu);
    return host;
}

const Host& detected_host() {
    static constinit Eternal<const Host> detected;
    return detected.get(detect_host);
}

std::atomic<const Host*> pretended{nullptr};

const Host& host() {
    const Host* const instead = pretended.load(std::memory_order_acquire);
    return instead ? *instead : detected_host();
}

}  // namespace

PretendedHost::PretendedHost(Isa features)
    : host_(std::make_unique<const Host>(host_with(features, detected_host().machine))) {
    pretended.store(host_.get(), std::memory_order_release);
}

PretendedHost::~PretendedHost() { pretended.store(nullptr, std::memory_order_release); }

Result<Isa> choose_isa(std::optional<Isa> asked, std::optional<std::string_view> environment,
                       std::optional<Isa> features) {
    if (!features)
        return Error{ErrorCode::unsupported,
                     "this machine has none of the ISAs that Tandem generates code for; it needs a CPU with "
                     "AVX2 and FMA and an operating system that saves the ymm registers"};
    const std::vector<Isa> available = isas_of(*features);
    const bool from_environment = !asked && environment && !environment->empty();
    if (from_environment) {
        asked = isa_named(*environment);
        if (!asked)
            return Error{ErrorCode::invalid_argument,
                         fmt::format("TANDEM_ISA is '{}', which is not known; accepted here: {}",
                                     *environment, list_of(available))};
    }
    if (!asked) return available.back();
    if (!features->includes(*asked))
        return Error{
            ErrorCode::unsupported,
            fmt::format(
                "{} is '{}', which this CPU or its operating system does not offer; accepted here: {}",
                from_environment ? "TANDEM_ISA" : "isa", to_string(*asked), list_of(available))};
    return *asked;
}

std::vector<Isa> isas_of(Isa features) {
    std::vector<Isa> isas;
    std::ranges::copy_if(isa_presets, std::back_inserter(isas),
                         [&](Isa preset) { return features.includes(preset); });
    // With AVX-512's own VNNI nobody asks for the other.
    const Isa best =
        has_vnni(features) && is_avx512(features) ? features.without(IsaFeature::avx_vnni) : features;
    if (std::ranges::find(isas, best) == isas.end()) isas.push_back(best);
    return isas;
}

Machine machine_with(Machine machine, Isa isa) {
    machine.isa = isa;
    machine.features = isa;
    machine.slow_bf16 = has_slow_bf16(machine.identity, isa);
    return machine;
}

const std::vector<Isa>& host_isas() { return host().isas; }

bool host_offers(Isa isa) { return host().features && host().features->includes(isa); }

bool os_withholds_amx() { return host().withholds_amx; }

std::vector<Isa> host_isas(DataType dtype, Math math) {
    std::vector<Isa> isas;
    for (const Isa isa : host_isas())
        if (const Isa least = least_isa(dtype, math, isa); std::ranges::find(isas, least) == isas.end())
            isas.push_back(least);
    return isas;
}

Isa least_isa(DataType dtype, Math math, Isa isa) noexcept {
    const Isa plain = isa & Isa::avx512;
    if (!is_avx512(isa)) {
        if (is_quantized(dtype)) return isa & Isa::avx2_vnni.with(IsaFeature::avx_vnni_int8);
        return dtype == DataType::f32 ? plain : isa & Isa::avx2.with(IsaFeature::avx_ne_convert);
    }
    if (dtype == DataType::f16) {
        const Isa vectors = math == Math::f16 && has_fp16(isa) ? isa & Isa::avx512_fp16 : plain;
        return isa.has(IsaFeature::amx_fp16) ? vectors.with(IsaFeature::amx_fp16) : vectors;
    }
    if (isa.has(is_quantized(dtype) ? IsaFeature::amx_int8 : IsaFeature::amx_bf16)) return isa & Isa::amx;
    if (is_quantized(dtype)) return has_vnni(isa) ? isa & Isa::avx512_vnni.with(IsaFeature::vbmi) : plain;
    const bool bf16 = dtype == DataType::bf16 || math == Math::bf16;
    return bf16 && has_bf16(isa) ? isa & Isa::avx512_bf16 : plain;
}

const Result<Machine>& default_machine() { return host().chosen; }

Result<Machine> host_machine(std::optional<Isa> isa) {
    return isa ? machine_for(host(), isa, std::nullopt) : default_machine();
}

Machine imagined_machine(Isa isa) { return machine_with(host().machine, isa); }

}  // namespace tandem
