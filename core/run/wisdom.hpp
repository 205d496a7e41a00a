// Wisdom: plans that were measured to be best, remembered from run to run. One JSON file, described in
// docs/tuning.md.
//
// Vocabulary. Entry: one plan for one key. Key: everything that the choice of plan depends on. Foreign: of
// another machine.
// Stale: of another emitter version. Foreign and stale entries stay in the file, so that machines and
// versions can share one, but no dispatch here ever finds them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/plan/plan.hpp"
#include "tandem/context.hpp"

namespace tandem {

struct WisdomKey {
    std::string problem{};  // Problem::name() at batch 1
    Isa isa = Isa::avx2;    // the least one of the problem's data type
    int threads = 1;
    std::string cpu{};  // of the machine it was measured on: cpu_text(), in older files the brand string
    std::string core_kind{};  // as in Machine
    std::size_t l1 = 0, l2 = 0, l3 = 0;
    int emitter = emitter_version;
    auto operator<=>(const WisdomKey&) const = default;
};
/// Vendor, family, model, stepping and features: two generations may have one brand string.
std::string cpu_text(const Machine& machine);
/// machine.isa: as dispatch has it, the least of the problem's data type (least_isa() in
/// core/plan/machine.hpp).
WisdomKey wisdom_key(const Problem& problem, const Machine& machine, int threads);

struct WisdomEntry {
    WisdomKey key{};
    Plan plan{};
    double microseconds = 0;  // one call, one image
    double ratio = 1;         // time of the planner's plan over that of this one, measured in turns
    Effort effort = Effort::measure;
    std::string date{};  // UTC, e.g. "2026-03-01T12:00:00Z"
};

/// Why dispatch on `machine` cannot use the entry; nullopt: it can.
std::optional<std::string> why_unused(const WisdomEntry& entry, const Machine& machine);

/// A value; not synchronised.
class Wisdom {
public:
    /// Reads a file's text. One that is not JSON, or not wisdom of this format, is an error that names
    /// `source` and the position; a single bad entry is put aside with a reason and written back untouched.
    static Result<Wisdom> parse(std::string_view text, const std::string& source);
    std::string to_text() const;

    const WisdomEntry* find(const WisdomKey& key) const;
    /// Of two entries with one key that of the greater effort stays, then the one with the better ratio,
    /// then the more recent. The order of additions does not matter.
    void add(WisdomEntry entry);
    void merge(const Wisdom& other);

    const std::map<WisdomKey, WisdomEntry>& entries() const noexcept { return entries_; }
    /// Why parse() put entries aside.
    const std::vector<std::string>& put_aside() const noexcept { return reasons_; }
    /// put_aside(), and how many entries `machine` cannot use for which reason.
    std::vector<std::string> unused(const Machine& machine) const;

private:
    std::map<WisdomKey, WisdomEntry> entries_;
    std::vector<std::string> reasons_;
    std::vector<std::string> bad_entries_;  // their JSON
};

/// Now, as WisdomEntry::date has it.
std::string utc_date();

/// TANDEM_WISDOM; else $XDG_CACHE_HOME/tandem/wisdom.json; else ~/.cache/tandem/wisdom.json. Empty where
/// TANDEM_WISDOM is empty or there is no home directory: no wisdom is kept.
std::string default_wisdom_path();

}  // namespace tandem
