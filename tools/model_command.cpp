// tandem model: how well the cost model orders plans: its predictions for every candidate of a layer
// against measured times.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>
#include <sstream>

#include "core/plan/candidates.hpp"
#include "core/plan/choice.hpp"
#include "core/plan/cost_model.hpp"
#include "core/run/whole_file.hpp"
#include "tools/commands.hpp"
#include "tools/files.hpp"
#include "tools/plan_timing.hpp"

namespace tandem::tool {

namespace {

constexpr double decision_tolerance = 1.03;  // fused and not fused this close are the same

struct ModelOptions {
    CommonOptions common{};
    ProblemSource source{};
    double seconds = 1;
    std::string csv, times;
};

struct Prediction {
    Plan plan{};
    bool unfused = false;
    bool chosen = false;  // by the planner, for an untuned dispatch
    CostEstimate cost{};
    double measured = 0;  // seconds: the fastest undisturbed sample, which a busy machine moves least
    double even = 0,
           odd = 0;  // the same of every second round: how well the measurement orders the plans itself
    double fresh =
        0;  // seconds: the median of a second time, of the best and of those that are judged; else 0
};

struct LayerScore {
    double spearman = 0;
    double repeatability = 0;  // Spearman of one half of the rounds against the other
    double loss = 0;           // measured time of the plan predicted best over the best measured one
    double rule_loss = 0;      // the same of the rules' plan
    double choice_loss = 0;    // and of the planner's choice
    double scale = 0;          // median of predicted over measured
    bool has_choice = false, decided_right = false, fuse = false;
    double predicted_ratio = 0;  // best plan of the kind that the planner did not choose over its choice
    double measured_ratio = 0;
};

/// The fastest kept sample of every second round, from `first` on; of all of them if none was kept.
double fastest_of(const Series& series, std::size_t first) {
    double kept = 1e30, any = 1e30;
    for (std::size_t i = first; i < series.seconds.size(); i += 2) {
        any = std::min(any, series.seconds[i]);
        if (series.kept[i]) kept = std::min(kept, series.seconds[i]);
    }
    return kept < 1e30 ? kept : any;
}

std::vector<double> ranks(const std::vector<double>& values) {
    std::vector<std::size_t> order(values.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
    std::vector<double> rank(values.size());
    for (std::size_t i = 0; i < order.size();) {
        std::size_t end = i;
        while (end < order.size() && values[order[end]] == values[order[i]])
            ++end;
        for (std::size_t j = i; j < end; ++j)
            rank[order[j]] = static_cast<double>(i + end - 1) / 2;  // ties share the middle
        i = end;
    }
    return rank;
}

double spearman(const std::vector<double>& a, const std::vector<double>& b) {
    const std::vector<double> x = ranks(a), y = ranks(b);
    const double mean = static_cast<double>(x.size() - 1) / 2;
    double xy = 0, xx = 0, yy = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        xy += (x[i] - mean) * (y[i] - mean);
        xx += (x[i] - mean) * (x[i] - mean);
        yy += (y[i] - mean) * (y[i] - mean);
    }
    return xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : 0;
}

LayerScore score(const std::vector<Prediction>& all) {
    LayerScore score;
    std::vector<double> predicted, measured, even, odd, scales;
    std::array<double, 2> best_predicted{1e30, 1e30}, best_fresh{1e30, 1e30};  // fused, not fused
    const Prediction *promising = &all.front(), *choice = &all.front();
    for (const Prediction& one : all) {
        predicted.push_back(one.cost.seconds);
        measured.push_back(one.measured);
        even.push_back(one.even);
        odd.push_back(one.odd);
        scales.push_back(one.cost.seconds / one.measured);
        best_predicted[one.unfused] = std::min(best_predicted[one.unfused], one.cost.seconds);
        if (one.fresh > 0) best_fresh[one.unfused] = std::min(best_fresh[one.unfused], one.fresh);
        if (one.cost.seconds < promising->cost.seconds) promising = &one;
        if (one.chosen) choice = &one;
    }
    // A plan that was not timed afresh, as in an older file, goes by its first time.
    const double best = std::min(best_fresh[0], best_fresh[1]),
                 first_best = *std::ranges::min_element(measured);
    const auto loss = [&](const Prediction& one) {
        return one.fresh > 0 ? one.fresh / best : one.measured / first_best;
    };
    score.spearman = spearman(predicted, measured);
    score.repeatability = spearman(even, odd);
    score.loss = loss(*promising);
    score.rule_loss = loss(all.front());
    score.choice_loss = loss(*choice);
    score.scale = quantile(scales, 0.5);
    score.has_choice = best_predicted[0] < 1e30 && best_predicted[1] < 1e30;
    if (!score.has_choice) return score;
    score.fuse = !choice->unfused;
    score.predicted_ratio = best_predicted[score.fuse] / choice->cost.seconds;
    // None of the other kind was within 5 % of the best: 9.99.
    score.measured_ratio = std::min(9.99, best_fresh[score.fuse] / best / loss(*choice));
    score.decided_right = score.measured_ratio * decision_tolerance >= 1;
    return score;
}

struct SavedTime {
    double all = 0, even = 0, odd = 0, fresh = 0;  // seconds
};
using SavedTimes = std::map<std::string, SavedTime>;  // by "layer,plan"

Result<SavedTimes> read_times(const std::string& path) {
    const Result<std::string> text = read_file(path);
    if (!text) return Error{text.error().code, "--times: " + text.error().message};
    SavedTimes times;
    std::istringstream lines(*text);
    for (std::string line; std::getline(lines, line);) {
        const std::size_t plan = line.find('"'), end = line.rfind('"');
        if (plan == std::string::npos || end <= plan + 1) continue;
        std::istringstream numbers(line.substr(end + 2));
        SavedTime time;
        char comma = 0;
        if (numbers >> time.all >> comma >> time.even >> comma >> time.odd >> comma >> time.fresh) {
            for (double* const each : {&time.all, &time.even, &time.odd, &time.fresh})
                *each *= 1e-6;
            times[line.substr(0, plan) + line.substr(plan + 1, end - plan - 1)] = time;
        }
    }
    return times;
}

// Of many candidates the best measured one is also the luckiest. So whoever came within 5 % of it, and what
// the rules, the planner and the model would take, are timed afresh against each other; those times stand for
// them.
Status time_best_again(const BenchSetup& setup, const ConvChain& chain, std::vector<Prediction>& all,
                       double seconds) {
    constexpr double near = 1.05;
    constexpr std::size_t most = 16;
    const auto measured = [](const Prediction& one) {
        return one.measured;
    };
    const double best = std::ranges::min_element(all, {}, measured)->measured;
    const auto predicted_best =
        std::ranges::min_element(all, {}, [](const Prediction& one) { return one.cost.seconds; });
    std::vector<Prediction*> again;
    for (Prediction& one : all)
        if (one.chosen || &one == &all.front() || &one == &*predicted_best) again.push_back(&one);
    std::vector<Prediction*> others;
    for (Prediction& one : all)
        if (one.measured <= near * best && std::ranges::find(again, &one) == again.end())
            others.push_back(&one);
    std::ranges::sort(others, {}, [](const Prediction* one) { return one->measured; });
    for (std::size_t i = 0; i < others.size() && again.size() < most; ++i)
        again.push_back(others[i]);
    std::vector<Plan> plans;
    for (const Prediction* const one : again)
        plans.push_back(one->plan);
    const Result<std::vector<Series>> series = time_plans(setup, chain, plans, seconds);
    if (!series) return series.error();
    for (std::size_t i = 0; i < again.size(); ++i)
        again[i]->fresh = (*series)[i].median;
    return {};
}

Result<std::vector<Prediction>> predict(BenchSetup setup, MachineRates rates, const Item& item,
                                        const SavedTimes& saved, double seconds) {
    const Result<Request> request = read_request(item, setup.settings);
    if (!request) return request.error();
    const ConvChain& chain = request->chain;
    if (request->settings.offered != setup.settings.offered) rates = rates_of(request->settings.machine);
    setup.settings = request->settings;
    const Result<Problem> problem = make_problem(chain);
    if (!problem) return problem.error();
    const int threads = setup.settings.threads;
    const Plan choice = choose_plan(*problem, setup.settings.machine_for(chain), threads);
    std::vector<Plan> candidates = candidate_plans(*problem, setup.settings.machine_for(chain), threads);
    if (std::find(candidates.begin(), candidates.end(), choice) == candidates.end())
        candidates.push_back(choice);
    std::vector<Prediction> all;
    for (const Plan& plan : candidates) {
        const auto found = saved.find(item.name + "," + to_string(plan));
        if (!saved.empty() && found == saved.end()) continue;
        const SavedTime time = saved.empty() ? SavedTime{} : found->second;
        all.push_back({plan, is_unfused(*problem, plan, threads), plan == choice,
                       estimate_cost(*problem, plan, rates, threads), time.all, time.even, time.odd,
                       time.fresh});
    }
    if (all.empty()) return Error{ErrorCode::invalid_argument, "--times has no candidate of this layer."};
    if (!saved.empty()) return all;
    std::vector<Plan> plans;
    for (const Prediction& one : all)
        plans.push_back(one.plan);
    const Result<std::vector<Series>> series = time_plans(setup, chain, plans, seconds);
    if (!series) return series.error();
    for (std::size_t i = 0; i < all.size(); ++i) {
        all[i].even = fastest_of((*series)[i], 0);
        all[i].odd = fastest_of((*series)[i], 1);
        all[i].measured = std::min(all[i].even, all[i].odd);
    }
    if (const Status status = time_best_again(setup, chain, all, seconds); !status) return status.error();
    return all;
}

std::string csv_lines(const Item& item, const std::vector<Prediction>& all) {
    std::string text;
    for (const Prediction& one : all)
        text += fmt::format("{},\"{}\",{:.3f},{:.3f},{:.3f},{:.3f},{:.3f},{},{}\n", item.name,
                            to_string(one.plan), one.measured * 1e6, one.even * 1e6, one.odd * 1e6,
                            one.fresh * 1e6, one.cost.seconds * 1e6, one.unfused ? 1 : 0,
                            to_string(one.cost.bound));
    return text;
}

void print_score(const Item& item, const LayerScore& s, std::size_t plans) {
    std::string decision = "-";
    if (s.has_choice)
        decision = fmt::format("{} {}: the other way takes {:.2f} predicted, {:.2f} measured",
                               s.fuse ? "fuse" : "do not fuse", s.decided_right ? "right" : "WRONG",
                               s.predicted_ratio, s.measured_ratio);
    fmt::print("{:<12} {:>4} {:>9.2f} {:>11.2f} {:>11.2f} {:>11.3f} {:>11.3f} {:>11.3f}  {}\n", item.name,
               plans, s.spearman, s.repeatability, s.scale, s.loss, s.rule_loss, s.choice_loss, decision);
}

int score_layers(const ModelOptions& options, const BenchSetup& setup, const std::vector<Item>& items,
                 const SavedTimes& saved) {
    const MachineRates rates =
        rates_of(setup.settings.machine);  // as dispatch does: the same on a busy machine
    fmt::print("rates: {:.1f} GFLOP/s, L1 {:.0f}, L2 {:.0f}, L3 {:.1f}, memory {:.1f} GB/s a core\n",
               rates.gflops(), rates.gb_per_s[0], rates.gb_per_s[1], rates.gb_per_s[2], rates.gb_per_s[3]);
    fmt::print("{:<12} {:>4} {:>9} {:>11} {:>11} {:>11} {:>11} {:>11}  {}\n", "layer", "of", "Spearman",
               "repeatable", "pred./meas.", "model/best", "rules/best", "choice/best", "decision");
    std::string csv;
    std::vector<double> correlations, repeats, losses, rule_losses, choice_losses;
    int choices = 0, right = 0, exit_code = exit_ok;
    for (const Item& item : items) {
        const Result<std::vector<Prediction>> all = predict(setup, rates, item, saved, options.seconds);
        if (!all) {
            exit_code = complain(fmt::format("{}: {}", item.name, all.error().message), exit_failed);
            continue;
        }
        const LayerScore layer = score(*all);
        csv += csv_lines(item, *all);
        print_score(item, layer, all->size());
        correlations.push_back(layer.spearman);
        repeats.push_back(layer.repeatability);
        losses.push_back(layer.loss);
        rule_losses.push_back(layer.rule_loss);
        choice_losses.push_back(layer.choice_loss);
        choices += layer.has_choice;
        right += layer.decided_right;
    }
    fmt::print(
        "median Spearman {:.2f}, quartiles {:.2f} and {:.2f} (of one half of the rounds against the other: "
        "median {:.2f})\n",
        quantile(correlations, 0.5), quantile(correlations, 0.25), quantile(correlations, 0.75),
        quantile(repeats, 0.5));
    fmt::print("geomean model/best {:.3f}, rules/best {:.3f}, choice/best {:.3f}, decisions right {} of {}\n",
               geometric_mean(losses), geometric_mean(rule_losses), geometric_mean(choice_losses), right,
               choices);
    if (options.csv.empty()) return exit_code;
    const Status written = write_output({"--csv", options.csv}, csv);
    return written ? exit_code : complain(written.error().message, exit_failed);
}

int run_model(const ModelOptions& options) {
    const Result<Settings> settings = resolve(options.common);
    if (!settings) return complain(settings.error().message, exit_usage);
    const Result<std::vector<Item>> items = read_items(options.source);
    if (!items) return complain(items.error().message, exit_usage);
    const Status writable = check_outputs({{"--csv", options.csv}},
                                          {{"--times", options.times}, {"--file", options.source.file}});
    if (!writable) return complain(writable.error().message, exit_failed);
    SavedTimes saved;
    if (!options.times.empty()) {
        Result<SavedTimes> read = read_times(options.times);
        if (!read) return complain(read.error().message, exit_usage);
        saved = std::move(*read);
    }
    Context context;
    BenchSetup setup;
    setup.settings = *settings;
    setup.context = &context;
    if (settings->threads == 1) return score_layers(options, setup, *items, saved);
    PoolOptions pool_options;
    pool_options.threads = settings->threads;
    Result<ThreadPool> pool = ThreadPool::create(pool_options);
    if (!pool) return complain(pool.error().message, exit_failed);
    setup.pool = &*pool;
    return score_layers(options, setup, *items, saved);
}

}  // namespace

void add_model(CLI::App& app, int& exit_code) {
    CLI::App* const command =
        app.add_subcommand("model", "Time every candidate plan and say how well the cost model orders them");
    command->footer(
        "Columns: Spearman, of predicted against measured times; model/best, time of the plan predicted best "
        "over the best plan's;\nrules/best and choice/best, the same of the rules' plan and of the planner's "
        "choice: medians of a second time,\nin which the best 16 within 5 % take turns. A decision is right "
        "if the best plan of the other kind\n"
        "(fused or not) takes at least 0.97 "
        "of the choice's time.\nExample: tandem model --suite paper-dw --layout blocked --csv plans.csv");
    const auto options = std::make_shared<ModelOptions>();
    add_problem_source(*command, options->source);
    add_common_options(*command, options->common);
    add_seconds_option(*command, options->seconds, "To spend on each layer, all plans together");
    add_file_option(*command, "--csv", options->csv,
                    "File for every plan: layer, plan, us measured (all, even, odd rounds, "
                    "afresh) and "
                    "predicted, whether it is not fused, the bound");
    add_file_option(*command, "--times", options->times,
                    "A --csv file of an earlier run: score its times instead of measuring again");
    command->callback([options, &exit_code] { exit_code = run_model(*options); });
}

}  // namespace tandem::tool
