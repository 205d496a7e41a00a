// Wisdom: the file format, merging, saving from several processes at once, and what dispatch makes of it.
#include "core/run/wisdom.hpp"

#include "support/doctest.hpp"
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "core/plan/choice.hpp"
#include "core/plan/tiling.hpp"
#include "core/run/planner.hpp"
#include "core/run/wisdom_file.hpp"
#include "support/temporary_directory.hpp"
#include "tandem/tandem.hpp"

using namespace tandem;
using tandem::test::TemporaryDirectory;
namespace fs = std::filesystem;

namespace {

constexpr const char* pair_text = "1x16x12x12:dw3+bias+relu6:conv1o32+bias+relu6";

Problem problem_of(const char* text) {
    const Result<ConvPair> pair = ConvPair::parse(text);
    REQUIRE(pair);
    const Result<Problem> problem = make_problem(*pair);
    REQUIRE(problem);
    return *problem;
}

/// This host as dispatch sees it for f32 tensors.
Result<Machine> f32_machine() {
    Result<Machine> machine = host_machine();
    if (machine) machine->isa = least_isa(DataType::f32, Math::fast, machine->isa);
    return machine;
}

/// An entry for this host whose plan is not that of the rules.
WisdomEntry host_entry(const char* text = pair_text) {
    const Result<Machine> machine = f32_machine();
    REQUIRE(machine);
    const Problem problem = problem_of(text);
    WisdomEntry entry{.key = wisdom_key(problem, *machine, 1),
                      .plan = choose_plan(problem, *machine, 1),
                      .microseconds = 5,
                      .ratio = 1.25,
                      .effort = Effort::measure,
                      .date = "2026-03-01T12:00:00Z"};
    entry.plan.tile_h = entry.plan.tile_h == 3 ? 4 : 3;
    return entry;
}

Wisdom wisdom_of(const WisdomEntry& entry) {
    Wisdom wisdom;
    wisdom.add(entry);
    return wisdom;
}

void write(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}
std::string text_of(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
}
bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}
std::string replaced(std::string text, const std::string& from, const std::string& to) {
    const std::size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    return text.replace(at, from.size(), to);
}

/// Sets a variable for the time of a test.
class Variable {
public:
    Variable(const char* name, const char* value) : name_(name) {
        if (const char* old = std::getenv(name)) old_ = old, had_ = true;
        set(value);
    }
    ~Variable() { set(had_ ? old_.c_str() : nullptr); }

private:
    void set(const char* value) { value ? setenv(name_, value, 1) : unsetenv(name_); }
    const char* name_;
    std::string old_;
    bool had_ = false;
};

template <class Body>
int in_child(Body body) {
    const pid_t child = fork();
    if (child == 0) _exit(body());
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

}  // namespace

TEST_CASE("wisdom: a text is read back as it was") {
    Wisdom wisdom = wisdom_of(host_entry());
    wisdom.add(host_entry("1x8x6x6:dw3:conv1o16"));
    const Result<Wisdom> again = Wisdom::parse(wisdom.to_text(), "test");
    REQUIRE(again);
    CHECK(again->entries().size() == 2);
    CHECK(again->put_aside().empty());
    CHECK(again->to_text() == wisdom.to_text());
    const WisdomEntry* const entry = again->find(host_entry().key);
    REQUIRE(entry);
    CHECK(entry->plan == host_entry().plan);
    CHECK(entry->ratio == 1.25);
    CHECK(entry->date == host_entry().date);
}

TEST_CASE("wisdom: the batch size is not part of the key, threads and ISA are") {
    const Result<Machine> machine = host_machine();
    REQUIRE(machine);
    const Problem one = problem_of(pair_text),
                  many = problem_of("7x16x12x12:dw3+bias+relu6:conv1o32+bias+relu6");
    CHECK(wisdom_key(one, *machine, 1) == wisdom_key(many, *machine, 1));
    CHECK(wisdom_key(one, *machine, 1) != wisdom_key(one, *machine, 2));
    Machine other = *machine;
    other.isa = machine->isa == Isa::avx2 ? Isa::avx512 : Isa::avx2;
    CHECK(wisdom_key(one, *machine, 1) != wisdom_key(one, other, 1));
}

TEST_CASE("wisdom: of two entries effort, then ratio, then date decide, in any order") {
    WisdomEntry slow = host_entry(), fast = slow, recent = slow, thorough = slow;
    fast.ratio = 1.5;
    recent.date = "2027-01-01T00:00:00Z";
    thorough.effort = Effort::exhaustive;
    const auto winner = [](const WisdomEntry& a, const WisdomEntry& b) {
        Wisdom ab = wisdom_of(a), ba = wisdom_of(b);
        ab.add(b);
        ba.merge(wisdom_of(a));
        CHECK(ab.to_text() == ba.to_text());
        return ab.entries().begin()->second;
    };
    CHECK(winner(slow, fast).ratio == 1.5);
    CHECK(winner(recent, fast).ratio == 1.5);
    CHECK(winner(slow, recent).date == recent.date);
    CHECK(winner(fast, thorough).effort == Effort::exhaustive);
}

TEST_CASE(
    "wisdom: an entry of its data type's least ISA is not foreign to a machine with a greater one, and data "
    "types are told apart") {
    Machine machine = *f32_machine();
    machine.isa = Isa::avx512;
    Problem problem = problem_of(pair_text);
    Plan plan;
    plan.isa = Isa::avx512;
    const WisdomEntry entry{.key = wisdom_key(problem, machine, 1), .plan = plan, .microseconds = 5};
    machine.isa = Isa::avx512_bf16;
    CHECK(!why_unused(entry, machine));
    CHECK(wisdom_of(entry).unused(machine).empty());
    const Result<Wisdom> again = Wisdom::parse(wisdom_of(entry).to_text(), "test");
    REQUIRE(again);
    machine.isa = least_isa(DataType::f32, Math::fast, machine.isa);
    CHECK(again->find(wisdom_key(problem, machine, 1)));
    problem.output_dtypes = {DataType::f16, DataType::f16};
    problem.dtype = DataType::f16;  // whose least ISA is that of f32
    CHECK(!again->find(wisdom_key(problem, machine, 1)));
}

TEST_CASE("wisdom: stale and foreign entries are skipped with a reason and kept in the file") {
    const Result<Machine> machine = host_machine();
    REQUIRE(machine);
    CHECK(!why_unused(host_entry(), *machine));
    Wisdom wisdom = wisdom_of(host_entry());
    const auto expect = [&](const char* what, auto change) {
        WisdomEntry entry = host_entry();
        change(entry.key);
        wisdom.add(entry);
        const auto reason = why_unused(entry, *machine);
        REQUIRE(reason);
        CHECK_MESSAGE(contains(*reason, what), *reason);
    };
    expect("stale: emitter version", [](WisdomKey& key) { --key.emitter; });
    expect("foreign: measured on 'abacus'", [](WisdomKey& key) { key.cpu = "abacus"; });
    expect("foreign: core kind 'tiny'", [](WisdomKey& key) { key.core_kind = "tiny"; });
    expect("foreign: caches of", [](WisdomKey& key) { key.l2 *= 2; });
    CHECK(wisdom.entries().size() == 5);
    CHECK(wisdom.unused(*machine).size() == 4);

    const TemporaryDirectory directory;
    REQUIRE(save_wisdom(directory / "wisdom.json", wisdom));
    Context context;
    REQUIRE(context.load_wisdom(directory / "wisdom.json"));
    CHECK(context.wisdom_notes().size() == 4);
    REQUIRE(context.save_wisdom(directory / "copy.json"));
    CHECK(text_of(directory / "copy.json") == wisdom.to_text());
}

TEST_CASE("wisdom: one bad entry is put aside with a reason, and not lost") {
    Wisdom wisdom = wisdom_of(host_entry());
    wisdom.add(host_entry("1x8x6x6:dw3:conv1o16"));
    const auto reason_after = [&](const char* from, const char* to) {
        const Result<Wisdom> read = Wisdom::parse(replaced(wisdom.to_text(), from, to), "w.json");
        REQUIRE(read);
        CHECK(read->entries().size() == 1);
        REQUIRE(read->put_aside().size() == 1);
        CHECK(contains(read->to_text(), to));
        return read->put_aside().front();
    };
    CHECK(contains(reason_after("\"threads\":1", "\"threads\":0"), "w.json, entry 1: threads is 0"));
    CHECK(contains(reason_after("\"threads\":1", "\"threads\":\"one\""),
                   "w.json, entry 1: threads is \"one\"; a whole number"));
    CHECK(contains(reason_after("\"prefetch_next\"", "\"prefetch\""), "plan.prefetch_next is missing"));
    CHECK(contains(reason_after("\"ratio\":1.25", "\"ratio\":-1.25"), "ratio is -1.25"));
    CHECK(contains(reason_after("\"effort\":\"measure\"", "\"effort\":\"none\""),
                   "Effort 'none' is not known"));
    CHECK(contains(reason_after("\"date\"", "\"day\""), "entry.date is missing"));
}

TEST_CASE("wisdom: malformed files are errors that name file and position") {
    const auto message = [](const std::string& text) {
        const Result<Wisdom> wisdom = Wisdom::parse(text, "w.json");
        return wisdom ? "" : wisdom.error().message;
    };
    CHECK(contains(message("{\"format\": 1,\n \"entries\": [,]}"),
                   "w.json is malformed: parse error at line 2, column 14"));
    CHECK(contains(message(""), "w.json is malformed"));
    CHECK(contains(message("[]"), "does not hold an object"));
    CHECK(contains(message("{}"), "\"format\" is missing"));
    CHECK(contains(message("{\"format\": 2, \"entries\": []}"), "\"format\" is 2; 1 is accepted"));
    CHECK(contains(message("{\"format\": 1, \"entries\": 3}"), "\"entries\" is missing or no list"));
    CHECK(message("{\"format\": 1, \"entries\": []}").empty());
    CHECK(contains(message(std::string(100000, '[')), "w.json is malformed"));
}

TEST_CASE("wisdom: damaged texts never crash") {
    const std::string good = wisdom_of(host_entry()).to_text();
    std::mt19937_64 engine(3);
    int readable = 0;
    for (int round = 0; round < 3000; ++round) {
        std::string text = good;
        for (std::uint64_t i = 0; i <= engine() % 4; ++i) {
            const std::size_t at = engine() % text.size();
            switch (engine() % 4) {
                case 0: text[at] = static_cast<char>(engine()); break;
                case 1: text.erase(at, engine() % 20); break;
                case 2: text.insert(at, text.substr(engine() % text.size(), engine() % 30)); break;
                case 3: text[at] = "{}[]\",:0-e"[engine() % 10]; break;
            }
            if (text.empty()) break;
        }
        const Result<Wisdom> wisdom = Wisdom::parse(text, "w.json");
        if (!wisdom) {
            CHECK(!wisdom.error().message.empty());
            continue;
        }
        ++readable;
        const Result<Wisdom> again = Wisdom::parse(wisdom->to_text(), "w.json");
        CHECK(again.ok());
        const Problem problem = problem_of(pair_text);
        for (const auto& [key, entry] : wisdom->entries())
            static_cast<void>(check_plan(problem, entry.plan));
    }
    CHECK(readable > 0);
}

TEST_CASE("wisdom: several processes that save at once lose nothing") {
    const TemporaryDirectory directory;
    const std::string path = directory / "new/wisdom.json";
    constexpr int processes = 6, each = 5;
    std::vector<pid_t> children;
    const WisdomEntry base = host_entry();
    for (int process = 0; process < processes; ++process) {
        const pid_t child = fork();
        if (child != 0) {
            children.push_back(child);
            continue;
        }
        bool good = true;
        for (int i = 0; i < each; ++i) {
            WisdomEntry entry = base;
            entry.key.problem += std::to_string(process * each + i);
            good = good && save_wisdom(path, wisdom_of(entry)).ok();
        }
        _exit(good ? 0 : 1);
    }
    for (const pid_t child : children) {
        int status = 0;
        REQUIRE(waitpid(child, &status, 0) == child);
        CHECK(status == 0);
    }
    const Result<Wisdom> wisdom = read_wisdom(path);
    REQUIRE(wisdom);
    CHECK(wisdom->entries().size() == processes * each);
    int files = 0;
    for (const auto& file : fs::directory_iterator(fs::path(path).parent_path()))
        files += !file.path().empty();
    CHECK(files == 2);  // the file and its lock: nothing temporary is left
}

TEST_CASE("wisdom: files that cannot be written are errors, and stay as they are") {
    const TemporaryDirectory directory;
    const Wisdom wisdom = wisdom_of(host_entry());
    SUBCASE("malformed") {
        write(directory / "w.json", "{ oops");
        const Status status = save_wisdom(directory / "w.json", wisdom);
        REQUIRE(!status);
        CHECK(contains(status.error().message, "malformed"));
        CHECK(text_of(directory / "w.json") == "{ oops");
    }
    SUBCASE("read-only") {
        write(directory / "w.json", wisdom.to_text());
        fs::permissions(directory / "w.json", fs::perms::owner_read);
        const Status status = save_wisdom(directory / "w.json", wisdom);
        REQUIRE(!status);
        CHECK(contains(status.error().message, "it is read-only"));
        CHECK(read_wisdom(directory / "w.json").ok());
    }
    SUBCASE("in a directory of another user") {
        if (geteuid() != 0) return;
        chmod((directory / "").c_str(), 0755);
        const int code = in_child([&] {
            if (setuid(65534) != 0) return 2;
            const Status status = save_wisdom(directory / "w.json", wisdom);
            return !status && contains(status.error().message, "Permission denied") ? 0 : 1;
        });
        CHECK(code == 0);
    }
    SUBCASE("below a file") {
        write(directory / "file", "");
        CHECK(!save_wisdom(directory / "file/w.json", wisdom));
    }
    SUBCASE("a symbolic link stays one") {
        fs::create_symlink(directory / "target.json", directory / "link.json");
        REQUIRE(save_wisdom(directory / "link.json", wisdom));
        CHECK(fs::is_symlink(directory / "link.json"));
        CHECK(text_of(directory / "target.json") == wisdom.to_text());
    }
}

TEST_CASE("wisdom: where the file is") {
    const Variable wisdom("TANDEM_WISDOM", nullptr), cache("XDG_CACHE_HOME", "/cache"),
        home("HOME", "/home/me");
    CHECK(default_wisdom_path() == "/cache/tandem/wisdom.json");
    {
        const Variable relative("XDG_CACHE_HOME", "cache");  // the XDG specification: to be ignored
        CHECK(default_wisdom_path() == "/home/me/.cache/tandem/wisdom.json");
        const Variable nowhere("HOME", nullptr);
        CHECK(default_wisdom_path().empty());
    }
    const Variable given("TANDEM_WISDOM", "w.json");
    CHECK(default_wisdom_path() == "w.json");
    const Variable disabled("TANDEM_WISDOM", "");
    CHECK(default_wisdom_path().empty());
    Context context;
    CHECK(!context.load_wisdom());
    CHECK(!context.save_wisdom());
}

TEST_CASE("wisdom: dispatch uses it and says so; the caller's plan goes before") {
    const TemporaryDirectory directory;
    const WisdomEntry entry = host_entry();
    REQUIRE(save_wisdom(directory / "w.json", wisdom_of(entry)));
    const Result<ConvPair> pair = ConvPair::parse(pair_text);
    Context context;
    const Result<Kernel> before = context.dispatch(*pair);
    REQUIRE(before);
    CHECK(contains(before->explain(), "chosen by the "));
    REQUIRE(context.load_wisdom(directory / "w.json"));
    const Result<Kernel> after = context.dispatch(*pair);
    REQUIRE(after);
    CHECK(after->plan() == entry.plan);
    CHECK(contains(after->explain(),
                   "wisdom, measured 2026-03-01T12:00:00Z, ratio 1.25x over the planner's plan"));
    const Result<Kernel> own =
        context.dispatch(*pair, {.plan = std::make_shared<const Plan>(before->plan())});
    REQUIRE(own);
    CHECK(contains(own->explain(), "the caller's plan"));
    SUBCASE("found at the default location, and without tuning where it is good enough") {
        const Variable variable("TANDEM_WISDOM", (directory / "w.json").c_str());
        Context fresh;
        const Result<Kernel> kernel = fresh.dispatch(*pair, {.effort = Effort::measure});
        REQUIRE(kernel);
        CHECK(kernel->plan() == entry.plan);
    }
    SUBCASE("a missing file that was asked for is an error") {
        CHECK(!context.load_wisdom(directory / "none.json"));
    }
}

TEST_CASE("wisdom: what was measured for quantised kernels before VBMI was told apart is still used") {
    const TemporaryDirectory directory;
    const Machine machine = machine_with(Machine{}, Isa::avx512_vnni.with(IsaFeature::vbmi));
    ConvPair pair = *ConvPair::parse(pair_text);
    pair.dtype = DataType::u8;
    const Problem problem = *make_problem(pair);
    for (const Isa before : {Isa::avx512_vnni, Isa::avx512_fp16}) {
        Machine then = machine;
        then.isa = before;
        WisdomEntry entry{
            .key = wisdom_key(problem, then, 1), .plan = choose_plan(problem, then, 1), .microseconds = 5};
        entry.plan.tile_h = entry.plan.tile_h == 3 ? 4 : 3;
        REQUIRE(save_wisdom(directory / to_string(before), wisdom_of(entry)));
        Planner planner;
        REQUIRE(planner.load(directory / to_string(before)));
        const PlanChoice choice = planner.choose(problem, machine, 1, Effort::estimate);
        CHECK(choice.wisdom);
        CHECK(choice.plan.isa == machine.isa);
        CHECK(choice.plan.tile_h == entry.plan.tile_h);
    }
}

TEST_CASE("wisdom: a file that was written when there were pairs only is still used") {
    const std::string written = R"({"format": 1, "entries": [
{"problem":"1x16x12x12:dw3+bias+relu6:conv1o32+bias+relu6/nhwc/f32/fast","isa":"avx2","threads":1,
"cpu":"Intel(R) Xeon(R) Processor","core_kind":"","l1":49152,"l2":2097152,"l3":314572800,
"emitter":3,"plan":{"isa":"avx2","fusion":"recompute","backend":"tandem","tile_h":12,"tile_w":12,
"channel_splits":1,"prefetch_next":false,"stages":[{"algorithm":"direct","dot":"f32",
"block_pixels":10,"block_vectors":1,"block_rows":1,"channels_inner":true,"block_channels":0},
{"algorithm":"direct","dot":"f32","block_pixels":6,"block_vectors":2,"block_rows":1,
"channels_inner":false,"block_channels":0}]},"microseconds":3.267772413453023,"ratio":1.0,
"effort":"measure","date":"2026-11-28T16:04:04Z"}
]})";
    const Result<Machine> machine = host_machine(Isa::avx2);
    REQUIRE(machine);
    Result<Wisdom> wisdom = Wisdom::parse(written, "the file");
    REQUIRE_MESSAGE(wisdom.ok(), wisdom.error().message);
    REQUIRE(wisdom->entries().size() == 1);
    WisdomEntry entry = wisdom->entries().begin()->second;
    CHECK(entry.key.problem == problem_of(pair_text).name());
    // As if this host had written it, and its code still meant the same.
    entry.key = wisdom_key(problem_of(pair_text), *machine, 1);
    entry.plan.tile_h = 5;  // not what the rules say
    const TemporaryDirectory directory;
    REQUIRE(save_wisdom(directory / "wisdom.json", wisdom_of(entry)));
    Context context;
    REQUIRE(context.load_wisdom(directory / "wisdom.json"));
    const auto kernel = context.dispatch(*ConvPair::parse(pair_text), {.isa = Isa::avx2});
    REQUIRE_MESSAGE(kernel.ok(), kernel.error().message);
    CHECK(kernel->plan() == entry.plan);
    CHECK(contains(kernel->explain(), "wisdom, measured 2026-11-28"));
}

TEST_CASE("wisdom: impossible plans and malformed files do not stop a dispatch") {
    const TemporaryDirectory directory;
    WisdomEntry entry = host_entry();
    entry.plan.tile_h = 1000;
    write(directory / "bad.json", wisdom_of(entry).to_text());
    write(directory / "malformed.json", "{");
    for (const char* name : {"bad.json", "malformed.json"}) {
        const Variable variable("TANDEM_WISDOM", (directory / name).c_str());
        Context context;
        const Result<Kernel> kernel = context.dispatch(*ConvPair::parse(pair_text));
        REQUIRE(kernel);
        CHECK(contains(kernel->explain(), "chosen by the "));
        REQUIRE(context.wisdom_notes().size() == 1);
        CHECK(contains(context.wisdom_notes().front(),
                       name == std::string("bad.json") ? "plan.tile_h is 1000" : "malformed"));
    }
}

TEST_CASE("wisdom: a dispatch that tunes remembers, here and in the file; a read-only one is only noted") {
    const TemporaryDirectory directory;
    const Variable variable("TANDEM_WISDOM", (directory / "w.json").c_str());
    const Result<ConvPair> pair = ConvPair::parse("1x16x6x6:dw3+relu:conv1o16");
    Context context;
    REQUIRE(context.dispatch(*pair));
    const Result<Kernel> tuned = context.dispatch(*pair, {.effort = Effort::measure});
    REQUIRE(tuned);
    CHECK(contains(tuned->explain(), "wisdom, measured 2"));
    const Result<Kernel> again = context.dispatch(*pair);  // no longer the one dispatched first
    REQUIRE(again);
    CHECK(again->plan() == tuned->plan());
    CHECK(contains(again->explain(), "wisdom, measured 2"));
    const Result<Wisdom> saved = read_wisdom(directory / "w.json");
    REQUIRE(saved);
    CHECK(saved->entries().size() == 1);
    CHECK(context.wisdom_notes().empty());

    write(directory / "locked.json", Wisdom{}.to_text());
    fs::permissions(directory / "locked.json", fs::perms::owner_read);
    const Variable locked("TANDEM_WISDOM", (directory / "locked.json").c_str());
    Context other;
    REQUIRE(other.dispatch(*pair, {.effort = Effort::measure}));
    REQUIRE(other.wisdom_notes().size() == 1);
    CHECK(contains(other.wisdom_notes().front(), "read-only"));
}
