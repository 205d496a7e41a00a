#include "core/run/planner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/plan/as_result.hpp"
#include "core/plan/choice.hpp"
#include "core/plan/tiling.hpp"
#include "core/run/tuner.hpp"
#include "core/run/wisdom_file.hpp"

namespace tandem {
namespace {

Error no_location() {
    return {ErrorCode::invalid_argument,
            "There is no wisdom file: TANDEM_WISDOM is empty or there is no home directory; a path is "
            "needed."};
}

std::string describe(const WisdomEntry& entry) {
    return fmt::format("wisdom, measured {}, ratio {:.2f}x over the planner's plan", entry.date, entry.ratio);
}

// Before VBMI was told apart, quantised kernels that use it were avx512_fp16's, or avx512_vnni's without it:
// what was measured then is not lost. Nor is what was measured when entries named CPUs by their brand
// strings.
const WisdomEntry* find_entry(const Wisdom& wisdom, const WisdomKey& key, const std::string& brand) {
    std::vector<Isa> isas{key.isa};
    if (key.isa == Isa::avx512_vnni.with(IsaFeature::vbmi))
        isas.insert(isas.end(), {Isa::avx512_fp16, Isa::avx512_vnni});
    for (const Isa isa : isas) {
        for (const std::string& cpu : {key.cpu, brand}) {
            WisdomKey other = key;
            other.isa = isa;
            other.cpu = cpu;
            if (const WisdomEntry* const entry = wisdom.find(other)) return entry;
        }
    }
    return nullptr;
}

}  // namespace

const char* to_string(Effort effort) noexcept {
    switch (effort) {
        case Effort::estimate: return "estimate";
        case Effort::measure: return "measure";
        case Effort::exhaustive: return "exhaustive";
    }
    return "?";
}

Result<Effort> parse_effort(std::string_view text) noexcept try {
    for (const Effort effort : all_efforts)
        if (text == to_string(effort)) return effort;
    return Error{ErrorCode::parse_error,
                 fmt::format("Effort '{}' is not known; accepted: estimate, measure, exhaustive.", text)};
} catch (...) {
    return caught_error();
}

PlanChoice Planner::choose(const Problem& problem, const Machine& machine, int threads, Effort effort) {
    load_default_once();
    PlanChoice choice;
    if (look_up(problem, machine, threads, effort, choice)) return choice;
    if (effort != Effort::estimate && tune_now(problem, machine, threads, effort, choice)) return choice;
    if (look_up(problem, machine, threads, Effort::estimate, choice))
        return choice;  // where tuning failed: of less effort
    const PlanDecision decision = decide_plan(problem, machine, threads);
    return {.plan = decision.plan, .reason = to_string(decision)};
}

// A plan from a file is checked as if a stranger had written it.
bool Planner::look_up(const Problem& problem, const Machine& machine, int threads, Effort effort,
                      PlanChoice& choice) {
    const std::lock_guard lock(mutex_);
    const WisdomEntry* const entry =
        find_entry(wisdom_, wisdom_key(problem, machine, threads), machine.cpu_name);
    if (!entry || entry->effort < effort) return false;
    Plan plan = entry->plan;
    plan.isa = machine.isa;
    if (const Status status = check_plan(problem, plan); !status) {
        std::string sentence =
            fmt::format("Wisdom for {} is not used: {}", entry->key.problem, status.error().message);
        if (std::ranges::find(notes_, sentence) == notes_.end()) notes_.push_back(std::move(sentence));
        return false;
    }
    choice = {.plan = plan, .reason = describe(*entry), .wisdom = true};
    return true;
}

bool Planner::tune_now(const Problem& problem, const Machine& machine, int threads, Effort effort,
                       PlanChoice& choice) {
    const Result<TuneReport> report = tune(problem, machine, {.threads = threads, .effort = effort});
    if (!report) {
        note(fmt::format("Tuning {} failed: {}", problem.name(), report.error().message));
        return false;
    }
    const WisdomEntry entry = to_wisdom(*report, problem, machine, threads);
    Wisdom learnt;
    learnt.add(entry);
    add(learnt);
    if (const std::string path = default_wisdom_path(); !path.empty())
        if (const Status status = save_wisdom(path, learnt); !status) note(status.error().message);
    choice = {.plan = report->plan, .reason = describe(entry), .wisdom = true, .tuned = true};
    return true;
}

// Threads that come at once may each read the file: none waits for another, nor for one that a forked child
// lacks.
void Planner::load_default_once() {
    if (default_loaded_.load(std::memory_order_acquire)) return;
    const std::string path = default_wisdom_path();
    if (!path.empty()) {
        const Result<Wisdom> wisdom = read_wisdom(path);
        if (wisdom)
            add(*wisdom);
        else
            note(wisdom.error().message);
    }
    default_loaded_.store(true, std::memory_order_release);
}

Status Planner::load(const std::string& path) {
    const std::string file = path.empty() ? default_wisdom_path() : path;
    if (file.empty()) return no_location();
    const Result<Wisdom> wisdom = read_wisdom(file, MissingFile::error);
    if (!wisdom) return wisdom.error();
    add(*wisdom);
    return {};
}

Status Planner::save(const std::string& path) const {
    const std::string file = path.empty() ? default_wisdom_path() : path;
    if (file.empty()) return no_location();
    const auto copy = [this] {
        const std::lock_guard lock(mutex_);
        return wisdom_;
    };
    return save_wisdom(file, copy());
}

std::vector<std::string> Planner::notes() const {
    std::vector<std::string> notes;
    const Result<Machine> machine = host_machine();
    const std::lock_guard lock(mutex_);
    if (machine) notes = wisdom_.unused(*machine);
    notes.insert(notes.end(), notes_.begin(), notes_.end());
    return notes;
}

void Planner::add(const Wisdom& wisdom) {
    const std::lock_guard lock(mutex_);
    wisdom_.merge(wisdom);
}

void Planner::note(std::string sentence) {
    const std::lock_guard lock(mutex_);
    if (std::ranges::find(notes_, sentence) == notes_.end()) notes_.push_back(std::move(sentence));
}

}  // namespace tandem
