// CodeArena: a mapping that the code of many kernels shares, page by page. What is executable is never
// writable at the same address; pages of a kernel change neither protection nor mapping while it lives.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <variant>
#include <vector>

namespace tandem::jit {

/// How pages become executable.
enum class CodeMapping {
    // Private anonymous pages are writable first and executable after. Pages of a kernel that ended stay
    // executable, without their memory, so that an arena is at most two mappings: what has held code, and
    // the rest. (One more in each generation of forked children that adds code to it.)
    protection,
    // A memfd, which has no name and whose descriptor is closed at once, lest the host closes it first and
    // reuses its number: one view is executable for good, the other writable while something is written.
    // Where a process may not make writable pages executable (PR_SET_MDWE, SELinux's execmem).
    two_views,
};

/// The system call that failed, and its errno.
struct SystemFailure {
    const char* call = nullptr;
    int number = 0;
    explicit operator bool() const noexcept { return call != nullptr; }
};

std::size_t page_bytes() noexcept;
inline std::size_t pages_of(std::size_t bytes) noexcept { return (bytes + page_bytes() - 1) / page_bytes(); }

/// Not thread-safe.
class CodeArena {
public:
    static std::variant<std::unique_ptr<CodeArena>, SystemFailure> create(std::size_t pages,
                                                                          CodeMapping mapping);
    ~CodeArena();
    CodeArena(const CodeArena&) = delete;
    CodeArena& operator=(const CodeArena&) = delete;

    CodeMapping mapping() const noexcept { return mapping_; }
    std::size_t pages() const noexcept { return used_.size(); }
    bool empty() const noexcept { return pages_alive_ == 0; }
    /// False where another process, this one's parent, runs what is written here.
    bool ours() const noexcept;

    /// The first of so many free pages that lie together.
    std::optional<std::size_t> find_free(std::size_t pages) const noexcept;
    /// Makes `code` executable at free pages from `first` on. After a failure they are free as before.
    SystemFailure write(std::span<const std::byte> code, std::size_t first) noexcept;
    std::span<const std::byte> bytes(std::size_t first, std::size_t size) const noexcept {
        return {base_ + first * page_bytes(), size};
    }
    /// Gives back what was written.
    void release(std::span<const std::byte> code) noexcept;

    /// After a fork, in the parent: what the child may run is not written again.
    void share_with_child() noexcept;
    /// After a fork, in the child: a view that the parent writes is not written.
    void leave_to_parent() noexcept;

private:
    CodeArena(std::size_t pages, CodeMapping mapping);
    SystemFailure map_private() noexcept;
    SystemFailure map_views() noexcept;
    SystemFailure write_private(std::span<const std::byte> code, std::size_t offset) noexcept;
    SystemFailure write_view(std::span<const std::byte> code, std::size_t offset) noexcept;
    void discard(std::size_t offset, std::size_t size) noexcept;
    std::size_t size() const noexcept { return pages() * page_bytes(); }

    CodeMapping mapping_;
    std::byte* base_ = nullptr;  // executable
    std::byte* view_ = nullptr;  // two_views: the same memory, not accessible but in write() and discard()
    pid_t owner_;                // of two views; 0: the parent
    std::size_t pages_alive_ = 0, pages_free_;
    std::vector<bool> used_;         // pages that take no code
    std::vector<bool> child_knows_;  // pages that stay used when their code ends
};

}  // namespace tandem::jit
