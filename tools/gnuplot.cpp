#include "tools/gnuplot.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

extern char** environ;

namespace tandem::tool {

namespace {

Error missing(int error) {
    if (error == ENOENT)
        return {ErrorCode::system,
                "--plot needs gnuplot, which was not found. On Debian: apt-get install gnuplot-nox"};
    return {ErrorCode::system,
            fmt::format("--plot needs gnuplot, which could not be started: {}.", std::strerror(error))};
}

/// An unnamed file that holds `text`, read from its start; -1 if there is no room for it.
int file_of(const std::string& text) {
    const int file = memfd_create("gnuplot", MFD_CLOEXEC);
    if (file < 0) return -1;
    for (std::size_t written = 0; written < text.size();) {
        const ssize_t now = write(file, text.data() + written, text.size() - written);
        if (now <= 0) {
            close(file);
            return -1;
        }
        written += static_cast<std::size_t>(now);
    }
    lseek(file, 0, SEEK_SET);
    return file;
}

}  // namespace

Status find_gnuplot() { return run_gnuplot(""); }

Status run_gnuplot(const std::string& script) {
    const int file = file_of(script);
    if (file < 0)
        return Error{ErrorCode::system,
                     fmt::format("gnuplot's script could not be stored: {}.", std::strerror(errno))};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, file, STDIN_FILENO);
    char name[] = "gnuplot";
    char* arguments[] = {name, nullptr};
    pid_t child = 0;
    const int error = posix_spawnp(&child, name, &actions, nullptr, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(file);
    if (error) return missing(error);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return missing(ENOENT);  // where the C library starts the child by fork()
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
    return Error{ErrorCode::system, "gnuplot did not succeed; it says why above."};
}

}  // namespace tandem::tool
