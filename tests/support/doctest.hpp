// doctest, which writes a const char* as text. Tests include this instead of <doctest/doctest.h>: 2.4.9
// writes addresses, and its option DOCTEST_CONFIG_TREAT_CHAR_STAR_AS_STRING does not compile.
#pragma once

#include <doctest/doctest.h>

namespace doctest {

template <>
struct StringMaker<const char*> {
    static String convert(const char* text) { return text == nullptr ? "(null)" : text; }
};

template <>
struct StringMaker<char*> : StringMaker<const char*> {};

}  // namespace doctest
