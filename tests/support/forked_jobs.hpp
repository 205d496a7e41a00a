// Jobs in child processes, so that one that crashes (an access to a guard page) is reported like any other
// failure.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace tandem::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(TANDEM_SANITIZED)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

struct JobFailure {
    std::int64_t index = 0;
    std::string message;  // what the job returned, or how its process ended
};

/// Runs job(i) for every i in [0, count), in two child processes at a time that take `batch` jobs each. A
/// job returns what went wrong, empty if nothing. A child that dies costs the job it was at; the rest of
/// its batch is run by another. Stops after `most_failures`. Failures are sorted by index. Under the thread
/// sanitizer, whose runtime does not survive fork(), the jobs run in this process.
std::vector<JobFailure> run_forked(std::int64_t count, std::int64_t batch,
                                   const std::function<std::string(std::int64_t)>& job,
                                   std::size_t most_failures = 10);

}  // namespace tandem::test
