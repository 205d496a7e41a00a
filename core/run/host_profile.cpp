#include "core/run/host_profile.hpp"

#include <fmt/format.h>

#include <cstdlib>

#include "core/plan/eternal.hpp"
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
    if (host_isas().empty()) return std::shared_ptr<const MeasuredRates>();
    const Result<Machine> host = host_machine(host_isas().back());  // whatever TANDEM_ISA says
    if (!host) return std::shared_ptr<const MeasuredRates>();
    return find_rates({.named = named_file(), .saved = saved_profile_path(*host)}, *host);
}

// Widths that were not measured are filled in from what is known of the kind.
std::shared_ptr<const MeasuredRates> completed(const std::shared_ptr<const MeasuredRates>& rates,
                                               const std::shared_ptr<const MeasuredRates>& known) {
    if (!rates || !known || (rates->ymm && rates->zmm)) return rates ? rates : known;
    MeasuredRates both = *rates;
    if (!both.ymm) both.ymm = known->ymm;
    if (!both.zmm) both.zmm = known->zmm;
    return std::make_shared<const MeasuredRates>(std::move(both));
}

}  // namespace

bool same_kind(const Machine& a, const Machine& b) {
    return a.identity == b.identity && a.features == b.features && a.caches.l1 == b.caches.l1 &&
           a.caches.l2 == b.caches.l2 && a.caches.l3 == b.caches.l3 && a.core_kind == b.core_kind;
}

std::string saved_profile_path(const Machine& machine) {
    if (const std::optional<std::string> named = named_file(); named && named->empty()) return {};
    const std::string directory = cache_directory();
    if (directory.empty()) return {};
    const CpuIdentity& cpu = machine.identity;
    return fmt::format("{}/machine-{}-{}-{}-{}{}{}.json", directory, cpu.vendor, cpu.family, cpu.model,
                       cpu.stepping, machine.core_kind.empty() ? "" : "-", machine.core_kind);
}

FoundRates find_rates(const ProfileSearch& search, const Machine& machine) {
    const std::shared_ptr<const MeasuredRates> known = known_rates(machine);
    if (search.named && !search.named->empty()) {
        const Result<Machine> named = read_machine(*search.named);
        if (!named) return Error{named.error().code, "TANDEM_MACHINE: " + named.error().message};
        if (!named->measured || !(named->measured->ymm || named->measured->zmm))
            return Error{
                ErrorCode::invalid_argument,
                fmt::format("TANDEM_MACHINE: {} has no \"rates\"; a file as tandem cpu --json writes it is "
                            "accepted.",
                            *search.named)};
        return completed(named->measured, known);
    }
    if (search.saved.empty()) return known;
    const Result<Machine> saved = read_machine(search.saved);
    return saved && same_kind(*saved, machine) ? completed(saved->measured, known) : known;
}

Result<Machine> profiled_machine(std::optional<Isa> isa) {
    Result<Machine> machine = host_machine(isa);
    if (!machine) return machine;
    static constinit Eternal<const FoundRates> rates;
    const FoundRates& found = rates.get(rates_of_host);
    if (!found) return found.error();
    machine->measured = *found;
    return machine;
}

}  // namespace tandem
