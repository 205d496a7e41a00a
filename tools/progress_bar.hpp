// ProgressBar: how far a long run is and when it will be done, on one line of a terminal; nothing at all
// elsewhere.
#pragma once

#include <string>

namespace tandem::tool {

class ProgressBar {
public:
    /// Shows something only where stderr is a terminal.
    ProgressBar();
    ~ProgressBar() { clear(); }
    ProgressBar(const ProgressBar&) = delete;
    ProgressBar& operator=(const ProgressBar&) = delete;

    /// `fraction` of the whole run, 0 to 1. The remaining time is that so far, in proportion.
    void show(double fraction, const std::string& what);
    /// Takes the line away, so that something else can be printed.
    void clear();

private:
    bool terminal_;
    bool shown_ = false;
    double start_;
};

/// "1:07", "2:03:10".
std::string clock_text(double seconds);

}  // namespace tandem::tool
