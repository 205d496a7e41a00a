// The wisdom file on disk: read whole, replaced atomically, safe with several writers.
#pragma once

#include "core/run/wisdom.hpp"

namespace tandem {

/// What a file that does not exist comes to.
enum class MissingFile : std::uint8_t { no_wisdom, error };

/// Any other failure to read it is an error.
Result<Wisdom> read_wisdom(const std::string& path, MissingFile missing = MissingFile::no_wisdom);

/// Adds `wisdom` to what the file has by then. Writers take turns by a lock on PATH.lock; readers see the
/// old file or the new one, never a part. A malformed or write-protected file is left as it is and
/// reported.
Status save_wisdom(const std::string& path, const Wisdom& wisdom);

}  // namespace tandem
