// CodeAnnouncement: tells the observers of one kernel's code that it is there, and of its end.
#pragma once

#include <memory>
#include <vector>

#include "tandem/code_observer.hpp"

namespace tandem {

class CodeAnnouncement {
public:
    CodeAnnouncement() = default;
    /// Tells `observer` (may be null) and the process's. What `code` refers to must outlive this.
    CodeAnnouncement(const GeneratedCode& code, std::shared_ptr<CodeObserver> observer);
    ~CodeAnnouncement();
    CodeAnnouncement(CodeAnnouncement&&) noexcept = default;
    CodeAnnouncement& operator=(CodeAnnouncement&& other) noexcept;

private:
    void release() noexcept;

    GeneratedCode code_{};
    std::vector<std::shared_ptr<CodeObserver>> told_;
};

}  // namespace tandem
