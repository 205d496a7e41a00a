// What the C header declares, read from its text.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace tandem::test {

struct CHeader {
    std::map<std::string, std::string> functions;             // by name: the declaration on one line
    std::map<std::string, std::vector<std::string>> structs;  // by name: the fields
    std::vector<std::string> constants;                       // "TANDEM_OK = 0"
};

/// include/tandem/tandem.h.
const CHeader& c_header();

}  // namespace tandem::test
