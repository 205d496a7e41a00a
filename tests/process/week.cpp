// A week in a host, in small: usage: tandem_week SECONDS
//
// Eight threads dispatch and run a hundred shapes through a cache of sixteen, one of them reloads wisdom, and
// every second a child is forked that does the same. What a process can lose over that is shown at the end of
// each tenth of the time, and has to stay where it was after the first.
#include <dirent.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "process/small_kernels.hpp"
#include "tandem/tandem.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

struct Holdings {
    long kilobytes = 0, mappings = 0, files = 0, threads = 0;
};

long entries_of(const char* folder) {
    long count = 0;
    if (DIR* const open = opendir(folder)) {
        while (readdir(open))
            ++count;
        closedir(open);
    }
    return count;
}

Holdings holdings() {
    Holdings now;
    std::ifstream status("/proc/self/status"), maps("/proc/self/maps");
    for (std::string word; status >> word;)
        if (word == "VmRSS:") status >> now.kilobytes;
    for (std::string line; std::getline(maps, line);)
        ++now.mappings;
    now.files = entries_of("/proc/self/fd");
    now.threads = entries_of("/proc/self/task");
    return now;
}

ConvChain shape(int number) {
    return *ConvChain::parse("1x16x" + std::to_string(4 + number % 10) + "x" +
                             std::to_string(4 + number / 10) + ":dw3+bias+relu6:conv1o32");
}

class Week {
public:
    explicit Week(std::string wisdom) : wisdom_(std::move(wisdom)) {
        static_cast<void>(context_.save_wisdom(wisdom_));
        for (int t = 0; t < 8; ++t)
            threads_.emplace_back([this, t] { live(t); });
    }
    ~Week() {
        stop_ = true;
        for (std::thread& thread : threads_)
            thread.join();
    }

    // A child dispatches what it finds half-made, and something new.
    void fork_child() {
        const pid_t child = fork();
        if (child == 0) _exit(call(0) && call(static_cast<int>(calls_ % 100)) ? 0 : 1);
        int status = 0;
        waitpid(child, &status, 0);
        ++forks_;
        failures_ += status == 0 ? 0 : 1;
    }

    long calls() const { return calls_; }
    long forks() const { return forks_; }
    long failures() const { return failures_; }

private:
    bool call(int number) {
        const ConvChain chain = shape(number);
        const auto kernel = context_.dispatch(chain);
        if (!kernel) return false;
        SmallCall call(*kernel, chain);
        for (int i = 0; i < 50; ++i, ++calls_)
            if (!(*kernel)(call.args())) return false;
        return true;
    }

    void live(int thread) {
        for (int i = thread * 13; !stop_; i += 7) {
            failures_ += call(i % 100) ? 0 : 1;
            if (thread == 0 && i % 100 == 0) failures_ += context_.load_wisdom(wisdom_) ? 0 : 1;
        }
    }

    std::string wisdom_;
    Context context_{ContextOptions{.cache_capacity = 16}};
    std::atomic<bool> stop_{false};
    std::atomic<long> calls_{0}, forks_{0}, failures_{0};
    std::vector<std::thread> threads_;
};

}  // namespace

int main(int argc, char** argv) {
    const int seconds = argc > 1 ? std::max(10, std::atoi(argv[1])) : 10;
    setenv("TANDEM_WISDOM", "", 1);
    const std::string wisdom = "week-" + std::to_string(getpid()) + ".json";
    std::optional<Holdings> first;
    Holdings last;
    long failures = 0;
    {
        Week week(wisdom);
        for (int second = 1; second <= seconds; ++second) {
            std::this_thread::sleep_for(std::chrono::seconds(1));
            week.fork_child();
            if (second % (seconds / 10) != 0) continue;
            last = holdings();
            if (!first) first = last;
            std::printf("%4d s: %ld calls, %ld forks, %ld KB, %ld mappings, %ld files, %ld threads\n", second,
                        week.calls(), week.forks(), last.kilobytes, last.mappings, last.files, last.threads);
            std::fflush(stdout);
        }
        failures = week.failures();
    }
    std::remove(wisdom.c_str());
    std::remove((wisdom + ".lock").c_str());
    const bool flat = last.kilobytes < first->kilobytes + 8192 && last.mappings < first->mappings + 32 &&
                      last.files <= first->files && last.threads <= first->threads;
    std::printf("%ld failures; %s\n", failures, flat ? "flat" : "NOT flat");
    return failures == 0 && flat ? 0 : 1;
}
