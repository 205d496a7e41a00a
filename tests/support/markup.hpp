// Whether HTML is well-formed as XML is: every element ended, in order; no bare characters of markup.
#pragma once

#include <string>

namespace tandem::test {

/// What is wrong first; empty: nothing.
std::string markup_error(const std::string& text);

}  // namespace tandem::test
