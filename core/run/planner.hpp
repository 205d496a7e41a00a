// Planner: which plan a dispatch gets: that of wisdom, a freshly tuned one, or choose_plan()'s; and a
// sentence that says so.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "core/run/wisdom.hpp"

namespace tandem {

struct PlanChoice {
    Plan plan{};           // passed check_plan()
    std::string reason{};  // e.g. "wisdom, measured 2026-03-01T12:00:00Z, 1.12x over the planner's plan"
    bool wisdom = false;   // it was measured, now or earlier
    bool tuned = false;    // now
};

/// Thread-safe. Tuning holds no lock of this class.
class Planner {
public:
    PlanChoice choose(const Problem& problem, const Machine& machine, int threads, Effort effort);

    // See Context. An empty path is the default location.
    Status load(const std::string& path);
    Status save(const std::string& path) const;
    std::vector<std::string> notes() const;

private:
    void load_default_once();
    bool look_up(const Problem& problem, const Machine& machine, int threads, Effort effort,
                 PlanChoice& choice);
    bool tune_now(const Problem& problem, const Machine& machine, int threads, Effort effort,
                  PlanChoice& choice);
    void add(const Wisdom& wisdom);
    void note(std::string sentence);

    mutable std::mutex mutex_;  // of what follows
    Wisdom wisdom_;
    std::vector<std::string> notes_;
    std::once_flag default_loaded_;
};

}  // namespace tandem
