#include "core/run/cache_directory.hpp"

#include <cstdlib>

namespace tandem {

std::string cache_directory() {
    const auto variable = [](const char* name) -> std::string {
        const char* const value = std::getenv(name);
        return value ? value : "";
    };
    if (const std::string cache = variable("XDG_CACHE_HOME"); cache.starts_with('/'))
        return cache + "/tandem";
    if (const std::string home = variable("HOME"); home.starts_with('/')) return home + "/.cache/tandem";
    return {};
}

}  // namespace tandem
