// Where files that this user's programs share are kept.
#pragma once

#include <string>

namespace tandem {

/// $XDG_CACHE_HOME/tandem, else ~/.cache/tandem; empty where neither is known.
std::string cache_directory();

}  // namespace tandem
