#include "core/run/wisdom.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <tuple>

#include "core/run/cache_directory.hpp"
#include "core/run/json_reader.hpp"
#include "core/run/plan_json.hpp"

namespace tandem {
namespace {

constexpr int format_version = 1;

std::string dump(const Json& json, int indent = -1) {
    return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

Json entry_to_json(const WisdomEntry& entry) {
    const WisdomKey& key = entry.key;
    return {{"problem", key.problem},
            {"isa", to_string(key.isa)},
            {"threads", key.threads},
            {"cpu", key.cpu},
            {"core_kind", key.core_kind},
            {"l1", key.l1},
            {"l2", key.l2},
            {"l3", key.l3},
            {"emitter", key.emitter},
            {"plan", plan_to_json(entry.plan)},
            {"microseconds", entry.microseconds},
            {"ratio", entry.ratio},
            {"effort", to_string(entry.effort)},
            {"date", entry.date}};
}

Result<WisdomEntry> checked(WisdomEntry entry) {
    const auto reject = [](const char* field, auto value, const char* accepted) {
        return Error{ErrorCode::parse_error, fmt::format("{} is {}; {} accepted.", field, value, accepted)};
    };
    if (entry.key.threads < 1) return reject("threads", entry.key.threads, "1 or more is");
    if (!(entry.microseconds > 0) || !std::isfinite(entry.microseconds))
        return reject("microseconds", entry.microseconds, "a positive number is");
    if (!(entry.ratio > 0) || !std::isfinite(entry.ratio))
        return reject("ratio", entry.ratio, "a positive number is");
    if (entry.plan.isa != entry.key.isa)
        return reject("plan.isa", to_string(entry.plan.isa), "the entry's own isa is");
    return entry;
}

Result<WisdomEntry> read_entry(const Json& json) {
    WisdomEntry entry;
    WisdomKey& key = entry.key;
    std::string isa, effort;
    ObjectReader reader(json, "entry");
    const auto read = [&](const char* name, auto& value) {
        if (const Json* const member = reader.member(name)) reader.fail(read_value(name, *member, value));
    };
    read("problem", key.problem);
    read("threads", key.threads);
    read("cpu", key.cpu);
    read("core_kind", key.core_kind);
    read("l1", key.l1);
    read("l2", key.l2);
    read("l3", key.l3);
    read("emitter", key.emitter);
    read("microseconds", entry.microseconds);
    read("ratio", entry.ratio);
    read("date", entry.date);
    read("isa", isa);
    read("effort", effort);
    const Json* const plan_json = reader.member("plan");
    if (const Status status = reader.so_far(); !status) return status.error();
    const Result<Isa> parsed_isa = parse_isa(isa);
    if (!parsed_isa) return parsed_isa.error();
    key.isa = *parsed_isa;
    const Result<Effort> parsed_effort = parse_effort(effort);
    if (!parsed_effort) return parsed_effort.error();
    entry.effort = *parsed_effort;
    const Result<Plan> plan = plan_from_json(*plan_json);
    if (!plan) return plan.error();
    entry.plan = *plan;
    return checked(std::move(entry));
}

// The entries of a file of our format.
Result<const Json*> entries_of(const Json& file, const std::string& source) {
    const auto wrong = [&](const std::string& what) {
        return Error{ErrorCode::parse_error, fmt::format("{} is not a wisdom file: {}.", source, what)};
    };
    if (!file.is_object()) return wrong("it does not hold an object");
    const auto format = file.find("format");
    if (format == file.end()) return wrong("the member \"format\" is missing");
    if (*format != Json(format_version))
        return wrong(fmt::format("\"format\" is {}; {} is accepted", dump(*format), format_version));
    const auto entries = file.find("entries");
    if (entries == file.end() || !entries->is_array())
        return wrong("the member \"entries\" is missing or no list");
    return &*entries;
}

// Larger is better; whatever comes after the date only makes the choice independent of the order.
auto rank(const WisdomEntry& entry) {
    return std::tuple(entry.effort, entry.ratio, entry.date, -entry.microseconds, to_string(entry.plan));
}

std::string cache_text(std::size_t l1, std::size_t l2, std::size_t l3) {
    return fmt::format("{}/{}/{} KB", l1 / 1024, l2 / 1024, l3 / 1024);
}

}  // namespace

std::string cpu_text(const Machine& machine) {
    const CpuIdentity& cpu = machine.identity;
    return fmt::format("{} family {} model {} stepping {}, {}", cpu.vendor, cpu.family, cpu.model,
                       cpu.stepping, to_string(machine.features));
}

WisdomKey wisdom_key(const Problem& problem, const Machine& machine, int threads) {
    Problem one = problem;
    one.input.n = 1;
    return {one.name(),        machine.isa,       threads,           cpu_text(machine), machine.core_kind,
            machine.caches.l1, machine.caches.l2, machine.caches.l3, emitter_version};
}

std::optional<std::string> why_unused(const WisdomEntry& entry, const Machine& machine) {
    const WisdomKey& key = entry.key;
    const CacheSizes& caches = machine.caches;
    if (key.emitter != emitter_version)
        return fmt::format("stale: emitter version {}, this is {}", key.emitter, emitter_version);
    if (key.cpu != cpu_text(machine) && key.cpu != machine.cpu_name)
        return fmt::format("foreign: measured on '{}', this is '{}'", key.cpu, cpu_text(machine));
    if (key.core_kind != machine.core_kind)
        return fmt::format("foreign: core kind '{}', this is '{}'", key.core_kind, machine.core_kind);
    if (std::tuple(key.l1, key.l2, key.l3) != std::tuple(caches.l1, caches.l2, caches.l3))
        return fmt::format("foreign: caches of {}, here {}", cache_text(key.l1, key.l2, key.l3),
                           cache_text(caches.l1, caches.l2, caches.l3));
    return std::nullopt;
}

Result<Wisdom> Wisdom::parse(std::string_view text, const std::string& source) {
    const Result<Json> file = parse_json(text, source);
    if (!file) return file.error();
    const Result<const Json*> entries = entries_of(*file, source);
    if (!entries) return entries.error();
    Wisdom wisdom;
    for (std::size_t i = 0; i < (*entries)->size(); ++i) {
        const Json& json = (**entries)[i];
        Result<WisdomEntry> entry = read_entry(json);
        if (entry) {
            wisdom.add(std::move(*entry));
        } else {
            wisdom.reasons_.push_back(fmt::format("{}, entry {}: {}", source, i + 1, entry.error().message));
            wisdom.bad_entries_.push_back(dump(json));
        }
    }
    return wisdom;
}

std::string Wisdom::to_text() const {
    std::string text = fmt::format("{{\"format\": {}, \"entries\": [", format_version);
    const char* separator = "\n";
    const auto append = [&](const std::string& line) {
        text += separator + line;
        separator = ",\n";
    };
    for (const auto& [key, entry] : entries_)
        append(dump(entry_to_json(entry)));
    for (const std::string& entry : bad_entries_)
        append(entry);
    return text + "\n]}\n";
}

const WisdomEntry* Wisdom::find(const WisdomKey& key) const {
    const auto found = entries_.find(key);
    return found == entries_.end() ? nullptr : &found->second;
}

void Wisdom::add(WisdomEntry entry) {
    const auto [slot, added] = entries_.try_emplace(entry.key, entry);
    if (!added && rank(slot->second) < rank(entry)) slot->second = std::move(entry);
}

void Wisdom::merge(const Wisdom& other) {
    for (const auto& [key, entry] : other.entries_)
        add(entry);
    for (std::size_t i = 0; i < other.bad_entries_.size(); ++i) {
        if (std::find(bad_entries_.begin(), bad_entries_.end(), other.bad_entries_[i]) != bad_entries_.end())
            continue;
        bad_entries_.push_back(other.bad_entries_[i]);
        reasons_.push_back(other.reasons_[i]);
    }
}

std::vector<std::string> Wisdom::unused(const Machine& machine) const {
    std::map<std::string, int> counts;
    for (const auto& [key, entry] : entries_)
        if (const auto reason = why_unused(entry, machine)) ++counts[*reason];
    std::vector<std::string> reasons = reasons_;
    for (const auto& [reason, count] : counts)
        reasons.push_back(fmt::format("{} {} {}", count, count == 1 ? "entry is" : "entries are", reason));
    return reasons;
}

std::string utc_date() { return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr))); }

std::string default_wisdom_path() {
    if (const char* path = std::getenv("TANDEM_WISDOM")) return path;
    const std::string directory = cache_directory();
    return directory.empty() ? "" : directory + "/wisdom.json";
}

}  // namespace tandem
