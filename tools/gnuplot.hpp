// gnuplot as a child process. Nothing of it is linked: a build needs no gnuplot, only a run that draws
// does.
#pragma once

#include <string>

#include "tandem/result.hpp"

namespace tandem::tool {

/// Ok if there is a gnuplot that starts; otherwise what to install.
Status find_gnuplot();
/// Runs a script and waits for it: what it draws. gnuplot's own complaints go to stderr.
Result<std::string> run_gnuplot(const std::string& script);

}  // namespace tandem::tool
