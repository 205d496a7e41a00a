#include "tools/progress_bar.hpp"

#include <unistd.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/run/measure.hpp"

namespace tandem::tool {

ProgressBar::ProgressBar() : terminal_(isatty(STDERR_FILENO) != 0), start_(now_seconds()) {}

void ProgressBar::show(double fraction, const std::string& what) {
    if (!terminal_) return;
    constexpr int width = 30;
    const double done = std::clamp(fraction, 0.0, 1.0), spent = now_seconds() - start_;
    const int filled = static_cast<int>(done * width);
    const std::string left = done > 0.005 ? clock_text(spent * (1 - done) / done) + " left" : "";
    fmt::print(stderr, "\r\x1b[K[{:#<{}}{:.<{}}] {:3.0f} %  {}  {}", "", filled, "", width - filled,
               done * 100, left, what);
    std::fflush(stderr);
    shown_ = true;
}

void ProgressBar::clear() {
    if (!shown_) return;
    fmt::print(stderr, "\r\x1b[K");
    std::fflush(stderr);
    shown_ = false;
}

std::string clock_text(double seconds) {
    const auto whole = static_cast<long>(std::lround(std::max(seconds, 0.0)));
    if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
    return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace tandem::tool
