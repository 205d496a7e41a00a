#include "support/forked_jobs.hpp"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <deque>
#include <string_view>

#include <fmt/format.h>

namespace tandem::test {

namespace {

constexpr std::size_t children_at_once = 2;
constexpr std::size_t reports_per_child = 8, report_bytes = 4000;

#ifdef __SANITIZE_THREAD__
constexpr bool can_fork = false;
#else
constexpr bool can_fork = true;
#endif

struct Batch {
    std::int64_t begin = 0, end = 0;
};

/// What a child tells its parent, in memory that both see.
struct Report {
    std::atomic<std::int64_t> current;  // the job under way
    std::atomic<std::size_t> failures;
    struct {
        std::int64_t index;
        char message[report_bytes];
    } failure[reports_per_child];
};

class Child {
public:
    Child() {
        void* map = mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (map != MAP_FAILED) report_ = static_cast<Report*>(map);
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child() {
        if (report_ != nullptr) munmap(report_, sizeof(Report));
    }

    bool idle() const { return pid_ == 0; }
    pid_t pid() const { return pid_; }

    bool start(const Batch& batch, const std::function<std::string(std::int64_t)>& job) {
        if (report_ == nullptr) return false;
        batch_ = batch;
        report_->current = batch.begin;
        report_->failures = 0;
        pid_ = fork();
        if (pid_ == 0) work(job);
        return pid_ > 0;
    }

    /// Moves the child's failures to `failures` and returns the jobs that it left undone.
    Batch collect(int status, std::vector<JobFailure>& failures) {
        pid_ = 0;
        for (std::size_t i = 0; i < report_->failures; ++i)
            failures.push_back({report_->failure[i].index, report_->failure[i].message});
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {report_->current, batch_.end};
        const std::int64_t at = report_->current;
        failures.push_back(
            {at, WIFSIGNALED(status)
                     ? fmt::format("died of signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)))
                     : fmt::format("ended with exit code {}", WEXITSTATUS(status))});
        return {at + 1, batch_.end};
    }

private:
    // doctest handles crashes too, but it would report one as a failure of the whole test case and raise it
    // again.
    [[noreturn]] void work(const std::function<std::string(std::int64_t)>& job) {
        if (!sanitized)
            for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT})
                std::signal(signal, SIG_DFL);
        std::size_t failures = 0;
        for (std::int64_t i = batch_.begin; i < batch_.end && failures < reports_per_child; ++i) {
            report_->current = i;
            const std::string message = job(i);
            if (!message.empty()) {
                auto& failure = report_->failure[failures];
                failure.index = i;
                const std::size_t length = std::min(message.size(), report_bytes - 1);
                std::memcpy(failure.message, message.data(), length);
                failure.message[length] = 0;
                report_->failures = ++failures;
            }
            report_->current = i + 1;
        }
        _exit(0);
    }

    Report* report_ = nullptr;
    pid_t pid_ = 0;
    Batch batch_{};
};

void run_here(std::int64_t count, const std::function<std::string(std::int64_t)>& job,
              std::size_t most_failures, std::vector<JobFailure>& failures) {
    for (std::int64_t i = 0; i < count && failures.size() < most_failures; ++i)
        if (std::string message = job(i); !message.empty()) failures.push_back({i, std::move(message)});
}

}  // namespace

std::vector<JobFailure> run_forked(std::int64_t count, std::int64_t batch,
                                   const std::function<std::string(std::int64_t)>& job,
                                   std::size_t most_failures) {
    std::vector<JobFailure> failures;
    if (!can_fork) {
        run_here(count, job, most_failures, failures);
        return failures;
    }
    std::deque<Batch> todo;
    for (std::int64_t begin = 0; begin < count; begin += batch)
        todo.push_back({begin, std::min(begin + batch, count)});
    Child children[children_at_once];
    std::size_t running = 0;
    for (;;) {
        if (failures.size() >= most_failures) todo.clear();
        for (Child& child : children) {
            if (!child.idle() || todo.empty()) continue;
            if (!child.start(todo.front(), job)) {
                failures.push_back({todo.front().begin, fmt::format("starting a child process failed: {}",
                                                                    std::strerror(errno))});
                return failures;
            }
            todo.pop_front();
            ++running;
        }
        if (running == 0) break;
        int status = 0;
        const pid_t pid = waitpid(-1, &status, 0);
        for (Child& child : children) {
            if (child.idle() || child.pid() != pid) continue;
            const Batch rest = child.collect(status, failures);
            if (rest.begin < rest.end) todo.push_front(rest);
            --running;
        }
    }
    std::ranges::sort(failures, {}, &JobFailure::index);
    return failures;
}

}  // namespace tandem::test
