#include "core/run/host_profile.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

#include "core/run/cache_directory.hpp"
#include "core/run/known_machines.hpp"
#include "core/run/machine_json.hpp"

namespace tandem {
namespace {

using FoundRates = Result<std::shared_ptr<const MeasuredRates>>;

std::optional<std::string> named_file() {
    const char* const path = std::getenv("TANDEM_MACHINE");
    return path ? std::optional<std::string>(path) : std::nullopt;
}

FoundRates rates_of_host() {
    const Result<Machine> host = host_machine();
    if (!host) return std::shared_ptr<const MeasuredRates>();
    return find_rates({.named = named_file(), .saved = saved_profile_path(*host)}, *host);
}

}  // namespace

bool same_kind(const Machine& a, const Machine& b) {
    return a.identity == b.identity && a.features == b.features && a.caches.l1 == b.caches.l1 &&
           a.caches.l2 == b.caches.l2 && a.core_kind == b.core_kind;
}

std::string saved_profile_path(const Machine& machine) {
    if (const std::optional<std::string> named = named_file(); named && named->empty()) return {};
    const std::string directory = cache_directory();
    if (directory.empty()) return {};
    const CpuIdentity& cpu = machine.identity;
    return fmt::format("{}/machine-{}-{}-{}-{}.json", directory, cpu.vendor, cpu.family, cpu.model,
                       cpu.stepping);
}

FoundRates find_rates(const ProfileSearch& search, const Machine& machine) {
    if (search.named && !search.named->empty()) {
        const Result<Machine> named = read_machine(*search.named);
        if (!named) return Error{named.error().code, "TANDEM_MACHINE: " + named.error().message};
        return named->measured;
    }
    if (!search.saved.empty() && std::filesystem::exists(search.saved)) {
        const Result<Machine> saved = read_machine(search.saved);
        if (saved && saved->measured && same_kind(*saved, machine)) return saved->measured;
    }
    return known_rates(machine);
}

Result<Machine> profiled_machine(std::optional<Isa> isa) {
    Result<Machine> machine = host_machine(isa);
    if (!machine) return machine;
    static const FoundRates found = rates_of_host();
    if (!found) return found.error();
    machine->measured = *found;
    return machine;
}

}  // namespace tandem
