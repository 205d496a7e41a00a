// PartsOf: one call of a kernel as parts for whatever runs them, with the memory that they need. What the
// adapters to OpenMP and oneTBB are made of; for other schedulers, too:
//
//   PartsOf call(kernel, args, threads);
//   for (int step = 0; call.ok() && step < call.steps(); ++step)
//       every part < call.parts(): call.run(step, part), on any thread; then a join
//   return call.status();
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <span>
#include <utility>

#include "tandem/kernel.hpp"

namespace tandem {

/// Lives during one call. run() may be called for different parts at once.
class PartsOf {
public:
    /// At most `most_parts` parts, and no more than there are tiles. Scratch for each is allocated here: one
    /// block a call, so that nested and concurrent calls have nothing in common, and nothing stays in the
    /// callers' threads.
    PartsOf(Kernel kernel, const Args& args, int most_parts) noexcept
        : kernel_(std::move(kernel)), args_(args), parts_(parts_for(kernel_, most_parts)),
          scratch_(lines(kernel_.scratch_bytes())), shared_(lines(kernel_.shared_bytes())) {
        const std::size_t count = static_cast<std::size_t>(parts_);
        std::size_t bytes = 0;
        if (__builtin_mul_overflow(scratch_, count, &bytes) ||
            __builtin_add_overflow(bytes, shared_, &bytes)) {
            fail(Error{ErrorCode::out_of_memory, "Out of memory."});
            return;
        }
        // At least a line: a kernel that needs none still wants an address.
        memory_ = static_cast<std::byte*>(std::aligned_alloc(line, std::max(bytes, line)));
        if (memory_ == nullptr) fail(Error{ErrorCode::out_of_memory, "Out of memory."});
    }
    ~PartsOf() { std::free(memory_); }
    PartsOf(const PartsOf&) = delete;
    PartsOf& operator=(const PartsOf&) = delete;

    int parts() const noexcept { return parts_; }
    /// At least 1, also of an empty kernel, whose error run() finds.
    int steps() const noexcept { return std::max(kernel_.steps(), 1); }

    /// Does nothing where there was no memory.
    void run(int step, int part) noexcept {
        if (memory_ == nullptr) return;
        std::byte* const scratch = memory_ + shared_ + scratch_ * static_cast<std::size_t>(part);
        Status status = kernel_.run_step(step, part, parts_, args_, {scratch, scratch_}, {memory_, shared_});
        if (!status) fail(std::move(status));
    }

    bool ok() const noexcept { return !failed_.load(std::memory_order_relaxed); }
    /// The first error. After the last join.
    Status status() noexcept { return std::move(status_); }

private:
    static constexpr std::size_t line = 64;
    static std::size_t lines(std::size_t bytes) noexcept { return (bytes + line - 1) / line * line; }
    static int parts_for(const Kernel& kernel, int most) noexcept {
        return static_cast<int>(std::clamp<std::int64_t>(most, 1, std::max<std::int64_t>(kernel.tiles(), 1)));
    }
    void fail(Status status) noexcept {
        if (!failed_.exchange(true)) status_ = std::move(status);
    }

    const Kernel kernel_;
    const Args args_;
    int parts_;
    std::size_t scratch_, shared_;  // bytes, of a part and of all
    std::byte* memory_ = nullptr;   // shared, then each part's scratch
    std::atomic<bool> failed_{false};
    Status status_;
};

}  // namespace tandem
