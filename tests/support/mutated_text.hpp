// Texts that are almost right.
#pragma once

#include <random>
#include <string>

namespace tandem::test {

/// `text` after one to three edits: characters erased, inserted from `alphabet` or replaced by one of it.
std::string mutated(std::string text, const std::string& alphabet, std::mt19937_64& engine);

}  // namespace tandem::test
