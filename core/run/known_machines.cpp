#include "core/run/known_machines.hpp"

#include <fmt/format.h>

#include "core/plan/eternal.hpp"
#include "core/run/machine_json.hpp"

namespace tandem {
namespace {

struct KnownFile {
    const char *name, *text;
};
constexpr KnownFile files[] = {
#include "known_machines.inc"
    {nullptr, nullptr}};

}  // namespace

const std::vector<Machine>& known_machines() {
    static constinit Eternal<const std::vector<Machine>> machines;
    return machines.get([] {
        std::vector<Machine> read;
        for (const KnownFile& file : files)
            if (file.name != nullptr)
                if (Result<Machine> machine = machine_from_text(file.text, file.name)) {
                    MeasuredRates rates = machine->measured ? *machine->measured : MeasuredRates{};
                    rates.source = fmt::format("built in for {}: {}", file.name, rates.source);
                    machine->measured = std::make_shared<const MeasuredRates>(std::move(rates));
                    read.push_back(std::move(*machine));
                }
        return read;
    });
}

std::shared_ptr<const MeasuredRates> known_rates(const Machine& machine) {
    const auto same_family = [&](const Machine& known) {
        return known.identity.vendor == machine.identity.vendor &&
               known.identity.family == machine.identity.family && known.core_kind == machine.core_kind;
    };
    for (const Machine& known : known_machines())
        if (same_family(known) && known.identity.model == machine.identity.model) return known.measured;
    for (const Machine& known : known_machines())
        if (same_family(known) && known.features == machine.features &&
            known.caches.l1 == machine.caches.l1 && known.caches.l2 == machine.caches.l2)
            return known.measured;
    return nullptr;
}

}  // namespace tandem
