// libFuzzer target: the first byte says whether the rest is a plan, wisdom or a machine's profile. What is
// read is written and read back the same. Plans that are possible for one of a few small chains compute what
// the reference does; whatever a profile says, the planner makes a plan that is possible.
#include <memory>
#include <vector>

#include "core/plan/choice.hpp"
#include "core/plan/tiling.hpp"
#include "core/run/machine_json.hpp"
#include "core/run/plan_json.hpp"
#include "core/run/wisdom.hpp"
#include "fuzz/target.hpp"

using namespace tandem;
using tandem::fuzz::require;

namespace {

struct Target {
    ConvChain chain;
    Problem problem;
};

const std::vector<Target>& targets() {
    static const std::vector<Target> all = [] {
        std::vector<Target> made;
        for (const char* text :
             {"1x32x8x8:dw3+bias+relu6:conv1o32+bias", "1x16x6x6:conv3o16+relu",
              "1x16x6x6:conv1o32+relu:dw3+relu:conv1o16+sum(in)/nchw16c", "1x16x6x6:dw3:conv1o32/u8"}) {
            const ConvChain chain = *ConvChain::parse(text);
            made.push_back({chain, *make_problem(chain)});
        }
        return made;
    }();
    return all;
}

void run_plan(const Plan& plan) {
    for (const Target& target : targets())
        if (check_plan(target.problem, plan))
            fuzz::check_against_reference(target.chain, {.plan = std::make_shared<const Plan>(plan)});
}

void read_plan(std::string_view text) {
    const Result<Plan> plan = plan_from_text(text, "plan");
    if (!plan) return;
    const std::string written = plan_to_text(*plan);
    const Result<Plan> again = plan_from_text(written, "plan");
    require(again.ok(), again.error().message);
    require(*again == *plan, written);
    run_plan(*plan);
}

void read_wisdom(std::string_view text) {
    const Result<Wisdom> wisdom = Wisdom::parse(text, "wisdom");
    if (!wisdom) return;
    const std::string written = wisdom->to_text();
    const Result<Wisdom> again = Wisdom::parse(written, "wisdom");
    require(again.ok(), again.error().message);
    require(again->to_text() == written, written);
    require(again->put_aside().size() == wisdom->put_aside().size(), written);
    int most = 4;
    for (const auto& [key, entry] : wisdom->entries())
        if (most-- > 0) run_plan(entry.plan);
}

void read_profile(std::string_view text) {
    const Result<Machine> machine = machine_from_text(text, "profile");
    if (!machine) return;
    const std::string written = machine_to_text(*machine);
    const Result<Machine> again = machine_from_text(written, "profile");
    require(again.ok(), again.error().message);
    require(machine_to_text(*again) == written, written);
    for (const Target& target : targets()) {
        const Plan plan = choose_plan(target.problem, *machine, 1);
        const Status possible = check_plan(target.problem, plan);
        require(possible.ok(), possible.error().message);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
    switch (data[0] % 3) {
        case 0: read_plan(text); break;
        case 1: read_wisdom(text); break;
        default: read_profile(text);
    }
    return 0;
}
