#include "jit/executable_memory.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/format.h>

#include "core/plan/as_result.hpp"
#include "core/plan/fork_hook.hpp"
#include "jit/code_arena.hpp"

namespace tandem::jit {
namespace {

// Some hundred kernels of 8 to 60 KB are a few arenas, and one page of code reserves no more than others do.
constexpr std::size_t arena_bytes = std::size_t{2} << 20;

bool is_refusal(const SystemFailure& failure) noexcept {
    return failure.number == EACCES || failure.number == EPERM;
}

std::string sentence(const SystemFailure& failure, std::size_t bytes) {
    return fmt::format("{} of {} bytes for generated code failed: {}", failure.call, bytes,
                       std::strerror(failure.number));
}

/// All arenas of the process.
class CodeArenas {
public:
    constexpr CodeArenas() = default;

    struct Place {
        CodeArena* arena = nullptr;
        std::size_t first = 0;  // page
    };

    /// Writes `code`; a failure, or where it lies.
    std::variant<Place, Error> place(std::span<const std::byte> code) {
        const std::lock_guard lock(mutex_);
        Place place;
        if (!refusal_) {
            const SystemFailure failure = write(code, CodeMapping::protection, place);
            if (!failure) return place;
            if (!is_refusal(failure))
                return Error{ErrorCode::system, sentence(failure, code.size()) + "; more memory is needed."};
            refusal_ = failure;
            unmap_empty();
        }
        const SystemFailure failure = write(code, CodeMapping::two_views, place);
        if (!failure) return place;
        return Error{
            ErrorCode::system,
            fmt::format("{}, and {} failed: {}; a process that may map executable memory is needed.",
                        sentence(refusal_, code.size()), failure.call, std::strerror(failure.number))};
    }

    void release(CodeArena& arena, std::span<const std::byte> code) noexcept {
        const std::lock_guard lock(mutex_);
        arena.release(code);
        if (arena.empty()) unmap_empty();
    }

    void unmap_spare() noexcept {
        const std::lock_guard lock(mutex_);
        unmap_empty(0);
    }

    static ForkFunctions around_fork() noexcept {
        return {.before = [](void* arenas) noexcept { static_cast<CodeArenas*>(arenas)->mutex_.lock(); },
                .in_parent = &after_fork<&CodeArena::share_with_child>,
                .in_child = &after_fork<&CodeArena::leave_to_parent>};
    }

private:
    template <auto tell>
    static void after_fork(void* arenas) noexcept {
        auto& self = *static_cast<CodeArenas*>(arenas);
        for (const auto& arena : self.arenas_)
            (*arena.*tell)();
        self.mutex_.unlock();
    }

    SystemFailure write(std::span<const std::byte> code, CodeMapping mapping, Place& place) {
        const std::size_t pages = pages_of(code.size());
        for (const auto& arena : arenas_) {
            if (arena->mapping() != mapping || !arena->ours()) continue;
            const std::optional<std::size_t> first = arena->find_free(pages);
            if (!first) continue;
            place = {arena.get(), *first};
            return arena->write(code, *first);
        }
        arenas_.reserve(arenas_.size() + 1);
        auto made = CodeArena::create(std::max(pages, pages_of(arena_bytes)), mapping);
        if (const auto* failure = std::get_if<SystemFailure>(&made)) return *failure;
        arenas_.push_back(std::move(*std::get_if<std::unique_ptr<CodeArena>>(&made)));
        place = {arenas_.back().get(), 0};
        const SystemFailure failure = place.arena->write(code, 0);
        if (failure) unmap_empty();
        return failure;
    }

    /// But `spares`: one is for a process whose only kernel comes and goes.
    void unmap_empty(int spares = 1) noexcept {
        std::erase_if(arenas_, [&](const std::unique_ptr<CodeArena>& arena) {
            return arena->empty() && !(is_of_use(*arena) && spares-- > 0);
        });
    }

    /// Of an empty arena: whether it is as good as a new one.
    bool is_of_use(const CodeArena& arena) const noexcept {
        return arena.pages() == pages_of(arena_bytes) && arena.ours() && arena.find_free(arena.pages()) &&
               (arena.mapping() == CodeMapping::two_views || !refusal_);
    }

    std::mutex mutex_;
    std::vector<std::unique_ptr<CodeArena>> arenas_;
    SystemFailure refusal_;  // to make written pages executable, once it was met
};

// Never destroyed: kernels in static storage may end after everything else.
union Process {
    constexpr Process() : arenas() {}
    ~Process() {}
    CodeArenas arenas;
};
constinit Process process;

// When this is loaded, as no thread can be in the arenas before that; and when it is unloaded with the plugin
// that it is part of.
const struct Loaded {
    ~Loaded() { process.arenas.unmap_spare(); }
    ForkHook hook{CodeArenas::around_fork(), &process.arenas};
} loaded;

}  // namespace

Result<std::shared_ptr<const ExecutableMemory>> ExecutableMemory::create(
    std::span<const std::byte> code) noexcept try {
    const std::shared_ptr<ExecutableMemory> memory(new ExecutableMemory);
    const auto placed = process.arenas.place(code);
    if (const Error* error = std::get_if<Error>(&placed)) return *error;
    const CodeArenas::Place& place = *std::get_if<CodeArenas::Place>(&placed);
    memory->arena_ = place.arena;
    memory->bytes_ = place.arena->bytes(place.first, code.size());
    return std::shared_ptr<const ExecutableMemory>(memory);
} catch (...) {
    return caught_error();
}

ExecutableMemory::~ExecutableMemory() {
    if (arena_) process.arenas.release(*arena_, bytes_);
}

}  // namespace tandem::jit
