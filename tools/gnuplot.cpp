#include "tools/gnuplot.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/run/whole_file.hpp"

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

Result<std::string> text_of(const File& file) {
    std::string text(static_cast<std::size_t>(std::max<off_t>(0, lseek(file.get(), 0, SEEK_END))), '\0');
    const ssize_t count = uninterrupted([&] { return pread(file.get(), text.data(), text.size(), 0); });
    if (count == static_cast<ssize_t>(text.size())) return text;
    return Error{ErrorCode::system,
                 fmt::format("gnuplot's picture could not be read: {}.", std::strerror(errno))};
}

}  // namespace

Status find_gnuplot() {
    const Result<std::string> nothing = run_gnuplot("");
    return nothing ? Status() : nothing.error();
}

Result<std::string> run_gnuplot(const std::string& script) {
    const File file(file_of(script)), picture(file_of(""));
    if (!file || !picture)
        return Error{ErrorCode::system,
                     fmt::format("gnuplot's script could not be stored: {}.", std::strerror(errno))};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, file.get(), STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, picture.get(), STDOUT_FILENO);
    char name[] = "gnuplot";
    char* arguments[] = {name, nullptr};
    pid_t child = 0;
    const int error = posix_spawnp(&child, name, &actions, nullptr, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error) return missing(error);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return missing(ENOENT);  // where the C library starts the child by fork()
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return text_of(picture);
    return Error{ErrorCode::system, "gnuplot did not succeed; it says why above."};
}

}  // namespace tandem::tool
