#include "tools/openmp_environment.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

namespace tandem::tool {

namespace {

// GCC's runtime counts `pause` instructions: 40 cycles each on Zen 4, 140 on recent Intel. Intel's and
// LLVM's count milliseconds.
constexpr const char* spin_pauses = "10000";
constexpr const char* spin_milliseconds = "1";

/// True if the variable had another value.
bool set(const char* name, const std::string& value) {
    const char* const old = std::getenv(name);
    if (old && value == old) return false;
    setenv(name, value.c_str(), 1);
    return true;
}

bool set_default(const char* name, const char* value) {
    if (std::getenv(name)) return false;
    setenv(name, value, 1);
    return true;
}

}  // namespace

Status set_openmp_environment(int threads, char** argv) {
    bool changed = set("OMP_NUM_THREADS", std::to_string(threads));
    if (threads > 1 && !std::getenv("OMP_WAIT_POLICY")) {
        changed |= set_default("GOMP_SPINCOUNT", spin_pauses);
        changed |= set_default("KMP_BLOCKTIME", spin_milliseconds);
    }
    if (!changed) return {};
    execv("/proc/self/exe", argv);
    return Error{ErrorCode::system,
                 fmt::format("The program could not start itself anew with OMP_NUM_THREADS={}: {}.", threads,
                             std::strerror(errno))};
}

}  // namespace tandem::tool
