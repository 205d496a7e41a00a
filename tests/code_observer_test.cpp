// CodeObserver: told once of each code that there is, and once of its end.
#include "tandem/code_observer.hpp"

#include "support/doctest.hpp"

#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "tandem/tandem.hpp"

using namespace tandem;

namespace {

class Recorder final : public CodeObserver {
public:
    void created(const GeneratedCode& code) noexcept override {
        const std::lock_guard lock(mutex_);
        ++created_;
        faults_ += code.code.empty() || code.symbols.empty() || !live_.insert(code.code.data()).second;
        name_ = code.name;
        symbols_ = code.symbols.size();
    }
    void released(const GeneratedCode& code) noexcept override {
        const std::lock_guard lock(mutex_);
        ++released_;
        // Its pages are there yet.
        faults_ += live_.erase(code.code.data()) != 1 || code.code.front() == code.code.back();
    }
    int created() const { return created_; }
    int released() const { return released_; }
    int faults() const { return faults_; }
    std::string name() const { return name_; }
    std::size_t symbols() const { return symbols_; }
    bool live(const Kernel& kernel) const { return live_.contains(kernel.code().data()); }

private:
    std::mutex mutex_;
    std::set<const std::byte*> live_;
    int created_ = 0, released_ = 0, faults_ = 0;
    std::string name_;
    std::size_t symbols_ = 0;
};

ConvPair pair_of(int channels) {
    ConvPair pair = *ConvPair::parse("2x8x6x6:dw3:conv1o16+bias");
    pair.input.c = channels;
    return pair;
}

}  // namespace

TEST_CASE("code observer: a context's, from creation to the last handle") {
    const auto recorder = std::make_shared<Recorder>();
    Kernel kept;
    {
        Context context({.observer = recorder});
        kept = *context.dispatch(pair_of(8));
        CHECK(recorder->created() == 1);
        CHECK(recorder->live(kept));
        std::string of_any_batch = kept.name();
        of_any_batch.front() = '1';
        CHECK(recorder->name() == of_any_batch);
        CHECK(recorder->symbols() == kept.symbols().size());
        REQUIRE(context.dispatch(pair_of(8)).ok());  // found in the cache
        CHECK(recorder->created() == 1);
        REQUIRE(context.dispatch(pair_of(24)).ok());
        CHECK(recorder->created() == 2);
        CHECK(recorder->released() == 0);
        context.clear_cache();
        CHECK(recorder->released() == 1);  // what nobody holds
    }
    CHECK(recorder->released() == 1);
    kept = Kernel();
    CHECK(recorder->released() == 2);
    CHECK(recorder->faults() == 0);
}

TEST_CASE("code observer: a context's is told of no other context's code, the process's of both") {
    const auto own = std::make_shared<Recorder>(), all = std::make_shared<Recorder>();
    REQUIRE(add_code_observer(all).ok());
    REQUIRE(add_code_observer(all).ok());
    REQUIRE(add_code_observer(nullptr).ok());
    {
        Context context({.observer = own}), both({.observer = all}), other;
        REQUIRE(context.dispatch(pair_of(8)).ok());
        REQUIRE(other.dispatch(pair_of(8)).ok());
        REQUIRE(both.dispatch(pair_of(8)).ok());
        CHECK(own->created() == 1);
        CHECK(all->created() == 3);  // once each, though added twice and the third context's own as well
        remove_code_observer(all);
        REQUIRE(other.dispatch(pair_of(24)).ok());
        CHECK(all->created() == 3);
        REQUIRE(both.dispatch(pair_of(24)).ok());
        CHECK(all->created() == 4);
    }
    CHECK(own->released() == 1);
    CHECK(all->released() == 4);
    CHECK(own->faults() + all->faults() == 0);
}

TEST_CASE("code observer: it lives as long as code that it was told of") {
    std::weak_ptr<CodeObserver> watched;
    Kernel kept;
    {
        auto recorder = std::make_shared<Recorder>();
        watched = recorder;
        REQUIRE(add_code_observer(recorder).ok());
        Context context;
        kept = *context.dispatch(pair_of(8));
        remove_code_observer(recorder);
    }
    CHECK_FALSE(watched.expired());
    kept = Kernel();
    CHECK(watched.expired());
}

TEST_CASE("code observer: threads that dispatch, evict and register at once") {
    const auto recorder = std::make_shared<Recorder>(), passing = std::make_shared<Recorder>();
    {
        Context context({.cache_capacity = 2, .observer = recorder});
        std::vector<std::thread> threads;
        std::atomic<int> failures{0};
        for (int t = 0; t < 4; ++t)
            threads.emplace_back([&, t] {
                for (int i = 0; i < 12; ++i) {
                    if (t == 0) static_cast<void>(add_code_observer(passing));
                    failures += !context.dispatch(pair_of(8 + (i + t) % 5)).ok();
                    if (t == 0) remove_code_observer(passing);
                }
            });
        for (std::thread& thread : threads)
            thread.join();
        CHECK(failures == 0);
        CHECK(recorder->created() == static_cast<int>(context.cache_stats().misses));
    }
    for (const auto& each : {recorder, passing}) {
        CHECK(each->created() == each->released());
        CHECK(each->faults() == 0);
    }
}
