// Planner: which plan a dispatch gets: that of wisdom, a freshly tuned one, or choose_plan()'s; and a
// sentence that says so.
#pragma once

#include <array>
#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "core/plan/fork_hook.hpp"
#include "core/run/wisdom.hpp"

namespace tandem {

struct PlanChoice {
    Plan plan{};           // passed check_plan()
    std::string reason{};  // e.g. "wisdom, measured 2026-03-01T12:00:00Z, 1.12x over the planner's plan"
    bool wisdom = false;   // it was measured, now or earlier
    bool tuned = false;    // now
};

/// All, from least to most.
inline constexpr std::array all_efforts{Effort::estimate, Effort::measure, Effort::exhaustive};

/// Thread-safe. Tuning and reading files hold no lock of this class.
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

    friend class HeldOverFork<Planner>;
    template <class Each>
    void for_each_mutex(Each each) {
        each(mutex_);
    }

    mutable std::mutex mutex_;  // of what follows
    Wisdom wisdom_;
    std::vector<std::string> notes_;
    std::atomic<bool> default_loaded_{false};
    HeldOverFork<Planner> held_over_fork_{*this};  // the last member
};

}  // namespace tandem
