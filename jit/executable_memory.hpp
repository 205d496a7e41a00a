// ExecutableMemory: the bytes of one kernel where they can be run. They take whole pages of arenas that the
// process has in common (jit/code_arena.hpp), so that thousands of kernels are a few mappings.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "tandem/result.hpp"

namespace tandem::jit {

class CodeArena;

/// Pages are given back with the last owner. Thread-safe. A forked child runs and ends what it inherits and
/// makes code of its own; neither process writes what the other one runs.
class ExecutableMemory {
public:
    /// A copy of `code`, which must not be empty. An Error of `system` where the process may not map
    /// executable memory.
    static Result<std::shared_ptr<const ExecutableMemory>> create(std::span<const std::byte> code) noexcept;
    ~ExecutableMemory();
    ExecutableMemory(const ExecutableMemory&) = delete;
    ExecutableMemory& operator=(const ExecutableMemory&) = delete;
    std::span<const std::byte> bytes() const noexcept { return bytes_; }

private:
    ExecutableMemory() = default;

    CodeArena* arena_ = nullptr;
    std::span<const std::byte> bytes_{};
};

}  // namespace tandem::jit
